package peering

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// pretends replaces ann's side of the join stream after the offer.
func (d *device) pretends(challenge func(*message.Challenge), answer func() message.Result) {
	d.host.SetStreamHandler(message.JoinProtocol, func(s network.Stream) {
		defer s.Close()
		if _, err := message.Read(s, message.MaxJoinFrame); err != nil {
			return
		}
		ch := message.Challenge{Nonce: [32]byte{9}, Admitter: d.id.Device(), Kind: uint8(team.InviteMember), Role: uint8(team.RoleMember)}
		challenge(&ch)
		reply(s, ch.Encode)
		if _, err := message.Read(s, message.MaxJoinFrame); err == nil {
			reply(s, answer().Encode)
		}
	})
}

// An admitter that lies is told apart from a bad code, and nothing of it stays that
// would stand in the way of an honest join with the same code.
func TestLyingAdmitters(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	own, _ := a.found("own")
	code := a.invite(c, team.Invite{})
	genesis, err := a.ledger.Stored(block.ID(c.ID()))
	require.NoError(t, err)
	no := func(*message.Challenge) {}
	none := func() message.Result { return message.Result{Error: message.JoinWrongSeed} }
	for name, lie := range map[string]struct {
		challenge func(*message.Challenge)
		answer    func() message.Result
		links     [][]byte
		want      error
	}{
		"another device": {func(ch *message.Challenge) { ch.Admitter = b.id.Device() }, none, nil, api.ErrUnreachable},
		"another team": {no, func() message.Result {
			return message.Result{Team: own.ID(), Admit: block.ID{1}}
		}, nil, api.ErrVerify},
		"no chain": {no, func() message.Result {
			return message.Result{Team: c.ID(), Admit: block.ID{1}}
		}, nil, api.ErrVerify},
		"a chain of one link": {no, func() message.Result {
			return message.Result{Team: c.ID(), Admit: block.ID{1}}
		}, [][]byte{genesis.Data()}, api.ErrVerify},
		"a chain that is none": {no, func() message.Result {
			return message.Result{Team: c.ID(), Admit: block.ID{1}}
		}, [][]byte{genesis.Data(), []byte("link")}, block.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a.pretends(lie.challenge, lie.answer)
			a.host.SetStreamHandler(message.SyncProtocol, func(s network.Stream) {
				defer s.Close()
				for {
					if _, err := message.Read(s, message.MaxFrame); err != nil {
						return
					}
					says(s, message.TeamResponse{Team: c.ID(), Summary: [32]byte{1}, Links: lie.links})
				}
			})
			_, _, err := b.Join(within(t), code, Joiner{})
			require.ErrorIs(t, err, lie.want)
		})
	}
	a.handle(message.JoinProtocol, a.serveJoin)
	a.handle(message.SyncProtocol, a.members(a.serveSync))
	onB, db := b.redeem(code)
	require.True(t, onB.Seated())
	require.NotNil(t, db)
}

// A short code is tried with everybody who is connected: one who answers wrongly
// does not spoil it for the one who knows.
func TestShortCodeSurvivesALiar(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{})
	code.Short, code.Device, code.Addrs = true, block.Device{}, nil
	_, _, err := b.Join(within(t), code, Joiner{})
	require.ErrorIs(t, err, api.ErrUnreachable, "connected to nobody")
	for range 3 {
		m := newDevice(t, "mallory")
		m.pretends(func(*message.Challenge) {}, func() message.Result { return message.Result{Error: message.JoinRevoked} })
		connect(t, b, m)
	}
	_, _, err = b.Join(within(t), code, Joiner{})
	require.ErrorIs(t, err, api.ErrInviteRevoked)
	connect(t, b, a)
	onB, _ := b.redeem(code)
	require.True(t, onB.Seated())
}
