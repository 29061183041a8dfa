package bitswap

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/toftdb/toft/internal/hosttest"
)

// bubble runs a test with hosts on a simulated network, connected to the first,
// on a clock that only waiting moves: times are exact on a busy machine too.
func bubble(t *testing.T, n int, f func(t *testing.T, hosts []host.Host)) {
	synctest.Test(t, func(t *testing.T) {
		hosts := hosttest.Simulate(t, n, time.Millisecond, 1_000_000_000)
		for _, h := range hosts[1:] {
			hosttest.Connect(t, hosts[0], h)
		}
		time.Sleep(time.Second) // identify
		f(t, hosts)
	})
}

// within fails the test if f takes longer. Only in a bubble is that a fair thing
// to ask.
func within(t *testing.T, most time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > most {
		t.Errorf("took %v, at most %v expected", took, most)
	} else {
		t.Logf("took %v", took)
	}
}

// Over a long line, a fetch costs round trips and bandwidth, and not one round
// trip per block: the clock of the bubble is exact enough to count them.
func TestRoundTripsOfAFetch(t *testing.T) {
	const rtt = 50 * time.Millisecond
	for name, c := range map[string]struct {
		n, size int
		most    time.Duration
	}{
		"one block":            {1, 300, 3 * rtt / 2},
		"a thousand commits":   {1000, 300, 7 * rtt},
		"ten thousand commits": {10000, 300, 25 * rtt},
		"two megabytes":        {8, 256 << 10, 10 * rtt}, // 170 ms of bandwidth in it
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hosts := hosttest.Simulate(t, 2, rtt, 100_000_000)
				a, b := open(t, hosts[0]), open(t, hosts[1])
				hosttest.Connect(t, hosts[0], hosts[1])
				time.Sleep(time.Second) // identify
				a.fetch(t, b.disk.fill(1, 1, 300), b)
				ids := b.disk.fill(2, c.n, c.size)
				start := time.Now()
				a.fetch(t, ids, b)
				took := time.Since(start)
				t.Logf("%v, %.1f round trips", took, float64(took)/float64(rtt))
				if took > c.most {
					t.Errorf("took %v, at most %v expected", took, c.most)
				}
			})
		})
	}
}
