package gossip

import (
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

// Every bound of this package, each with its reason.
const (
	// MaxMessage is the largest message, in bytes. Larger news goes by sync: a
	// mesh multiplies what it carries.
	MaxMessage = 64 << 10

	// maxFrame bounds one GossipSub RPC on the wire: a message, a burst of control
	// beside it, and what a new neighbour is replayed. Longer RPCs are split by the
	// sender and refused by the receiver.
	maxFrame = 4 * MaxMessage

	// maxTopicName bounds the name of a topic; Toft's are far shorter.
	maxTopicName = 128

	// maxClaims bounds the topics one peer may say it is in. A device in more
	// teams than this with us is not heard in the rest.
	maxClaims = 256

	// outQueue is how many messages may wait for one peer. GossipSub drops the rest
	// silently, and its default of 32 is less than one burst of puts. The bytes
	// are shared between the queues of all peers.
	outQueue = 1024

	// inQueue is how many messages may wait for validation, and how many accepted
	// ones for delivery on one topic. Beyond, messages are dropped and counted:
	// at most inQueue × MaxMessage = 64 MiB, and only if members are hostile.
	inQueue = 1024

	// A peer may send this many messages and bytes a second, and that much at
	// once; the rest is dropped unread. An honest peer coalesces to far less.
	rateMessages = 2000
	rateBytes    = 16 << 20

	// maxRejects messages that are wrong in every view mute a peer for muteTime.
	// Honest peers forward only what they accepted, so they never come near.
	maxRejects = 16
	muteTime   = time.Minute

	// seenTime is how long the ID of a message is remembered. Copies travel for
	// milliseconds; announcements carry a counter against replay after that.
	seenTime = 30 * time.Second

	// What we published or passed on less than replayTime ago, at most maxReplay messages and
	// maxReplayBytes, is repeated to a peer that has just become a neighbour: the
	// time between "is on the topic" and "is in the mesh" must not lose a message.
	replayTime     = 3 * time.Second
	maxReplay      = 32
	maxReplayBytes = 2 * MaxMessage

	// resumeDelay lets the streams of a peer that was cut off die before new ones
	// are opened; GossipSub would take the death of the old for that of the new.
	resumeDelay = 100 * time.Millisecond
)

// meshParams are GossipSub's parameters for teams of two to a few dozen devices.
func meshParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	// Up to five devices form a full mesh; beyond, each has four to six neighbours,
	// and ten devices carry about 5 times the least bytes.
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout, p.Dlazy = 4, 3, 6, 2, 1, 2
	// Meshes form and gossip flows at heartbeats only. The default of one second
	// is made for thousands of topics and peers; here a beat costs microseconds.
	p.HeartbeatInterval, p.HeartbeatInitialDelay = 100*time.Millisecond, 10*time.Millisecond
	// History is counted in heartbeats: 3 s of messages can be asked for, and are
	// offered twice only, for an offer of many IDs costs as much as the messages.
	p.HistoryLength, p.HistoryGossip = 30, 2
	p.IDontWantMessageTTL = 30
	// Backoffs are whole seconds on the wire, and 0 means the default minute. A
	// device that leaves a topic and comes back must be heard soon.
	p.UnsubscribeBackoff, p.PruneBackoff = time.Second, 3*time.Second
	// Only node dials.
	p.Connectors, p.MaxPendingConnections = 0, 0
	return p
}
