package peering

import (
	"context"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/team"
)

// The handshake: members always, strangers while somebody is invited and, so that
// a late joiner is told why, some days more.
func TestStrangersAreLetInOnlyWhileInvited(t *testing.T) {
	t.Parallel()
	stranger := peer.ID("stranger")
	for name, c := range map[string]struct {
		story func(t *testing.T, d *device, c *ledger.Chain)
		want  bool
	}{
		"nobody is invited": {func(*testing.T, *device, *ledger.Chain) {}, false},
		"open, without end": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{})
			d.skew.Store(int64(1000 * 24 * hour))
		}, true},
		"open, with an end to come": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{Expires: d.ledger.Now() + hour})
		}, true},
		"expired an hour ago: may hear so": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{Expires: d.ledger.Now() + hour})
			d.skew.Store(int64(2 * hour))
		}, true},
		"expired long ago": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{Expires: d.ledger.Now() + hour})
			d.skew.Store(int64(hour + tellTime + 1))
		}, false},
		"revoked just now: may hear so": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{})
			d.revokeAll(c)
		}, true},
		"revoked long ago": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{})
			d.revokeAll(c)
			d.skew.Store(int64(tellTime + hour))
		}, false},
		"revoked long ago, would have been good for a year": {func(t *testing.T, d *device, c *ledger.Chain) {
			d.open(c, team.Invite{Expires: d.ledger.Now() + 365*24*hour})
			d.revokeAll(c)
			d.skew.Store(int64(tellTime + hour))
		}, false},
		"used up just now: may hear so": {func(t *testing.T, d *device, c *ledger.Chain) {
			inv, key := d.open(c, team.Invite{MaxUses: 1})
			newDevice(t, "bob").use(d, c, inv, key)
		}, true},
		"used up long ago": {func(t *testing.T, d *device, c *ledger.Chain) {
			inv, key := d.open(c, team.Invite{MaxUses: 1})
			newDevice(t, "bob").use(d, c, inv, key)
			d.skew.Store(int64(tellTime + hour))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "ann")
			chain, _ := d.found("fam")
			c.story(t, d, chain)
			require.Equal(t, c.want, d.gate.InterceptSecured(network.DirInbound, stranger, nil))
			require.True(t, d.gate.InterceptSecured(network.DirOutbound, stranger, nil), "whom we dial, we chose")
		})
	}
}

func (d *device) revokeAll(c *ledger.Chain) {
	d.t.Helper()
	for _, inv := range c.State().Invites() {
		_, err := c.Link(d.t.Context(), team.Revoke{Invite: inv.Link}, nil)
		require.NoError(d.t, err)
	}
}

// Refresh knows the roster: members in, ourselves not; recovery words may come in, and
// are never dialled, for they are on paper only.
func TestRosterIsThePicture(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	require.False(t, a.gate.known(b.host.ID()))
	require.Empty(t, slices.Collect(a.gate.Members()), "neither ourselves nor the recovery words are dialled")
	require.Contains(t, a.gate.now.Load().words, slices.Collect(maps.Keys(a.gate.now.Load().teams))[0])
	require.NotContains(t, a.gate.now.Load().teams, a.host.ID())
	b.join(a, c)
	before, next := a.gate.Refresh(a.ledger)
	require.Equal(t, before.teams, next.teams, "asked twice, the same")
	require.Equal(t, []peer.ID{b.host.ID()}, slices.Collect(a.gate.Members()))
	require.Equal(t, []block.TeamID{c.ID()}, next.teams[b.host.ID()])
	require.True(t, a.gate.InterceptSecured(network.DirInbound, b.host.ID(), nil))
	require.True(t, a.gate.Shares(b.host.ID(), c.ID()))
	require.False(t, a.gate.Shares(b.host.ID(), block.TeamID{1}))
}

// Who leaves a team is out at once: the open connection is closed.
func TestWhoLeavesIsCutOff(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	onB, _ := b.join(a, c)
	confirmed(t, onB)
	me := b.id.Device()
	_, err := onB.Link(t.Context(), team.RemoveDevice{Removal: team.Removal{Target: me}}, nil)
	require.NoError(t, err)
	hosttest.Wait(t, "ann to know", func() bool { return !a.gate.known(b.host.ID()) })
	hosttest.Wait(t, "the connection to be closed", func() bool {
		return a.host.Network().Connectedness(b.host.ID()) != network.Connected
	})
}

// Who leaves one of two teams stays connected, and is off the topic of that one.
func TestWhoLeavesOneOfTwoTeamsIsOffItsTopic(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	x, _ := a.found("x")
	y, _ := a.found("y")
	onX, dbX := b.join(a, x)
	onY, _ := b.join(a, y)
	confirmed(t, onX)
	confirmed(t, onY)
	_, err := onY.Link(t.Context(), team.RemoveDevice{Removal: team.Removal{Target: b.id.Device()}}, nil)
	require.NoError(t, err)
	hosttest.Wait(t, "ann to know", func() bool { return !a.gate.Shares(b.host.ID(), y.ID()) })
	require.Equal(t, network.Connected, a.host.Network().Connectedness(b.host.ID()))
	for _, r := range a.announcer(y).all() {
		require.NotContains(t, r.topic.Peers(), b.host.ID())
	}
	put(t, x.Databases()[0], "still together", nil)
	same(t, x.Databases()[0], dbX)
}

func TestStrangersStreamIsResetWithoutAByte(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	s := knock(t, hosttest.New(t), a, message.SyncProtocol)
	data, err := message.Request{Teams: []message.TeamRequest{{Team: c.ID(), Summary: nothingYet()}}}.Encode()
	require.NoError(t, err)
	_ = message.Write(s, data) // may fail already
	got, err := io.ReadAll(s)
	require.Error(t, err, "reset, not closed")
	require.Empty(t, got)
	require.Zero(t, a.tape.Bytes()[message.SyncProtocol], "not even read")
}

// A member of team X gets nothing of team Y, and cannot tell whether there is one.
func TestTeamsAreClosedToEachOther(t *testing.T) {
	t.Parallel()
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	x, dbX := a.found("x")
	y, dbY := a.found("y")
	b.join(a, x)
	c.join(a, x)
	onY, _ := c.join(a, y)
	confirmed(t, onY)
	inX, inY := put(t, dbX, "for both", nil), put(t, dbY, "for carol", nil)

	ask := func(from *device, id block.TeamID) []byte {
		t.Helper()
		s := knock(t, from.host, a, message.SyncProtocol)
		defer s.Reset()
		return raw(t, s, message.Request{Teams: []message.TeamRequest{{Team: id, Summary: nothingYet()}}})
	}
	forbidden, unknown := ask(b, y.ID()), ask(b, block.TeamID{7})
	require.Equal(t, unknown, forbidden, "the same bytes")
	require.Greater(t, len(ask(c, y.ID())), len(forbidden))
	require.Greater(t, len(ask(b, x.ID())), len(forbidden))

	get := func(from *device, id block.ID) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := from.exchange.Get(ctx, id, []peer.ID{a.host.ID()})
		return err
	}
	require.NoError(t, get(b, inX))
	require.NoError(t, get(b, block.ID(x.ID())), "the genesis names no team, it is its name")
	require.NoError(t, get(c, inY))
	for what, id := range map[string]block.ID{"commit": inY, "head": y.Heads()[0], "genesis": block.ID(y.ID())} {
		require.ErrorIs(t, get(b, id), bitswap.ErrNotFound, what)
	}
}

// raw asks and returns the bytes of the answer.
func raw(t testing.TB, s network.Stream, req message.Request) []byte {
	t.Helper()
	data, err := req.Encode()
	require.NoError(t, err)
	require.NoError(t, message.Write(s, data))
	got, err := message.Read(s, message.MaxFrame)
	require.NoError(t, err)
	return got
}

// An answer about a team that was not asked for must not make us show what we hold
// of it.
func TestUnaskedTeamsAreNotAnswered(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	x, _ := a.found("x")
	y, _ := a.found("y")
	b.join(a, x)
	asked := make(chan block.TeamID, 1024)
	b.host.SetStreamHandler(message.SyncProtocol, func(s network.Stream) {
		defer s.Close()
		for {
			data, err := message.Read(s, message.MaxFrame)
			if err != nil {
				return
			}
			req, _ := message.ParseRequest(data)
			for _, q := range req.Teams {
				asked <- q.Team
			}
			out, _ := message.Response{Teams: []message.TeamResponse{{Team: y.ID(), Summary: [32]byte{1}}}}.Encode()
			_ = message.Write(s, out)
		}
	})
	a.Network.pull(within(t), b.id.Device(), replicate.OnTimer)
	require.NotEmpty(t, asked)
	for range len(asked) {
		require.Equal(t, x.ID(), <-asked, "team y is none of bob's business")
	}
}
