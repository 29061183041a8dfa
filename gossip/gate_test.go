package gossip

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/toftdb/toft/internal/hosttest"
)

// stranger is a bare GossipSub that speaks our protocol and follows no rule of
// ours.
func stranger(t *testing.T, h host.Host) *pubsub.PubSub {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ps, err := pubsub.NewGossipSub(ctx, h,
		pubsub.WithGossipSubProtocols([]protocol.ID{Protocol}, features),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID), pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// say sends one RPC over a stream of its own.
func say(t *testing.T, from, to host.Host, rpc pb.RPC) {
	t.Helper()
	s, err := from.NewStream(context.Background(), to.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	b, err := rpc.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
}

// silence waits long enough for several heartbeats, in which nothing may be heard.
func (n *node) silence(t *testing.T) {
	t.Helper()
	select {
	case m := <-n.heard:
		t.Fatalf("heard %q", m)
	case <-time.After(400 * time.Millisecond):
	}
}

// A stranger who knows the address and even the name of the topic is not told
// that we are on it, hears nothing, and is not heard.
func TestStrangerLearnsNothing(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	raw := hosttest.New(t)
	out, tape := hosttest.Record(raw)
	r := newRoster(a, b)
	na, nb := open(t, a, r.has), open(t, b, r.has)
	const topic = "secret-topic-name"
	ta, tb := na.join(t, topic, r.has), nb.join(t, topic, r.has)
	ps := stranger(t, out)
	their, _ := ps.Join(topic)
	sub, _ := their.Subscribe()
	hosttest.Connect(t, a, b)
	hosttest.Connect(t, raw, a)
	sees(t, ta, b)
	sees(t, tb, a)
	hosttest.Wait(t, "the stranger's RPC", func() bool { return na.Stats().Strangers > 0 })
	// It speaks first what a member says afterwards: the member must be heard. Its
	// own GossipSub has nobody to send to, so it writes to us by hand.
	name, yes := topic, true
	before := na.Stats().Strangers
	say(t, out, a, pb.RPC{
		Subscriptions: []*pb.RPC_SubOpts{{Topicid: &name, Subscribe: &yes}},
		Publish:       []*pb.Message{{Data: []byte("the canary sings"), Topic: &name}},
		Control:       &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: &name}}},
	})
	hosttest.Wait(t, "the stranger's message", func() bool { return na.Stats().Strangers > before })
	na.silence(t)
	publish(t, tb, "the canary sings")
	na.hears(t, "the canary sings")
	publish(t, ta, "canary answers")
	nb.hears(t, "canary answers")
	nb.silence(t)
	if peers := their.ListPeers(); len(peers) != 0 {
		t.Errorf("the stranger sees %v on the topic", peers)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for {
		m, err := sub.Next(ctx)
		if err != nil {
			break
		}
		if m.ReceivedFrom != raw.ID() {
			t.Errorf("the stranger heard %q", m.Data)
		}
	}
	if tape.Contains([]byte("canary answers")) {
		t.Error("our message reached the stranger")
	}
	for _, s := range raw.Network().ConnsToPeer(a.ID())[0].GetStreams() {
		if s.Protocol() == Protocol && s.Stat().Direction.String() == "Inbound" {
			t.Error("a stream was opened to the stranger")
		}
	}
}

// A member of another team of ours knows the name of a topic it may not be on,
// says that it is, and floods it.
func TestMemberOfAnotherTeamStaysOutside(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	raw := hosttest.New(t)
	out, tape := hosttest.Record(raw)
	known, fam, club := newRoster(a, b, raw), newRoster(a, b), newRoster(a, raw)
	na, nb := open(t, a, known.has), open(t, b, known.has)
	ta, tb := na.join(t, "fam", fam.has), nb.join(t, "fam", fam.has)
	tc, err := na.Gossip.Join("club", club.has, accepting(na.deliver))
	if err != nil {
		t.Fatal(err)
	}
	ps := stranger(t, out)
	theirs, _ := ps.Join("fam")
	_, _ = theirs.Subscribe()
	shared, _ := ps.Join("club")
	_, _ = shared.Subscribe()
	hosttest.Connect(t, a, b)
	hosttest.Connect(t, raw, a)
	sees(t, ta, b)
	sees(t, tb, a)
	sees(t, tc, raw)
	hosttest.Wait(t, "our greeting", func() bool { return slices.Contains(theirs.ListPeers(), a.ID()) })
	if err := theirs.Publish(context.Background(), []byte("not yours to say")); err != nil {
		t.Fatal(err)
	}
	hosttest.Wait(t, "the denied message", func() bool { return na.Stats().Denied > 0 })
	publish(t, ta, "family matter")
	nb.hears(t, "family matter")
	publish(t, tb, "not yours to say") // the same bytes, from one who may
	na.hears(t, "not yours to say")
	publish(t, tc, "club matter")
	hosttest.Wait(t, "the club's message", func() bool { return tape.Contains([]byte("club matter")) })
	na.silence(t)
	if tape.Contains([]byte("family matter")) {
		t.Error("the outsider got a message")
	}
	id := messageIDOf("family matter")
	if tape.Contains([]byte(id)) {
		t.Error("the outsider was offered the ID of a message")
	}
	for _, p := range ta.Peers() {
		if p == raw.ID() {
			t.Error("the outsider is listed on the topic")
		}
	}
}

// After admission messages flow on the connection that was open before, without
// reconnect, in either order of Admitted, and in less than a second.
func TestAdmissionResumesOnTheOpenConnection(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	ra, rb := newRoster(a), newRoster(b) // each knows only itself
	na, nb := open(t, a, ra.has), open(t, b, rb.has)
	ta, tb := na.join(t, "x", ra.has), nb.join(t, "x", rb.has)
	hosttest.Connect(t, a, b)
	na.silence(t)
	conn := a.Network().ConnsToPeer(b.ID())[0]

	start := time.Now()
	rb.set(a, true)
	nb.Gossip.Admitted(a.ID()) // the joiner knows the team first
	hosttest.Wait(t, "b's greeting", func() bool { return na.Stats().Strangers > 0 })
	ra.set(b, true)
	na.Gossip.Admitted(b.ID())
	sees(t, ta, b)
	publish(t, ta, "welcome")
	nb.hears(t, "welcome")
	sees(t, tb, a)
	publish(t, tb, "thanks")
	na.hears(t, "thanks")
	took := time.Since(start)
	t.Logf("both ways %v after admission", took)
	if conn.IsClosed() || len(a.Network().ConnsToPeer(b.ID())) != 1 {
		t.Error("it took a new connection")
	}
}

// A device that is known already, from another team, is admitted to a topic it
// has claimed before and is silent about since.
func TestAdmissionOfAKnownAndSilentPeer(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	known, fam := newRoster(a, b), newRoster(a)
	na, nb := open(t, a, known.has), open(t, b, known.has)
	ta := na.join(t, "fam", fam.has)
	tb := nb.join(t, "fam", known.has) // b believes it is a member
	hosttest.Connect(t, a, b)
	sees(t, tb, a)
	nb.silence(t)
	publish(t, ta, "before")
	nb.silence(t)
	fam.set(b, true)
	start := time.Now()
	na.Gossip.Admitted(b.ID())
	sees(t, ta, b)
	publish(t, ta, "after")
	for m := range nb.heard { // "before" may be replayed: b is a member now
		if m == "after" {
			break
		}
	}
	t.Logf("heard %v after admission", time.Since(start))
}

// A removed device hears nothing more on the connection that was open, and one
// that is still a member of another team goes on hearing that team.
func TestRemoval(t *testing.T) {
	a, b := hosttest.New(t), hosttest.New(t)
	known, fam, club := newRoster(a, b), newRoster(a, b), newRoster(a, b)
	na, nb := open(t, a, known.has), open(t, b, known.has)
	tf := na.join(t, "fam", fam.has)
	nb.join(t, "fam", known.has) // b has not heard of its removal
	tc := na.join(t, "club", club.has)
	nb.join(t, "club", known.has)
	hosttest.Connect(t, a, b)
	sees(t, tf, b)
	sees(t, tc, b)
	publish(t, tf, "one")
	nb.hears(t, "one")

	fam.set(b, false)
	na.Gossip.Removed(b.ID())
	publish(t, tf, "secret of the family")
	nb.silence(t)
	sees(t, tc, b)
	publish(t, tc, "club goes on")
	nb.hears(t, "club goes on")
	if err := nb.topic("fam").Publish(context.Background(), []byte("still here")); err != nil {
		t.Fatal(err)
	}
	na.silence(t)

	known.set(b, false)
	club.set(b, false)
	na.Gossip.Removed(b.ID())
	publish(t, tf, "two")
	publish(t, tc, "three")
	nb.silence(t)
}

// Who hands on what is wrong in every view is muted; admission forgives.
func TestRejectsMute(t *testing.T) {
	a, raw := hosttest.New(t), hosttest.New(t)
	r := newRoster(a, raw)
	na := open(t, a, r.has)
	judge := func(_ peer.ID, data []byte) Verdict {
		if string(data) == "fine" || string(data) == "fine again" {
			return Accept
		}
		return Reject
	}
	if _, err := na.Gossip.Join("x", r.has, judging(judge, na.deliver)); err != nil {
		t.Fatal(err)
	}
	theirs, _ := stranger(t, raw).Join("x")
	_, _ = theirs.Subscribe()
	hosttest.Connect(t, raw, a)
	hosttest.Wait(t, "a on the topic", func() bool { return len(theirs.ListPeers()) == 1 })
	say := func(s string) {
		if err := theirs.Publish(context.Background(), []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxRejects {
		say(string(rune('a' + i)))
	}
	hosttest.Wait(t, "the rejects", func() bool { return na.Stats().Rejected == maxRejects })
	say("fine")
	na.silence(t)
	na.Gossip.Admitted(raw.ID())
	say("fine again")
	na.hears(t, "fine again")
}

// A flood above the rate costs the rest of the flood.
func TestFloodIsCut(t *testing.T) {
	var b bucket
	now := time.Unix(1, 0)
	taken := 0
	for range 3 * rateMessages {
		if b.take(1, rateMessages, now) {
			taken++
		}
	}
	if taken != rateMessages {
		t.Errorf("%d at once, want %d", taken, rateMessages)
	}
	if b.take(rateMessages/2+1, rateMessages, now.Add(time.Second/2)) {
		t.Error("more than half after half a second")
	}
	if !b.take(rateMessages/2, rateMessages, now.Add(time.Second/2)) {
		t.Error("less than half after half a second")
	}
}
