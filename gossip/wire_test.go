package gossip

import (
	"encoding/hex"
	"strings"
	"testing"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/internal/hosttest"
)

// The bytes on the wire, as docs/format.md shows them: one message on topic "t",
// without author, sequence number, signature or key.
func TestWireBytes(t *testing.T) {
	topic := "t"
	rpc := pb.RPC{Publish: []*pb.Message{{Data: []byte("toft"), Topic: &topic}}}
	b, err := rpc.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(b), "1209"+"1204746f6674"+"220174"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Its ID is the SHA-256 of its data.
	const id = "6a6f9028c099184750c56aa6f1655f97aeae171bd6a7d384b56b95c28b5a6179"
	if got := hex.EncodeToString([]byte(messageID(rpc.Publish[0]))); got != id {
		t.Errorf("message id %s, want %s", got, id)
	}
}

// Whatever an RPC says, the gate lets through only topics and messages that its
// sender has a right to.
func FuzzInspect(f *testing.F) {
	topic, other, yes, no := "mine", "other", true, false
	for _, rpc := range []pb.RPC{
		{Publish: []*pb.Message{{Data: []byte("x"), Topic: &topic}, {Topic: &other}, {}}},
		{Subscriptions: []*pb.RPC_SubOpts{{Topicid: &topic, Subscribe: &yes}, {Topicid: &topic, Subscribe: &no}, {}}},
		{Control: &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: &topic}}}},
	} {
		b, err := rpc.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(0))
		f.Add(b, uint8(1))
	}
	member, guest := peer.ID("member"), peer.ID("guest")
	n := open(f, hosttest.New(f), func(p peer.ID) bool { return p == member || p == guest })
	n.join(f, topic, func(p peer.ID) bool { return p == member })
	n.gate.opened(member, nil)
	n.gate.opened(guest, nil)
	f.Fuzz(func(t *testing.T, b []byte, who uint8) {
		var rpc pubsub.RPC
		if rpc.Unmarshal(b) != nil {
			return
		}
		from := []peer.ID{member, guest, "stranger"}[who%3]
		if err := n.gate.inspect(from, &rpc); (err != nil) != (from == "stranger") && err != errMuted {
			t.Fatalf("%s: %v", from, err)
		} else if err != nil {
			return
		}
		for _, s := range rpc.Subscriptions {
			if s.GetTopicid() != topic || s.GetSubscribe() && from != member {
				t.Fatalf("%s is let onto %q", from, s.GetTopicid())
			}
		}
		for _, m := range rpc.Publish {
			if m.GetTopic() != topic || from != member {
				t.Fatalf("%s speaks on %q", from, m.GetTopic())
			}
		}
	})
}

// What a peer claims is bounded, and nothing stays of one whose stream is gone.
func TestClaimsAreBounded(t *testing.T) {
	n := open(t, hosttest.New(t), func(peer.ID) bool { return true })
	yes := true
	say := func(p peer.ID, topics ...string) {
		var rpc pubsub.RPC
		for _, topic := range topics {
			rpc.Subscriptions = append(rpc.Subscriptions, &pb.RPC_SubOpts{Topicid: &topic, Subscribe: &yes})
		}
		if err := n.gate.inspect(p, &rpc); err != nil {
			t.Fatal(err)
		}
	}
	n.gate.opened("p", nil)
	for i := range 2 * maxClaims {
		say("p", strings.Repeat("x", i%maxTopicName)+string(rune('0'+i)))
	}
	say("p", strings.Repeat("long", maxTopicName))
	if c := len(n.gate.visitors["p"].claims); c != maxClaims {
		t.Errorf("%d claims kept, want %d", c, maxClaims)
	}
	say("gone", "x")
	n.gate.ended("p", nil)
	if len(n.gate.visitors) != 0 {
		t.Errorf("%d records left", len(n.gate.visitors))
	}
}
