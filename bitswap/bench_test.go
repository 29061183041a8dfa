package bitswap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"testing"
	"time"

	boxo "github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

// BenchmarkGetMany fetches blocks over loopback: with this package, with boxo's
// own Bitswap as a limit others live with, and as one bare stream copy of the
// same bytes, hashed at the end of it. Blocks per second are the figure.
func BenchmarkGetMany(b *testing.B) {
	for _, c := range []struct{ n, size int }{{1000, 300}, {10000, 300}, {1000, 16 << 10}, {10000, 16 << 10}} {
		disk := newStore()
		ids := disk.fill(1, c.n, c.size)
		for _, way := range []struct {
			name string
			run  func(b *testing.B, disk *store, ids []block.ID)
		}{{"toft", benchToft}, {"boxo", benchBoxo}, {"stream", benchStream}} {
			b.Run(fmt.Sprintf("n=%d/size=%d/%s", c.n, c.size, way.name), func(b *testing.B) {
				b.SetBytes(int64(c.n * c.size))
				way.run(b, disk, ids)
				b.ReportMetric(float64(c.n*b.N)/b.Elapsed().Seconds(), "blocks/s")
			})
		}
	}
}

func benchToft(b *testing.B, disk *store, ids []block.ID) {
	x, y := pair(b, hosttest.TCP)
	y.disk.blocks = disk.blocks
	for b.Loop() {
		x.fetch(b, ids, y)
	}
}

// benchBoxo takes new hosts for every turn: fetching the same blocks soon again,
// boxo's late cancels of the first turn hit the wants of the second, which hangs.
func benchBoxo(b *testing.B, disk *store, ids []block.ID) {
	cids := make([]cid.Cid, len(ids))
	for i, id := range ids {
		cids[i] = cidOf(id)
	}
	for b.Loop() {
		b.StopTimer()
		x, y := hosttest.New(b, hosttest.TCP), hosttest.New(b, hosttest.TCP)
		ctx, cancel := context.WithCancel(context.Background())
		start := func(h host.Host, s *store) *boxo.Bitswap {
			return boxo.New(ctx, bsnet.NewFromIpfsHost(h), nil, shelf{s}, boxo.WithoutDuplicatedBlockStats(),
				boxo.WithTargetMessageSize(256<<10)) // at 16 KiB a message its streams run out, blocks are lost, turns take 9 s
		}
		bx, by := start(x, newStore()), start(y, disk)
		hosttest.Connect(b, x, y)
		b.StartTimer()
		n := 0
		for at := 0; at < len(cids); at += 512 { // the window that loses nothing
			ch, err := bx.NewSession(ctx).GetBlocks(ctx, cids[at:min(len(cids), at+512)])
			if err != nil {
				b.Fatal(err)
			}
			for range ch {
				n++
			}
		}
		if n != len(cids) {
			b.Fatalf("%d of %d", n, len(cids))
		}
		b.StopTimer()
		_, _, _, _ = bx.Close(), by.Close(), x.Close(), y.Close()
		cancel()
		b.StartTimer()
	}
}

func benchStream(b *testing.B, disk *store, ids []block.ID) {
	x, y := hosttest.New(b, hosttest.TCP), hosttest.New(b, hosttest.TCP)
	size := len(disk.blocks[ids[0]])
	y.SetStreamHandler("/bare", func(s network.Stream) {
		for _, id := range ids {
			if _, err := s.Write(disk.blocks[id]); err != nil {
				return
			}
		}
		_ = s.CloseWrite()
	})
	hosttest.Connect(b, x, y)
	for b.Loop() {
		s, err := x.NewStream(context.Background(), y.ID(), "/bare")
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, size)
		for _, id := range ids {
			if _, err := io.ReadFull(s, buf); err != nil {
				b.Fatal(err)
			}
			if block.Sum(buf) != id {
				b.Fatal("damaged")
			}
		}
		_ = s.Close()
	}
}

// BenchmarkFloodOfWants fetches 1,000 blocks again and again while a peer sends ten
// million wants to the one who serves them: how often its turn takes as long as before,
// and what is kept of the flood. The flooder's own work is in the figure, for it shares
// the machine.
func BenchmarkFloodOfWants(b *testing.B) {
	const flood, message = 10_000_000, 20_000
	for b.Loop() {
		x, y := pair(b, hosttest.TCP)
		ids := y.disk.fill(1, 1000, 300)
		fetches := func(until func(turns int) bool) time.Duration {
			begun, turns := time.Now(), 0
			for ; !until(turns); turns++ {
				x.fetch(b, ids, y)
			}
			return time.Since(begun) / time.Duration(turns)
		}
		alone := fetches(func(turns int) bool { return turns == 50 })
		h := hosttest.New(b, hosttest.TCP)
		hosttest.Connect(b, h, y.Host)
		before, done := heapNow(), make(chan int)
		go func() { done <- floodWants(h, y.ID(), flood, message) }()
		sent := 0
		during := fetches(func(turns int) bool {
			select {
			case sent = <-done:
			default:
			}
			return sent > 0 && turns > 0
		})
		b.ReportMetric(during.Seconds()/alone.Seconds(), "times-as-long")
		b.ReportMetric(float64(sent), "wants-sent")
		b.ReportMetric(float64(len(y.server.WantlistForPeer(h.ID()))), "wants-kept")
		b.ReportMetric(float64(heapNow()-before)/(1<<20), "MiB-kept")
	}
}

// floodWants wants n blocks that nobody has, some at a time, on a new stream whenever
// the old one is ended; it returns how many it wrote.
func floodWants(h host.Host, to peer.ID, n, some int) (sent int) {
	var s network.Stream
	for id := uint64(0); sent < n; sent += some {
		m := bsmsg.New(false)
		for i := range some {
			id++
			m.AddEntry(cidOf(block.Sum(binary.BigEndian.AppendUint64(nil, id))), math.MaxInt32-int32(i), pb.Message_Wantlist_Block, true)
		}
		for range 2 {
			if s == nil {
				var err error
				if s, err = h.NewStream(context.Background(), to, Protocol); err != nil {
					return max(sent, 1)
				}
			}
			if m.ToNetV1(s) == nil {
				break
			}
			s = nil
		}
	}
	return sent
}

func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkLoneFetch walks a chain of blocks, each known only from the one before:
// the round trips that a sync must avoid, and what one of them costs.
func BenchmarkLoneFetch(b *testing.B) {
	x, y := pair(b)
	ids := y.disk.fill(1, 1000, 300)
	x.fetch(b, ids[:1], y)
	i := 0
	for b.Loop() {
		if _, err := x.Get(context.Background(), ids[i%len(ids)], []peer.ID{y.ID()}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
