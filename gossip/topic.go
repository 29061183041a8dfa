package gossip

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Topic is a joined topic.
type Topic struct {
	g       *Gossip
	name    string
	allow   func(peer.ID) bool
	judge   func(peer.ID, []byte) (Verdict, func())
	topic   *pubsub.Topic
	sub     *pubsub.Subscription
	cancel  context.CancelFunc // ends the delivering goroutine
	stopped chan struct{}      // closed when the delivering goroutine has ended
	closed  atomic.Bool

	mu     sync.Mutex
	recent []sent // what a new neighbour is replayed, oldest first
}

type sent struct {
	at   time.Time
	data []byte
}

// Join enters a topic. allow says which peers may hear and speak on it; judge looks
// at a message of others before it is passed on, once, and of an accepted one also
// returns what is to be done with it, so that nothing has to be read again. from is
// the peer that handed the message on, not its author.
//
// allow and judge are called from several goroutines and must be quick and must not
// call back into Gossip; what judge returned is called from one goroutine per topic,
// in order of acceptance, and while it is busy [inQueue] messages may wait. data is
// shared and must not be changed.
func (g *Gossip) Join(name string, allow func(peer.ID) bool, judge func(from peer.ID, data []byte) (v Verdict, deliver func())) (*Topic, error) {
	if name == "" || len(name) > maxTopicName {
		return nil, fmt.Errorf("gossip: topic name of %d bytes, want 1 to %d", len(name), maxTopicName)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &Topic{g: g, name: name, allow: allow, judge: judge, cancel: cancel, stopped: make(chan struct{})}
	if err := g.enter(t); err != nil {
		cancel()
		return nil, fmt.Errorf("gossip: join: %w", err)
	}
	if err := t.open(); err != nil {
		g.leave(t)
		cancel()
		close(t.stopped)
		return nil, fmt.Errorf("gossip: join: %w", err)
	}
	go t.run(ctx)
	for _, p := range g.gate.claimants(name) {
		g.host.nudge(p) // it said so before we were on the topic
	}
	return t, nil
}

// enter registers the topic before pubsub hears of it, so that the gate already
// knows whom to let in.
func (g *Gossip) enter(t *Topic) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return ErrClosed
	case g.topics[t.name] != nil:
		return ErrJoined
	}
	g.topics[t.name] = t
	return nil
}

func (g *Gossip) leave(t *Topic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.topics[t.name] == t {
		delete(g.topics, t.name)
	}
}

func (t *Topic) open() (err error) {
	ps := t.g.ps
	if err := ps.RegisterTopicValidator(t.name, t.validate, pubsub.WithValidatorInline(true)); err != nil {
		return err
	}
	if t.topic, err = ps.Join(t.name); err == nil {
		if t.sub, err = t.topic.Subscribe(pubsub.WithBufferSize(inQueue), pubsub.WithMessageFilter(t.foreign)); err == nil {
			return nil
		}
		_ = t.topic.Close()
	}
	_ = ps.UnregisterTopicValidator(t.name)
	return err
}

// foreign keeps our own messages out of the subscription.
func (t *Topic) foreign(m *pubsub.Message) bool { return m.ReceivedFrom != t.g.host.ID() }

// validate is pubsub's validator. It runs inline in one of pubsub's workers: a
// goroutine per message would cost more than the cheap checks made here.
func (t *Topic) validate(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == t.g.host.ID() {
		return pubsub.ValidationAccept
	}
	v := Ignore
	switch {
	case len(m.Data) > MaxMessage:
		v = Reject
	case !t.allow(from): // removed since the gate looked
	default:
		t.call(func() {
			verdict, deliver := t.judge(from, m.Data)
			v, m.ValidatorData = verdict, deliver // the subscription hands it back
		})
	}
	switch v {
	case Accept:
		t.keep(m.Data)
		return pubsub.ValidationAccept
	case Reject:
		t.g.count.rejected.Add(1)
		t.g.gate.blame(from)
		return pubsub.ValidationReject
	}
	t.g.count.ignored.Add(1)
	return pubsub.ValidationIgnore
}

func (t *Topic) run(ctx context.Context) {
	defer close(t.stopped)
	for {
		m, err := t.sub.Next(ctx) // pubsub's end does not end it
		if err != nil {
			return
		}
		if deliver, ok := m.ValidatorData.(func()); ok && deliver != nil {
			t.call(deliver)
		}
	}
}

// Publish sends data to the topic. It returns when the message is handed to
// GossipSub, with ErrTooLarge above [MaxMessage] bytes, and with nil when nobody
// is there to hear it. Publishing equal bytes again within half a minute does
// nothing. data must not be changed afterwards.
func (t *Topic) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("%w: %d bytes, at most %d: let the peers pull it", ErrTooLarge, len(data), MaxMessage)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.keep(data)
	if err := t.topic.Publish(ctx, data); err != nil {
		if t.closed.Load() || t.g.topic(t.name) != t {
			return ErrClosed
		}
		return fmt.Errorf("gossip: publish: %w", err)
	}
	return nil
}

// keep remembers a message for replay, within the limits: ours, and what we pass on
// to the mesh, of which the same holds.
func (t *Topic) keep(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = append(t.recent, sent{time.Now(), data})
	size, from := 0, len(t.recent)
	for from > 0 && len(t.recent)-from < maxReplay && size+len(t.recent[from-1].data) <= maxReplayBytes {
		from--
		size += len(t.recent[from].data)
	}
	t.recent = slices.Delete(t.recent, 0, from)
}

// replay returns what a new neighbour may have missed.
func (t *Topic) replay() []*pb.Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*pb.Message
	for _, s := range t.recent {
		if time.Since(s.at) < replayTime {
			out = append(out, &pb.Message{Data: s.data, Topic: &t.name})
		}
	}
	return out
}

// Peers returns the peers known to be on the topic, allowed there, and greeted by
// us: a message published now reaches them, through the mesh or by replay.
func (t *Topic) Peers() []peer.ID {
	var out []peer.ID
	for _, p := range t.g.gate.claimants(t.name) {
		if t.g.known(p) && t.allow(p) {
			out = append(out, p)
		}
	}
	return out
}

// Close leaves the topic. No callback for it starts afterwards; one that runs may
// still be finishing, and may be the caller of Close.
func (t *Topic) Close() {
	if t.closed.Swap(true) {
		return
	}
	t.g.leave(t)
	t.cancel()
	t.sub.Cancel()
	_ = t.g.ps.UnregisterTopicValidator(t.name)
	_ = t.topic.Close()
}

// call runs a callback unless the topic or all of gossip is closed.
func (t *Topic) call(f func()) {
	t.g.call(func() {
		if !t.closed.Load() {
			f()
		}
	})
}
