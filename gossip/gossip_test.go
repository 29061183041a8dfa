package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"

	"github.com/toftdb/toft/internal/hosttest"
)

// roster is a set of peers that changes while a test runs.
type roster struct {
	mu sync.Mutex
	in map[peer.ID]bool
}

func newRoster(hosts ...host.Host) *roster {
	r := &roster{in: make(map[peer.ID]bool)}
	for _, h := range hosts {
		r.in[h.ID()] = true
	}
	return r
}

func (r *roster) has(p peer.ID) bool       { r.mu.Lock(); defer r.mu.Unlock(); return r.in[p] }
func (r *roster) set(h host.Host, in bool) { r.mu.Lock(); defer r.mu.Unlock(); r.in[h.ID()] = in }

// accepting takes every message.
func accepting(deliver func(peer.ID, []byte)) func(peer.ID, []byte) (Verdict, func()) {
	return judging(func(peer.ID, []byte) Verdict { return Accept }, deliver)
}

// judging makes one of the two steps that a message goes through.
func judging(judge func(peer.ID, []byte) Verdict, deliver func(peer.ID, []byte)) func(peer.ID, []byte) (Verdict, func()) {
	return func(from peer.ID, data []byte) (Verdict, func()) {
		return judge(from, data), func() { deliver(from, data) }
	}
}

// node is one device: a host, its gossip, and what it heard on a topic.
type node struct {
	host.Host
	*Gossip
	heard chan string
}

func (n *node) deliver(_ peer.ID, data []byte) { n.heard <- string(data) }

func open(t testing.TB, h host.Host, known func(peer.ID) bool) *node {
	t.Helper()
	g, err := Open(Options{Host: h, Known: known})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return &node{Host: h, Gossip: g, heard: make(chan string, 4096)}
}

func (n *node) join(t testing.TB, topic string, allow func(peer.ID) bool) *Topic {
	t.Helper()
	tp, err := n.Gossip.Join(topic, allow, accepting(n.deliver))
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func (n *node) hears(t testing.TB, want string) {
	t.Helper()
	select {
	case got := <-n.heard:
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(hosttest.Deadline):
		t.Fatalf("did not hear %q", want)
	}
}

func publish(t testing.TB, tp *Topic, data string) {
	t.Helper()
	if err := tp.Publish(context.Background(), []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func sees(t testing.TB, tp *Topic, h host.Host) {
	t.Helper()
	hosttest.Wait(t, "a peer on the topic", func() bool { return slices.Contains(tp.Peers(), h.ID()) })
}

// Two devices hear each other from the very first message after they see each
// other on the topic, before any heartbeat has formed a mesh.
func TestNoMessageIsLostInWarmUp(t *testing.T) {
	for i := range 5 {
		a, b := hosttest.New(t), hosttest.New(t)
		r := newRoster(a, b)
		na, nb := open(t, a, r.has), open(t, b, r.has)
		ta, tb := na.join(t, "x", r.has), nb.join(t, "x", r.has)
		publish(t, ta, "to nobody")
		hosttest.Connect(t, a, b)
		sees(t, ta, b)
		publish(t, ta, fmt.Sprint("first ", i))
		sees(t, tb, a)
		publish(t, tb, fmt.Sprint("back ", i))
		na.hears(t, fmt.Sprint("back ", i))
		got := []string{<-nb.heard, <-nb.heard}
		slices.Sort(got)
		if want := []string{fmt.Sprint("first ", i), "to nobody"}; !slices.Equal(got, want) {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
}

func TestPublishRefusesWhatGossipSubWouldDropSilently(t *testing.T) {
	a := hosttest.New(t)
	n := open(t, a, newRoster().has)
	tp := n.join(t, "x", newRoster().has)
	if err := tp.Publish(context.Background(), make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v, want ErrTooLarge", err)
	}
	if _, err := n.Gossip.Join("x", newRoster().has, accepting(n.deliver)); !errors.Is(err, ErrJoined) {
		t.Fatalf("second join: %v", err)
	}
	tp.Close()
	tp.Close()
	if err := tp.Publish(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
	_ = n.Gossip.Close()
	_ = n.Gossip.Close()
	if _, err := n.Gossip.Join("y", newRoster().has, accepting(n.deliver)); !errors.Is(err, ErrClosed) {
		t.Fatalf("join after close: %v", err)
	}
	n.Gossip.Admitted("somebody") // must not block or panic
	n.Gossip.Removed("somebody")
}

// The largest message arrives, and so does a burst of 500 of ordinary size.
func TestLargeAndManyMessagesArrive(t *testing.T) {
	na, nb, ta, _ := pair(t)
	big := string(bytes.Repeat([]byte("m"), MaxMessage))
	publish(t, ta, big)
	nb.hears(t, big)
	const burst = 500
	for i := range burst {
		publish(t, ta, fmt.Sprintf("%d %0400d", i, 0))
	}
	seen := make(map[string]bool)
	for range burst {
		select {
		case m := <-nb.heard:
			seen[m] = true
		case <-time.After(hosttest.Deadline):
			t.Fatalf("%d of %d messages; a: %+v b: %+v", len(seen), burst, na.Stats(), nb.Stats())
		}
	}
	if len(seen) != burst {
		t.Fatalf("%d distinct messages of %d", len(seen), burst)
	}
}

// pair returns two connected nodes that see each other on topic x.
func pair(t testing.TB) (na, nb *node, ta, tb *Topic) {
	t.Helper()
	a, b := hosttest.New(t), hosttest.New(t)
	r := newRoster(a, b)
	na, nb = open(t, a, r.has), open(t, b, r.has)
	ta, tb = na.join(t, "x", r.has), nb.join(t, "x", r.has)
	hosttest.Connect(t, a, b)
	sees(t, ta, b)
	sees(t, tb, a)
	return na, nb, ta, tb
}

// A device that leaves a topic and comes back is heard again, soon.
func TestLeaveAndComeBack(t *testing.T) {
	na, nb, ta, tb := pair(t)
	publish(t, ta, "before")
	nb.hears(t, "before")
	tb.Close()
	hosttest.Wait(t, "b to be gone", func() bool { return len(ta.Peers()) == 0 })
	publish(t, ta, "to nobody")
	tb = nb.join(t, "x", nb.known)
	sees(t, ta, nb.Host)
	sees(t, tb, na.Host)
	publish(t, tb, "back")
	na.hears(t, "back")
	start := time.Now()
	publish(t, ta, "welcome")
	for m := range nb.heard {
		if m == "welcome" {
			break
		}
	}
	t.Logf("heard again after %v", time.Since(start))
}

// The embedder's own default GossipSub and ours share a host and both deliver.
func TestBesideAnEmbeddersGossipSub(t *testing.T) {
	na, nb, ta, _ := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	psa, err := pubsub.NewGossipSub(ctx, na.Host)
	if err != nil {
		t.Fatal(err)
	}
	psb, err := pubsub.NewGossipSub(ctx, nb.Host)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := psa.Join("x")
	other, _ := psb.Join("x")
	sub, err := other.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Wait(t, "the embedder's peers", func() bool { return len(theirs.ListPeers()) == 1 })
	if err := theirs.Publish(ctx, []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.Next(ctx); err != nil || string(m.Data) != "theirs" {
		t.Fatalf("embedder heard %v, %v", m, err)
	}
	publish(t, ta, "ours")
	nb.hears(t, "ours")
	// Closing ours leaves theirs alone.
	_ = na.Gossip.Close()
	_ = nb.Gossip.Close()
	if err := theirs.Publish(ctx, []byte("still theirs")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.Next(ctx); err != nil || string(m.Data) != "still theirs" {
		t.Fatalf("embedder heard %v, %v", m, err)
	}
}

// Messages travel over a peer in between, and every member hears each once.
func TestThreeInALine(t *testing.T) {
	a, b, c := hosttest.New(t), hosttest.New(t), hosttest.New(t)
	r := newRoster(a, b, c)
	na, nb, nc := open(t, a, r.has), open(t, b, r.has), open(t, c, r.has)
	ta, tb, tc := na.join(t, "x", r.has), nb.join(t, "x", r.has), nc.join(t, "x", r.has)
	hosttest.Connect(t, a, b)
	hosttest.Connect(t, b, c)
	sees(t, ta, b)
	sees(t, tb, c)
	sees(t, tc, b)
	publish(t, ta, "far")
	nb.hears(t, "far")
	nc.hears(t, "far")
	select {
	case m := <-nc.heard:
		t.Fatalf("heard %q twice", m)
	case <-time.After(50 * time.Millisecond):
	}
}

// Close ends every goroutine of ours while the host, and a peer's end of the
// streams, live on; gossip can be opened again on the same host.
func TestCloseLeavesNothingBehind(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	r := newRoster(a, b)
	hosttest.Connect(t, a, b)
	before := goleak.IgnoreCurrent()
	for range 2 {
		na, nb := open(t, a, r.has), open(t, b, r.has)
		ta, tb := na.join(t, "x", r.has), nb.join(t, "x", r.has)
		sees(t, ta, b)
		sees(t, tb, a)
		publish(t, ta, "hello")
		nb.hears(t, "hello")
		na.Gossip.Removed(b.ID())
		if err := errors.Join(na.Gossip.Close(), nb.Gossip.Close()); err != nil {
			t.Fatal(err)
		}
		goleak.VerifyNone(t, before)
	}
}

// Ten devices, a hundred messages each: all hear all, and the mesh does not carry
// more than a few copies of each.
func TestTenDevices(t *testing.T) {
	const devices, each, size = 10, 100, 400
	var raw []host.Host
	var tapes []*hosttest.Recorder
	var nodes []*node
	var topics []*Topic
	r := newRoster()
	for range devices {
		h := hosttest.New(t)
		r.set(h, true)
		taped, tape := hosttest.Record(h)
		raw, tapes = append(raw, h), append(tapes, tape)
		nodes = append(nodes, open(t, taped, r.has))
		topics = append(topics, nodes[len(nodes)-1].join(t, "x", r.has))
	}
	for i, a := range raw {
		for _, b := range raw[:i] {
			hosttest.Connect(t, a, b)
		}
	}
	for _, tp := range topics {
		hosttest.Wait(t, "all on the topic", func() bool { return len(tp.Peers()) == devices-1 })
	}
	start := time.Now()
	for k := range each {
		for i, tp := range topics {
			publish(t, tp, fmt.Sprintf("%0*d %d", size, k, i))
		}
	}
	for i, n := range nodes {
		seen := make(map[string]bool)
		for len(seen) < (devices-1)*each {
			select {
			case m := <-n.heard:
				if seen[m] {
					t.Fatal("heard twice")
				}
				seen[m] = true
			case <-time.After(hosttest.Deadline):
				t.Fatalf("device %d heard %d messages: %+v", i, len(seen), n.Stats())
			}
		}
	}
	read := 0
	for _, tape := range tapes {
		read += tape.Bytes()[Protocol] / 2 // read here is written there
	}
	least := devices * each * (devices - 1) * size
	t.Logf("%v, %d bytes on the wire, %.1f× the least", time.Since(start), read, float64(read)/float64(least))
	if read > 7*least {
		t.Errorf("%d bytes on the wire, %d would do", read, least)
	}
}
