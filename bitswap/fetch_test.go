package bitswap

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

func allowing(n *node) func(peer.ID, cid.Cid) bool {
	return func(p peer.ID, c cid.Cid) bool {
		id, ok := idOf(c)
		return ok && n.allow(p, id)
	}
}

func TestIDsAndCIDs(t *testing.T) {
	id := block.Sum([]byte("x"))
	c := cidOf(id)
	if c.String() != id.String() {
		t.Fatalf("cid %s, id %s", c, id)
	}
	if back, ok := idOf(c); !ok || back != id {
		t.Fatal("does not come back")
	}
	for _, other := range []cid.Cid{cid.Undef, cid.NewCidV1(cid.DagProtobuf, c.Hash()), cid.NewCidV0(c.Hash())} {
		if _, ok := idOf(other); ok {
			t.Errorf("%s passes for a block of Toft", other)
		}
	}
}

// Blocks come from whoever has them, each peer having a part only.
func TestEachPeerHasAPart(t *testing.T) {
	a, b, c := open(t, hosttest.New(t)), open(t, hosttest.New(t)), open(t, hosttest.New(t))
	hosttest.Connect(t, a.Host, b.Host)
	hosttest.Connect(t, a.Host, c.Host)
	ids := append(b.disk.fill(1, 1500, 300), c.disk.fill(2, 1500, 300)...)
	a.fetch(t, ids, b, c)
	// Nothing of it is left standing on the servers' lists.
	for _, n := range []*node{b, c} {
		hosttest.Wait(t, "cancels", func() bool { return len(n.server.WantlistForPeer(a.ID())) == 0 })
	}
}

// Ending a loop early cancels the rest at the server.
func TestEarlyEndCancels(t *testing.T) {
	a, b := pair(t)
	ids := b.disk.fill(1, 5, 300)
	ids = append(ids, newStore().fill(2, 600, 300)...) // b does not have these
	n := 0
	for _, err := range a.GetMany(context.Background(), ids, []peer.ID{b.ID()}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 5 {
			break
		}
	}
	hosttest.Wait(t, "the cancels", func() bool { return len(b.server.WantlistForPeer(a.ID())) == 0 })
	a.Exchange.mu.Lock()
	defer a.Exchange.mu.Unlock()
	if len(a.wanted) != 0 || len(a.fetches) != 0 {
		t.Errorf("%d wants and %d fetches left", len(a.wanted), len(a.fetches))
	}
}

// Many fetches at once, of the same blocks too, some of which end early: none
// cancels another's, and a lone block does not wait for a bulk.
func TestConcurrentFetches(t *testing.T) {
	a, b := pair(t)
	same := b.disk.fill(1, 2000, 300)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			switch {
			case i%3 == 0:
				n := 0
				for range a.GetMany(context.Background(), same, []peer.ID{b.ID()}) {
					if n++; n == 10*i {
						break
					}
				}
			case i%3 == 1:
				a.fetch(t, same, b)
			default:
				a.fetch(t, b.disk.fill(100+i, 500, 300), b)
			}
		})
	}
	lone := b.disk.fill(999, 1, 300)
	a.fetch(t, lone, b)
	wg.Wait()
	hosttest.Wait(t, "the cancels", func() bool { return len(b.server.WantlistForPeer(a.ID())) == 0 })
}

// A fetch goes on with another peer when one goes away in the middle, and with
// the same one when it comes back.
func TestPeerGoesAndComesBack(t *testing.T) {
	a, b := openPatient(t, hosttest.New(t), time.Minute), open(t, hosttest.New(t))
	hosttest.Connect(t, a.Host, b.Host)
	ids := b.disk.fill(1, 3000, 4<<10)
	n := 0
	for f, err := range a.GetMany(context.Background(), ids, []peer.ID{b.ID()}) {
		if err != nil {
			t.Fatal(err)
		}
		if block.Sum(f.Data) != f.ID {
			t.Fatal("damaged")
		}
		switch n++; n {
		case 1000:
			hosttest.Disconnect(t, a.Host, b.Host)
		case 1001:
			hosttest.Connect(t, b.Host, a.Host)
		}
	}
	if n < 3000 {
		t.Fatalf("%d of 3000", n)
	}
}

func TestAnotherPeerTakesOver(t *testing.T) {
	bubble(t, 3, func(t *testing.T, hosts []host.Host) {
		a, b, c := open(t, hosts[0]), open(t, hosts[1]), open(t, hosts[2])
		ids := b.disk.fill(1, 3000, 4<<10)
		c.disk.fill(1, 3000, 4<<10)
		n := 0
		within(t, time.Second, func() {
			for _, err := range a.GetMany(context.Background(), ids, []peer.ID{b.ID(), c.ID()}) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n == 500 {
					hosttest.Disconnect(t, a.Host, b.Host)
				}
			}
		})
		if n != 3000 {
			t.Fatalf("%d of 3000", n)
		}
	})
}

// A consumer that stops reading costs bounded memory, whatever the blocks' size,
// and gets everything once it reads again, were it later than our patience.
func TestSlowConsumerIsBounded(t *testing.T) {
	a, b := pair(t)
	ids := b.disk.fill(1, 60, MaxBlock)
	n := 0
	for _, err := range a.GetMany(context.Background(), ids, []peer.ID{b.ID()}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			time.Sleep(DefaultPatience + 3*tick) // long enough for all 60 MiB to have come
			a.Exchange.mu.Lock()
			for f := range a.fetches {
				if f.readySize > 2*readyBudget+MaxBlock {
					t.Errorf("%d bytes wait", f.readySize)
				}
			}
			a.Exchange.mu.Unlock()
		}
	}
	if n != len(ids) {
		t.Fatalf("%d of %d", n, len(ids))
	}
}

// However much is fetched, the streams between two peers stay two each way.
func TestStreamsStayFew(t *testing.T) {
	a, b := pair(t)
	ids := b.disk.fill(1, 5000, 300)
	for f, err := range a.GetMany(context.Background(), ids, []peer.ID{b.ID()}) {
		if err != nil || f.Data == nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range a.Network().ConnsToPeer(b.ID()) {
			for _, s := range c.GetStreams() {
				if s.Protocol() == Protocol {
					n++
				}
			}
		}
		if n > 4 {
			t.Fatalf("%d streams", n)
		}
	}
}

// A fetch may run inside the loop of another one, from the same peer.
func TestNestedFetch(t *testing.T) {
	a, b := pair(t)
	outer, inner := b.disk.fill(1, 300, 300), b.disk.fill(2, 300, 300)
	i := 0
	for _, err := range a.GetMany(context.Background(), outer, []peer.ID{b.ID()}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Get(context.Background(), inner[i], []peer.ID{b.ID()}); err != nil {
			t.Fatal(err)
		}
		i++
	}
}

// A peer that opens its exchange late is asked again within the patience.
func TestPeerThatStartsLate(t *testing.T) {
	bubble(t, 2, func(t *testing.T, hosts []host.Host) {
		a := openPatient(t, hosts[0], 10*time.Second)
		data := []byte("soon")
		got := make(chan error, 1)
		go func() {
			_, err := a.Get(context.Background(), block.Sum(data), []peer.ID{hosts[1].ID()})
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("ended too early: %v", err)
		case <-time.After(time.Second):
		}
		b := open(t, hosts[1])
		b.disk.add(data)
		within(t, rest+tick, func() {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		})
	})
}
