package gossip

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toftdb/toft/internal/hosttest"
)

// Over a long line a message takes half a round trip and nothing more, and the
// mesh of twenty devices that came up at once carries every message to all.
func TestSimulatedLine(t *testing.T) {
	const rtt = 50 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		const devices = 20
		hosts := hosttest.Simulate(t, devices, rtt, 100_000_000)
		r := newRoster(hosts...)
		var nodes []*node
		var topics []*Topic
		for _, h := range hosts {
			n := open(t, h, r.has)
			nodes, topics = append(nodes, n), append(topics, n.join(t, "x", r.has))
		}
		for i, a := range hosts {
			for k := 1; k <= 4; k++ { // a ring with chords, no full mesh
				hosttest.Connect(t, a, hosts[(i+k*k)%devices])
			}
		}
		time.Sleep(2 * time.Second)
		start := time.Now()
		publish(t, topics[0], "near")
		nodes[1].hears(t, "near")
		if took := time.Since(start); took > 2*rtt {
			t.Errorf("%v to a neighbour", took)
		} else {
			t.Logf("%v to a neighbour", took)
		}
		for i := range 10 {
			publish(t, topics[i], fmt.Sprint("far ", i))
		}
		time.Sleep(5 * time.Second)
		for i, n := range nodes {
			heard := make(map[string]bool)
			for len(n.heard) > 0 {
				heard[<-n.heard] = true
			}
			want := 11
			if i < 10 {
				want-- // not its own
			}
			if i < 2 {
				want-- // said or heard "near" above
			}
			if len(heard) != want {
				t.Errorf("device %d heard %d of %d: %+v", i, len(heard), want, n.Stats())
			}
		}
		synctest.Wait()
	})
}
