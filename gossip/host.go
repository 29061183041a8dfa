package gossip

import (
	"context"
	"errors"
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// gated is the host as our GossipSub sees it: it knows all streams of ours, so
// that they can be reset, dials nobody, and has an event bus of its own edge.
type gated struct {
	host.Host
	gate *gate
	bus  *bus

	mu      sync.Mutex
	streams map[*stream]struct{}
	inbound map[peer.ID]*inbound // the newest of each peer
	closed  bool
}

func newGated(h host.Host, g *gate, done <-chan struct{}) *gated {
	return &gated{
		Host: h, gate: g, streams: make(map[*stream]struct{}), inbound: make(map[peer.ID]*inbound),
		bus: &bus{Bus: h.EventBus(), done: done, again: make(chan peer.ID)},
	}
}

var errClosing = errors.New("gossip is closing")

func (h *gated) track(s network.Stream) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = s.Reset()
		return nil, errClosing
	}
	t := &stream{Stream: s, h: h}
	h.streams[t] = struct{}{}
	return t, nil
}

func (h *gated) forget(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
}

// nudge makes pubsub reconsider what p said about its topics; see [inbound].
func (h *gated) nudge(p peer.ID) {
	h.mu.Lock()
	s := h.inbound[p]
	h.mu.Unlock()
	if s != nil {
		s.nudge()
	}
}

// reset ends our streams to p and, if both, those from p.
func (h *gated) reset(p peer.ID, both bool) {
	h.resetIf(func(s *stream) bool {
		return s.Conn().RemotePeer() == p && (both || s.Stat().Direction == network.DirOutbound)
	})
}

func (h *gated) resetIf(match func(*stream) bool) {
	h.mu.Lock()
	var dead []*stream
	for s := range h.streams {
		if match(s) {
			dead = append(dead, s)
		}
	}
	h.mu.Unlock()
	for _, s := range dead {
		_ = s.Reset()
	}
}

// close takes our handler off the host and ends all streams: pubsub does neither.
func (h *gated) close() {
	h.Host.RemoveStreamHandler(Protocol)
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.resetIf(func(*stream) bool { return true })
	h.bus.close()
}

// SetStreamHandler wraps pubsub's handler for inbound streams.
func (h *gated) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(raw network.Stream) {
		t, err := h.track(raw)
		if err != nil {
			return
		}
		s, p := &inbound{stream: t}, raw.Conn().RemotePeer()
		h.mu.Lock()
		h.inbound[p] = s
		h.mu.Unlock()
		h.gate.opened(p, s)
		handle(s)
		h.gate.ended(p, s)
		h.forget(t)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.inbound[p] == s {
			delete(h.inbound, p)
		}
	})
}

// NewStream opens pubsub's stream to a peer.
func (h *gated) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(network.WithNoDial(ctx, "gossip"), p, ids...)
	if err != nil {
		return nil, err
	}
	return h.track(s)
}

// Connect refuses: only node decides whom to dial.
func (h *gated) Connect(context.Context, peer.AddrInfo) error {
	return errors.New("gossip does not dial")
}

// EventBus returns the host's bus with our edge.
func (h *gated) EventBus() event.Bus { return h.bus }

// bus lets us tell our GossipSub, and nobody else on the host, that a peer has
// been identified (again).
type bus struct {
	event.Bus
	done  <-chan struct{}
	again chan peer.ID

	mu     sync.Mutex // pubsub subscribes from a goroutine, maybe after we closed
	closed bool
	wait   sync.WaitGroup
}

func (b *bus) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wait.Wait()
}

// identified hands our GossipSub an identify event about p.
func (b *bus) identified(p peer.ID) {
	select {
	case b.again <- p:
	case <-b.done:
	}
}

// Subscribe merges our events into the one subscription that makes pubsub open
// streams; the others pass unchanged.
func (b *bus) Subscribe(what any, opts ...event.SubscriptionOpt) (event.Subscription, error) {
	sub, err := b.Bus.Subscribe(what, opts...)
	if err != nil || !greets(what) {
		return sub, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return sub, nil
	}
	m := &merged{Subscription: sub, out: make(chan any), done: make(chan struct{})}
	b.wait.Add(1)
	go func() {
		defer b.wait.Done()
		m.run(b)
	}()
	return m, nil
}

// greets recognizes pubsub's subscription for new peers by its event types.
func greets(what any) bool {
	list, _ := what.([]any)
	for _, w := range list {
		if _, ok := w.(*event.EvtPeerProtocolsUpdated); ok {
			return true
		}
	}
	return false
}

type merged struct {
	event.Subscription
	out  chan any
	done chan struct{}
	once sync.Once
}

func (m *merged) Out() <-chan any { return m.out }

func (m *merged) Close() error {
	m.once.Do(func() { close(m.done) })
	return m.Subscription.Close()
}

func (m *merged) run(b *bus) {
	for {
		var e any
		var ok bool
		select {
		case e, ok = <-m.Subscription.Out():
			if !ok {
				return
			}
		case p := <-b.again:
			e = event.EvtPeerIdentificationCompleted{Peer: p, Protocols: []protocol.ID{Protocol}}
		case <-m.done:
			return
		case <-b.done:
			return
		}
		select {
		case m.out <- e:
		case <-m.done:
			return
		case <-b.done:
			return
		}
	}
}
