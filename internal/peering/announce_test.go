package peering

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/team"
)

func pair(t testing.TB) (a, b *device, c, onB *ledger.Chain, dbA, dbB *ledger.Database) {
	t.Helper()
	a, b = newDevice(t, "ann"), newDevice(t, "bob")
	c, dbA = a.found("fam")
	onB, dbB = b.join(a, c)
	confirmed(t, onB)
	hosttest.Wait(t, "agreement", func() bool { return a.Agrees(dbA, b.host.ID()) && b.Agrees(dbB, a.host.ID()) })
	return
}

// announcer returns the announcer of a team.
func (d *device) announcer(c *ledger.Chain) *announcer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.announcers[c.ID()]
}

// sealed returns an announcement as it is published.
func (d *device) sealed(c *ledger.Chain, said message.Announcement) []byte {
	d.t.Helper()
	a := d.announcer(c)
	plain, err := said.Sign(c.ID(), a.at().gen, a.sign)
	require.NoError(d.t, err)
	box, err := d.ledger.Keys().SealMessage(c.ID(), a.at().gen, plain)
	require.NoError(d.t, err)
	data, err := message.WrapAnnouncement(a.at().gen, box)
	require.NoError(d.t, err)
	return data
}

func TestBurstArrives(t *testing.T) {
	t.Parallel()
	_, _, _, _, dbA, dbB := pair(t)
	puts(t, dbA, "doc", 200)
	same(t, dbA, dbB)
	require.Equal(t, 200, count(dbB))
}

// A commit that fits no announcement is announced by its head and pulled; what is
// small and comes after it is not lost either.
func TestOversizeCommitsArePulled(t *testing.T) {
	t.Parallel()
	_, _, _, _, dbA, dbB := pair(t)
	for i := range 5 {
		put(t, dbA, fmt.Sprintf("large-%d", i), crdt.Doc{"text": strings.Repeat("x", 60<<10)})
		put(t, dbA, fmt.Sprintf("small-%d", i), nil)
	}
	same(t, dbA, dbB)
	require.Equal(t, 10, count(dbB))
}

// An old announcement that is played again changes nothing: it brings no commit
// twice, and does not say where its author stands now.
func TestReplayedAnnouncementsAreHarmless(t *testing.T) {
	t.Parallel()
	a, b, c, onB, dbA, dbB := pair(t)
	_ = a
	stood := dbB.Heads()
	says := b.announcer(onB)
	says.mu.Lock()
	counter := says.counter
	says.mu.Unlock()
	old := b.sealed(onB, message.Announcement{
		Device: b.id.Device(), Counter: counter + 1<<20, Time: 1, Chain: onB.Heads(), DBs: []message.DBHeads{stood},
	})
	put(t, dbA, "news", nil)
	same(t, dbA, dbB)
	now := b.sealed(onB, message.Announcement{
		Device: b.id.Device(), Counter: counter + 1<<20 + 1, Time: 1, Chain: onB.Heads(), DBs: []message.DBHeads{dbB.Heads()},
	})
	// The listener of ann takes them in this order, on her own goroutine.
	x := a.announcer(c).at()
	hear := func(data []byte) {
		_, deliver := x.judge(b.host.ID(), data)
		deliver()
		hosttest.Wait(t, "it to be heard", func() bool { return len(x.a.heard) == 0 })
	}
	hear(now)
	hosttest.Wait(t, "ann to know where bob stands", func() bool { return a.Agrees(dbA, b.host.ID()) })
	before := count(dbA)
	for range 3 {
		hear(old)
	}
	// One more marks the end of what was heard before: a head that ann has, so that she
	// does not ask bob for it and hear at once where he really stands.
	marker := []block.ID{block.ID(c.ID())}
	hear(b.sealed(onB, message.Announcement{Device: b.id.Device(), Counter: counter + 1<<20 + 2, Time: 1, Chain: marker}))
	hosttest.Wait(t, "the marker", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.links[c.ID()][b.id.Device()] == message.Summary(marker, nil)
	})
	require.True(t, a.Agrees(dbA, b.host.ID()), "an old announcement moved bob back")
	require.Equal(t, before, count(dbA))
}

// A link is told again until everybody on the topic has it, though all databases agree:
// the announcement of a removal may be the one that was lost.
func TestALinkIsToldUntilAllHaveIt(t *testing.T) {
	t.Parallel()
	a, b, c, _, dbA, dbB := pair(t)
	put(t, dbA, "x", nil)
	same(t, dbA, dbB)
	say := a.announcer(c)
	hosttest.Wait(t, "all to agree", say.allAgree)
	a.chained(c, b.id.Device(), []block.ID{{1}})
	require.True(t, a.Agrees(dbA, b.host.ID()))
	require.False(t, say.allAgree(), "bob lacks a link")
	a.chained(c, b.id.Device(), c.Heads())
	require.True(t, say.allAgree())
	a.chained(c, block.Device{9}, c.Heads())
	require.NotContains(t, a.links[c.ID()], block.Device{9}, "a stranger takes no room")
}

func TestAnnouncementsAreJudged(t *testing.T) {
	t.Parallel()
	a, b, c, onB, _, _ := pair(t)
	x := a.announcer(c).at()
	from := b.host.ID()
	verdict := func(data []byte) gossip.Verdict { v, _ := x.judge(from, data); return v }
	good := message.Announcement{Device: b.id.Device(), Counter: 1, Time: 1, Chain: onB.Heads()}
	data := b.sealed(onB, good)
	require.Equal(t, gossip.Accept, verdict(data))
	require.Equal(t, gossip.Reject, verdict([]byte("hello")))
	require.Equal(t, gossip.Reject, verdict(nil))

	later := append([]byte{}, data...)
	later[1] ^= 1
	require.Equal(t, gossip.Ignore, verdict(later), "a generation that ann may not know yet")
	bent := append([]byte{}, data...)
	bent[len(bent)-1] ^= 1
	require.Equal(t, gossip.Reject, verdict(bent))

	inName := good
	inName.Device = a.id.Device()
	require.Equal(t, gossip.Reject, verdict(b.sealed(onB, inName)), "signed by bob in the name of ann")
	stranger := good
	stranger.Device = newJoinerKey(t)
	require.Equal(t, gossip.Ignore, verdict(b.sealed(onB, stranger)), "perhaps admitted in links we lack")

	_, err := onB.Link(t.Context(), team.RemoveDevice{Removal: team.Removal{Target: b.id.Device()}}, nil)
	require.NoError(t, err)
	hosttest.Wait(t, "ann to know that bob left", func() bool { return !a.gate.known(from) })
	require.Equal(t, gossip.Ignore, verdict(data), "an ex-member")
}

func newJoinerKey(t testing.TB) block.Device {
	d, ok := DeviceOf(hosttest.New(t, hosttest.TCP).ID())
	require.True(t, ok)
	return d
}

func TestAnnouncingToNobodyIsHarmless(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	_, db := a.found("fam")
	puts(t, db, "doc", 50)
	require.Empty(t, a.log.take())
	require.Equal(t, 50, count(db))
}

// A joiner whom only its admitter vouches for keeps what it writes to itself, until
// somebody else has shown the same heads.
func TestProvisionalNodeAnnouncesNothing(t *testing.T) {
	t.Parallel()
	a, b, chain, onB, dbA, dbB := pair(t)
	carol := newDevice(t, "carol")
	inv, key := a.open(chain, team.Invite{})
	hosttest.Wait(t, "the invitation at bob", func() bool { _, ok := onB.State().Invitation(inv.ID); return ok })
	onC, dbC := carol.use(b, onB, inv, key)
	require.True(t, onC.Provisional())
	mine := put(t, dbC, "of carol", nil)
	put(t, dbA, "of ann", nil)
	hosttest.Wait(t, "carol to have what ann wrote", func() bool { return count(dbC) == 2 })
	for range 3 {
		b.Network.pull(within(t), carol.id.Device(), replicate.OnTimer)
	}
	require.False(t, dbB.Has(mine), "not before the join is confirmed")
	hosttest.Connect(t, carol.host, a.host)
	carol.Network.pull(within(t), a.id.Device(), replicate.OnTimer)
	confirmed(t, onC)
	same(t, dbA, dbB, dbC)
	require.True(t, dbA.Has(mine))
	require.Equal(t, network.Connected, a.host.Network().Connectedness(carol.host.ID()))
}
