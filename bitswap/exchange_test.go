package bitswap

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

// store is blocks in memory.
type store struct {
	mu     sync.Mutex
	blocks map[block.ID][]byte
}

func newStore() *store { return &store{blocks: make(map[block.ID][]byte)} }

var errNone = errors.New("none")

func (s *store) Get(_ context.Context, id block.ID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.blocks[id]; ok {
		return b, nil
	}
	return nil, errNone
}

func (s *store) Has(ctx context.Context, id block.ID) (bool, error) {
	_, err := s.Get(ctx, id)
	return err == nil, nil
}

func (s *store) Size(ctx context.Context, id block.ID) (int, error) {
	b, err := s.Get(ctx, id)
	return len(b), err
}

func (s *store) add(data []byte) block.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := block.Sum(data)
	s.blocks[id] = data
	return id
}

// fill adds n blocks of the given size, different for every seed.
func (s *store) fill(seed, n, size int) []block.ID {
	ids := make([]block.ID, n)
	for i := range ids {
		data := make([]byte, size)
		var key [16]byte
		binary.BigEndian.PutUint64(key[:], uint64(seed))
		binary.BigEndian.PutUint64(key[8:], uint64(i))
		h := sha256.Sum256(key[:])
		for at := 0; at < size; at += copy(data[at:], h[:]) {
		}
		ids[i] = s.add(data)
	}
	return ids
}

// node is one device: a host, blocks, an exchange, and whom it allows.
type node struct {
	host.Host
	*Exchange
	disk *store
	mu   sync.Mutex
	out  map[peer.ID]bool // not allowed
}

func (n *node) allow(p peer.ID, _ block.ID) bool { n.mu.Lock(); defer n.mu.Unlock(); return !n.out[p] }

func (n *node) deny(p peer.ID, out bool) { n.mu.Lock(); defer n.mu.Unlock(); n.out[p] = out }

func open(t testing.TB, h host.Host) *node { return openPatient(t, h, 0) }

func openPatient(t testing.TB, h host.Host, patience time.Duration) *node {
	t.Helper()
	n := &node{Host: h, disk: newStore(), out: make(map[peer.ID]bool)}
	e, err := Open(Options{Host: h, Blocks: n.disk, Allow: n.allow, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	n.Exchange = e
	t.Cleanup(func() { _ = e.Close() })
	return n
}

// pair returns two connected nodes.
func pair(t testing.TB, listen ...string) (a, b *node) {
	t.Helper()
	a, b = open(t, hosttest.New(t, listen...)), open(t, hosttest.New(t, listen...))
	hosttest.Connect(t, a.Host, b.Host)
	return a, b
}

// fetch gets all ids and checks them.
func (n *node) fetch(t testing.TB, ids []block.ID, from ...*node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hosttest.Deadline)
	defer cancel()
	var peers []peer.ID
	for _, f := range from {
		peers = append(peers, f.ID())
	}
	left := make(map[block.ID]bool)
	for _, id := range ids {
		left[id] = true
	}
	for f, err := range n.GetMany(ctx, ids, peers) {
		if err != nil {
			t.Fatalf("%d of %d left: %v", len(left), len(ids), err)
		}
		if block.Sum(f.Data) != f.ID || !left[f.ID] {
			t.Fatalf("block %s came twice, unasked or damaged", f.ID)
		}
		delete(left, f.ID)
	}
	if len(left) > 0 {
		t.Fatalf("%d of %d blocks did not come", len(left), len(ids))
	}
}

func TestBlocksOfAllSizesArrive(t *testing.T) {
	a, b := pair(t)
	for _, c := range []struct{ n, size int }{{1, 1}, {3000, 300}, {700, 16 << 10}, {40, MaxBlock}} {
		start := time.Now()
		a.fetch(t, b.disk.fill(c.n, c.n, c.size), b)
		t.Logf("%d × %d bytes: %v", c.n, c.size, time.Since(start))
	}
	hosttest.Wait(t, "nothing to be left", func() bool {
		a.Exchange.mu.Lock()
		defer a.Exchange.mu.Unlock()
		return len(a.remotes) == 0 && len(a.wanted) == 0 && len(a.fetches) == 0
	})
}

// Close ends every goroutine of ours while the host and its peers live on.
func TestCloseLeavesNothingBehind(t *testing.T) {
	x, y := hosttest.New(t), hosttest.New(t)
	hosttest.Connect(t, x, y)
	before := goleak.IgnoreCurrent()
	for range 2 {
		a, b := open(t, x), open(t, y)
		hosttest.Wait(t, "both to know the protocol", func() bool {
			p, _ := x.Peerstore().SupportsProtocols(y.ID(), Protocol)
			return len(p) == 1
		})
		a.fetch(t, b.disk.fill(1, 2000, 300), b)
		errs := make(chan error)
		go func() {
			_, err := a.Get(context.Background(), block.Sum([]byte("nowhere")), []peer.ID{y.ID()})
			errs <- err
		}()
		hosttest.Wait(t, "the fetch", func() bool { a.Exchange.mu.Lock(); defer a.Exchange.mu.Unlock(); return len(a.fetches) == 1 })
		if err := errors.Join(a.Exchange.Close(), b.Exchange.Close(), a.Exchange.Close()); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Fatalf("a fetch under Close: %v", err)
		}
		goleak.VerifyNone(t, before)
	}
}
