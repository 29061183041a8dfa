package gossip

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Protocol is the only protocol id this package speaks.
const Protocol protocol.ID = "/toft/meshsub/1.2.0"

// Errors callers branch on.
var (
	ErrTooLarge = errors.New("message too large for gossip")
	ErrClosed   = errors.New("gossip is closed")
	ErrJoined   = errors.New("topic is joined already")
)

// Verdict is what a validator says about a message.
type Verdict int

const (
	// Ignore drops the message and blames nobody: it may be right in another view.
	Ignore Verdict = iota
	// Accept delivers the message and passes it on to the mesh.
	Accept
	// Reject drops a message that is wrong in every view; the peer that handed it
	// on is to blame, and muted when it goes on.
	Reject
)

// Options of Open.
type Options struct {
	// Host is borrowed: Close leaves it open.
	Host host.Host
	// Known reports whether the peer is a member of any of my teams. It is asked
	// for every RPC, from several goroutines, and must not call back into Gossip.
	Known func(peer.ID) bool
	// Log takes at most one line per misbehaving peer and minute; nil: none.
	Log *slog.Logger
}

// Stats counts what was dropped since Open.
type Stats struct {
	Strangers   uint64 // RPCs of peers that are members of no team of ours
	Denied      uint64 // messages on a topic their sender may not speak on
	Limited     uint64 // messages above the rate of a peer
	Ignored     uint64 // by a validator
	Rejected    uint64 // by a validator, or larger than MaxMessage
	Overflowed  uint64 // accepted or received, but a queue on this side was full
	Undelivered uint64 // RPCs that a peer's full queue swallowed
}

// Gossip is a GossipSub of our own on a borrowed host. It is safe for concurrent
// use. Goroutines: those of pubsub, one per topic that delivers, one that merges
// identify events; all end with Close.
type Gossip struct {
	known  func(peer.ID) bool
	log    *slog.Logger
	host   *gated
	ps     *pubsub.PubSub
	rt     *pubsub.GossipSubRouter
	gate   *gate
	count  counters
	cancel context.CancelFunc

	mu     sync.RWMutex
	topics map[string]*Topic
	timers map[peer.ID]*time.Timer
	closed bool

	calls sync.WaitGroup // callbacks of the user that run
}

type counters struct {
	strangers, denied, limited, ignored, rejected, overflowed, undelivered atomic.Uint64
}

// Open starts GossipSub on the host. Peers connected now or later that support
// the protocol and are known are greeted; no topic is joined yet.
func Open(o Options) (*Gossip, error) {
	if o.Host == nil || o.Known == nil {
		return nil, errors.New("gossip: host and known are required")
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gossip{
		known: o.Known, log: log, cancel: cancel,
		topics: make(map[string]*Topic), timers: make(map[peer.ID]*time.Timer),
	}
	g.gate = newGate(g)
	g.host = newGated(o.Host, g.gate, ctx.Done())
	g.rt = pubsub.DefaultGossipSubRouter(g.host)
	// GossipSub's own log speaks per message and peer, which outsiders could use to
	// fill a disk; what matters of it is counted.
	quiet := slog.New(slog.DiscardHandler)
	ps, err := pubsub.NewGossipSubWithRouter(ctx, g.host, g.rt,
		pubsub.WithGossipSubProtocols([]protocol.ID{Protocol}, features),
		pubsub.WithGossipSubParams(meshParams()),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithBlacklist(strangers{o.Known}),
		pubsub.WithPeerFilter(g.allowed),
		pubsub.WithAppSpecificRpcInspector(g.gate.inspect),
		pubsub.WithFloodPublish(false),
		pubsub.WithPeerExchange(false),
		pubsub.WithMaxMessageSize(maxFrame),
		pubsub.WithPeerOutboundQueueSize(outQueue),
		pubsub.WithValidateQueueSize(inQueue),
		pubsub.WithSeenMessagesTTL(seenTime),
		pubsub.WithRawTracer(tracer{g}),
		pubsub.WithLogger(quiet),
		pubsub.WithRPCLogger(quiet),
	)
	if err != nil {
		cancel()
		g.host.close()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.ps = ps
	return g, nil
}

// messageID makes equal bytes one message, whoever sent them.
func messageID(m *pb.Message) string {
	id := sha256.Sum256(m.GetData())
	return string(id[:])
}

// features of our protocol id: a 1.2 mesh, without peer exchange of addresses.
func features(f pubsub.GossipSubFeature, id protocol.ID) bool {
	switch f {
	case pubsub.GossipSubFeatureMesh, pubsub.GossipSubFeaturePX, pubsub.GossipSubFeatureIdontwant:
		return id == Protocol // PX: only with it a PRUNE carries its backoff
	}
	return false
}

// strangers is the dynamic blacklist: everybody who is member of none of my teams.
type strangers struct{ known func(peer.ID) bool }

// Add does nothing: BlacklistPeer is called for its side effect, to drop a peer.
func (s strangers) Add(peer.ID) bool { return true }

func (s strangers) Contains(p peer.ID) bool {
	// Messages name no author, and pubsub asks about the empty one too.
	return p != "" && !s.known(p)
}

// allowed is the peer filter of every topic.
func (g *Gossip) allowed(p peer.ID, topic string) bool {
	t := g.topic(topic)
	return t != nil && g.known(p) && t.allow(p)
}

func (g *Gossip) topic(name string) *Topic {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.topics[name]
}

// Stats returns what was dropped so far.
func (g *Gossip) Stats() Stats {
	c := &g.count
	return Stats{
		Strangers: c.strangers.Load(), Denied: c.denied.Load(), Limited: c.limited.Load(),
		Ignored: c.ignored.Load(), Rejected: c.rejected.Load(),
		Overflowed: c.overflowed.Load(), Undelivered: c.undelivered.Load(),
	}
}

// Admitted tells that Known or some topic's allow now holds for p. If p is
// connected, gossip with it starts on the open connection, without a reconnect.
// It is harmless for a peer that needs it not.
func (g *Gossip) Admitted(p peer.ID) {
	g.gate.forgive(p)
	g.resume(p)
}

// resume opens our stream to p if there is none, and has pubsub look again at
// the topics p said it is in.
func (g *Gossip) resume(p peer.ID) {
	g.host.bus.identified(p)
	g.host.nudge(p)
}

// Removed tells that Known or some topic's allow no longer holds for p. When it
// returns, p is in no mesh and nothing is queued to it. If p is still known (a
// member of another team of ours), gossip on the topics left to it resumes.
func (g *Gossip) Removed(p peer.ID) {
	g.ps.BlacklistPeer(p)
	g.ps.GetTopics() // a round through pubsub's loop: the drop is done
	known := g.known(p)
	g.host.reset(p, !known)
	if known {
		g.resumeLater(p)
	}
}

func (g *Gossip) resumeLater(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	if t := g.timers[p]; t != nil {
		t.Stop()
	}
	g.timers[p] = time.AfterFunc(resumeDelay, func() {
		g.mu.Lock()
		delete(g.timers, p)
		g.mu.Unlock()
		g.resume(p)
	})
}

// Close leaves the host as it was found. No callback runs after it returns, so it
// must not be called from one.
func (g *Gossip) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	topics := g.topics
	g.topics = make(map[string]*Topic)
	for _, t := range g.timers {
		t.Stop()
	}
	g.mu.Unlock()

	g.calls.Wait()
	g.cancel()
	g.host.close()
	for _, t := range topics {
		t.cancel()
		<-t.stopped
	}
	return nil
}

// call runs a callback of the user unless Close has been called.
func (g *Gossip) call(f func()) {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return
	}
	g.calls.Add(1)
	g.mu.RUnlock()
	defer g.calls.Done()
	f()
}
