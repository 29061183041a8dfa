package peering

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/team"
)

// discreet has a device answer no question that begins a pull, which is how others
// learn on their own what happened, until it is called again.
func (d *device) discreet(who *device) (talk func()) {
	d.t.Helper()
	talking := make(chan struct{})
	d.handle(message.SyncProtocol, d.members(func(s network.Stream) {
		defer s.Close()
		for {
			data, err := message.Read(s, message.MaxFrame)
			if err != nil {
				return
			}
			req, err := message.ParseRequest(data)
			if err != nil {
				return
			}
			if slices.ContainsFunc(req.Teams, func(q message.TeamRequest) bool { return q.Summary != [32]byte{} }) {
				select {
				case <-talking:
				case <-d.ctx.Done():
					return
				}
			}
			reply(s, d.answer(s.Conn().RemotePeer(), req, roomOn(s)).Encode)
		}
	}))
	_ = d.host.Network().ClosePeer(who.host.ID()) // and with it what was asked before
	return sync.OnceFunc(func() { close(talking) })
}

// Bob leaves, and is invited again before ann has heard that he left: to her he is on
// the team, and nothing is to be written. He knows better; she asks him.
func TestWhoJustLeftComesBack(t *testing.T) {
	t.Parallel()
	a, b, c, onB, dbA, dbB := pair(t)
	code := a.invite(c, team.Invite{MaxUses: 1})
	agree(t, c, onB)
	defer b.discreet(a)()
	require.NoError(t, onB.Leave(t.Context()))
	require.False(t, onB.Seated())
	require.True(t, a.gate.Shares(b.host.ID(), c.ID()), "ann has not heard of it")
	was, _ := c.State().Device(b.id.Device())

	var tries atomic.Int32
	a.handle(message.JoinProtocol, func(s network.Stream) { tries.Add(1); a.serveJoin(s) })
	b.redeem(code)
	require.True(t, onB.Seated())
	require.Equal(t, int32(1), tries.Load(), "he kept his connection")
	is, _ := c.State().Device(b.id.Device())
	require.NotEqual(t, was.Seat, is.Seat, "a new seat")
	require.True(t, a.gate.Shares(b.host.ID(), c.ID()))
	put(t, dbA, "welcome back", nil)
	same(t, dbA, dbB)
}

// She hears of it between his offer and her challenge: she cuts him off, and he comes
// again.
func TestWhoIsCutOffWhileHeJoinsGetsIn(t *testing.T) {
	t.Parallel()
	a, b, c, onB, _, _ := pair(t)
	code := a.invite(c, team.Invite{MaxUses: 1})
	agree(t, c, onB)
	require.NoError(t, onB.Leave(t.Context()))
	hosttest.Wait(t, "ann to know", func() bool { return !a.gate.known(b.host.ID()) })
	var once sync.Once
	a.handle(message.JoinProtocol, func(s network.Stream) {
		once.Do(func() { _ = a.host.Network().ClosePeer(b.host.ID()) })
		a.serveJoin(s)
	})
	b.redeem(code)
	require.True(t, onB.Seated())
	inv, _ := c.State().Invitation(code.Invite)
	require.Equal(t, team.StatusUsed, inv.Status)
}
