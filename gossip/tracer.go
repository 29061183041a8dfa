package gossip

import (
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// tracer is told by pubsub's loop what it does. All methods run in that loop and
// must not block.
type tracer struct{ g *Gossip }

func (t tracer) OnNewOutboundStream(p peer.ID, _ protocol.ID) { t.g.gate.greet(p, true) }
func (t tracer) OnClosedOutboundStream(p peer.ID)             { t.g.gate.greet(p, false) }

// Graft replays what we said or passed on just before p became a neighbour. Being in
// pubsub's loop, it may use the router; the messages go out after the greeting
// and are dropped by p as duplicates if it has them.
func (t tracer) Graft(p peer.ID, topic string) {
	joined := t.g.topic(topic)
	if joined == nil || !t.g.allowed(p, topic) {
		return
	}
	if msgs := joined.replay(); len(msgs) > 0 {
		t.g.rt.SendControl(p, &pb.ControlMessage{}, msgs...)
	}
}

func (t tracer) RejectMessage(_ *pubsub.Message, reason string) {
	if reason == pubsub.RejectValidationQueueFull || reason == pubsub.RejectValidationThrottled {
		t.g.count.overflowed.Add(1)
	}
}

func (t tracer) UndeliverableMessage(*pubsub.Message) { t.g.count.overflowed.Add(1) }
func (t tracer) DropRPC(*pubsub.RPC, peer.ID)         { t.g.count.undelivered.Add(1) }
func (t tracer) Join(string)                          {}
func (t tracer) Leave(string)                         {}
func (t tracer) Prune(peer.ID, string)                {}
func (t tracer) ValidateMessage(*pubsub.Message)      {}
func (t tracer) DeliverMessage(*pubsub.Message)       {}
func (t tracer) DuplicateMessage(*pubsub.Message)     {}
func (t tracer) ThrottlePeer(peer.ID)                 {}
func (t tracer) RecvRPC(*pubsub.RPC)                  {}
func (t tracer) SendRPC(*pubsub.RPC, peer.ID)         {}
