package gossip

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/internal/hosttest"
)

// BenchmarkPublishDeliver measures Publish on one host until deliver on another,
// over loopback, with a bare stream carrying the same bytes in the same run.
func BenchmarkPublishDeliver(b *testing.B) {
	for _, link := range []struct{ name, addr string }{{"quic", hosttest.QUIC}, {"tcp", hosttest.TCP}} {
		b.Run(link.name+"/gossip", func(b *testing.B) {
			x, y := hosttest.New(b, link.addr), hosttest.New(b, link.addr)
			r := newRoster(x, y)
			nx, ny := open(b, x, r.has), open(b, y, r.has)
			tx := nx.join(b, "x", r.has)
			got := make(chan struct{}, 1)
			if _, err := ny.Join("x", r.has, accepting(func(peer.ID, []byte) { got <- struct{}{} })); err != nil {
				b.Fatal(err)
			}
			hosttest.Connect(b, x, y)
			sees(b, tx, y)
			publish(b, tx, "warm")
			<-got
			n := uint64(0)
			roundtrips(b, func() {
				data := make([]byte, 512)
				n++
				binary.BigEndian.PutUint64(data, n)
				publish(b, tx, string(data))
				<-got
			})
		})
		b.Run(link.name+"/stream", func(b *testing.B) {
			x, y := hosttest.New(b, link.addr), hosttest.New(b, link.addr)
			got := make(chan struct{}, 1)
			y.SetStreamHandler("/bare", func(s network.Stream) {
				buf := make([]byte, 512)
				for {
					if _, err := io.ReadFull(s, buf); err != nil {
						return
					}
					got <- struct{}{}
				}
			})
			hosttest.Connect(b, x, y)
			s, err := x.NewStream(b.Context(), y.ID(), "/bare")
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 512)
			roundtrips(b, func() {
				if _, err := s.Write(data); err != nil {
					b.Fatal(err)
				}
				<-got
			})
		})
	}
}

// roundtrips runs f one at a time and reports its median and 99th percentile.
func roundtrips(b *testing.B, f func()) {
	b.Helper()
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		f()
		took = append(took, time.Since(start))
		time.Sleep(100 * time.Microsecond) // a message every now and then, not a flood
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}
