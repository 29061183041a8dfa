package gossip

import (
	"errors"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Reasons for which the gate drops a whole RPC.
var (
	errStranger = errors.New("member of no team of mine")
	errMuted    = errors.New("muted")
)

// gate stands before GossipSub: it sees every RPC first and rewrites it, so that
// GossipSub never learns of a topic or message its sender has no right to.
type gate struct {
	g *Gossip

	mu       sync.Mutex
	visitors map[peer.ID]*visitor
}

// visitor is what the gate knows of one peer; it lives as long as the peer's
// stream to us, or its muting.
type visitor struct {
	stream  network.Stream      // the newest one from the peer; nil: none
	greeted bool                // our stream to the peer is open
	claims  map[string]struct{} // the topics the peer says it is in
	rejects int
	muted   time.Time // until when

	messages, bytes bucket
}

// bucket is a token bucket that starts full.
type bucket struct {
	level float64
	at    time.Time
}

// take reports whether n tokens were left; rate is both a second's and the most.
func (b *bucket) take(n, rate int, now time.Time) bool {
	if b.at.IsZero() {
		b.level = float64(rate)
	} else {
		b.level = min(float64(rate), b.level+now.Sub(b.at).Seconds()*float64(rate))
	}
	b.at = now
	if b.level < float64(n) {
		return false
	}
	b.level -= float64(n)
	return true
}

func newGate(g *Gossip) *gate { return &gate{g: g, visitors: make(map[peer.ID]*visitor)} }

// visitor returns the record of p, making one if needed. The caller holds mu.
func (t *gate) visitor(p peer.ID) *visitor {
	v := t.visitors[p]
	if v == nil {
		v = &visitor{claims: make(map[string]struct{})}
		t.visitors[p] = v
	}
	return v
}

// opened starts the claims of a peer anew: on a new stream it says them again.
func (t *gate) opened(p peer.ID, s network.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.visitor(p)
	v.stream = s
	clear(v.claims)
}

// ended forgets the claims that came over s.
func (t *gate) ended(p peer.ID, s network.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.visitors[p]
	if v == nil || v.stream != s {
		return
	}
	v.stream = nil
	clear(v.claims)
	t.sweep(p, v)
}

// greet notes whether our stream to p is open.
func (t *gate) greet(p peer.ID, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.visitor(p)
	v.greeted = open
	t.sweep(p, v)
}

// sweep drops a record that says nothing. The caller holds mu.
func (t *gate) sweep(p peer.ID, v *visitor) {
	if v.stream == nil && !v.greeted && !time.Now().Before(v.muted) {
		delete(t.visitors, p)
	}
}

// blame counts a message that was wrong in every view.
func (t *gate) blame(p peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.visitor(p)
	if v.rejects++; v.rejects == maxRejects {
		v.rejects, v.muted = 0, time.Now().Add(muteTime)
		t.g.log.Warn("gossip: peer muted, its messages are wrong in every view", "peer", p, "for", muteTime)
	}
}

// forgive ends a muting, and lets counting start anew.
func (t *gate) forgive(p peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.visitors[p]; v != nil {
		v.rejects, v.muted = 0, time.Time{}
	}
}

// claimants returns the greeted peers that say they are on the topic.
func (t *gate) claimants(topic string) []peer.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []peer.ID
	for p, v := range t.visitors {
		if _, ok := v.claims[topic]; ok && v.greeted {
			out = append(out, p)
		}
	}
	return out
}

// inspect is called by pubsub's loop for every RPC before anything else. An error
// drops the RPC as a whole; otherwise it has been rewritten to what from may say.
func (t *gate) inspect(from peer.ID, rpc *pubsub.RPC) error {
	claims, err := t.admit(from, rpc)
	if err != nil {
		return err
	}
	allowed := make(map[string]bool, len(claims))
	rpc.Subscriptions = nil
	for _, topic := range claims {
		ok := t.g.allowed(from, topic)
		allowed[topic] = ok
		// Said on every RPC anew, because it may have become true, or ceased to be,
		// since the peer said it once: pubsub takes repetitions for nothing.
		rpc.Subscriptions = append(rpc.Subscriptions, &pb.RPC_SubOpts{Topicid: &topic, Subscribe: &ok})
	}
	rpc.Publish = t.speakable(from, rpc.Publish, allowed)
	return nil
}

// admit updates the claims of from and returns those that name topics of ours.
func (t *gate) admit(from peer.ID, rpc *pubsub.RPC) ([]string, error) {
	known := t.g.known(from)
	t.g.mu.RLock()
	defer t.g.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.visitors[from]
	if v == nil {
		// Its stream has ended meanwhile. Making a record now would leave it for
		// ever, one for every peer id an outsider cares to make up.
		v = &visitor{claims: make(map[string]struct{})}
	}
	for _, s := range rpc.Subscriptions {
		topic := s.GetTopicid()
		if !s.GetSubscribe() {
			delete(v.claims, topic)
		} else if len(topic) <= maxTopicName && len(v.claims) < maxClaims {
			v.claims[topic] = struct{}{}
		}
	}
	if !known {
		t.g.count.strangers.Add(1)
		return nil, errStranger
	}
	now := time.Now()
	if now.Before(v.muted) {
		return nil, errMuted
	}
	rpc.Publish = t.limit(v, rpc.Publish, now)
	// One entry per topic of ours, claimed or not: what is not claimed any more
	// must be unsaid as well.
	var ours []string
	for topic := range t.g.topics {
		if _, ok := v.claims[topic]; ok {
			ours = append(ours, topic)
		}
	}
	for _, s := range rpc.Subscriptions {
		if topic := s.GetTopicid(); !s.GetSubscribe() && t.g.topics[topic] != nil {
			ours = append(ours, topic)
		}
	}
	return ours, nil
}

// limit cuts off the messages above the peer's rate. The caller holds mu.
func (t *gate) limit(v *visitor, msgs []*pb.Message, now time.Time) []*pb.Message {
	for i, m := range msgs {
		if !v.messages.take(1, rateMessages, now) || !v.bytes.take(len(m.GetData()), rateBytes, now) {
			t.g.count.limited.Add(uint64(len(msgs) - i))
			return msgs[:i]
		}
	}
	return msgs
}

// speakable keeps the messages on topics from may speak on.
func (t *gate) speakable(from peer.ID, msgs []*pb.Message, allowed map[string]bool) []*pb.Message {
	out := msgs[:0]
	for _, m := range msgs {
		topic := m.GetTopic()
		ok, asked := allowed[topic]
		if !asked {
			ok = t.g.allowed(from, topic)
			allowed[topic] = ok
		}
		if !ok {
			t.g.count.denied.Add(1)
			continue
		}
		out = append(out, m)
	}
	return out
}
