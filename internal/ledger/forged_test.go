package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// roster is what a replica makes of ann's chain and a link she refused: roster layers
// only.
func (d *device) roster(c *Chain, more ...[]byte) *team.State {
	d.t.Helper()
	var log *team.Chain
	for _, raw := range append(d.links(c), more...) {
		u, err := block.Parse(raw)
		require.NoError(d.t, err)
		if log == nil {
			b, err := u.Verify(block.TeamID{}, block.Generation{})
			require.NoError(d.t, err)
			l, err := team.Parse(b, team.Layers{Roster: b.Body})
			require.NoError(d.t, err)
			log, err = team.NewRosterChain(l)
			require.NoError(d.t, err)
			continue
		}
		gen, ok := c.Generation(u.GenerationHint)
		require.True(d.t, ok)
		b, err := u.Verify(c.id, gen)
		require.NoError(d.t, err)
		body, err := team.ParseBody(b.Body)
		require.NoError(d.t, err)
		plain, err := d.keys.Open(vault.Roster, b.Header, body.Roster)
		require.NoError(d.t, err)
		l, err := team.Parse(b, team.Layers{Roster: plain})
		require.NoError(d.t, err)
		require.NoError(d.t, log.Add(l))
	}
	return log.State()
}

// Eve, a member, admits a friend who never proved a seed. Nobody who can read that
// takes it, but a replica would; so the first admin who sees it removes Eve, and the
// friend is off the roster as well.
func TestWhoForgesAnAdmissionIsRemoved(t *testing.T) {
	ann, bob, eve, friend := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve"), newDevice(t, "friend")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	eves, _ := ann.join(c, eve)
	inv := ann.invite(c, team.InviteMember)
	ann.tell(c, eve)
	ann.tell(c, bob)
	ann.calm(c)

	dev, key := friend.id.Device(), friend.id.BoxKey()
	content := team.Admit{Invite: inv.link, Device: dev, BoxKey: key, Proof: team.Proof{Name: "friend", DeviceName: "friend"}}
	content.Proof.Admitter = eve.Me()
	content.Proof.InviteSig = eve.id.Sign(block.ForJoin, []byte("no seed"))
	content.Proof.DeviceSig = friend.id.Sign(block.ForJoin, []byte("nothing"))
	self, _ := eves.State().Device(eve.Me())
	gen, ok := eves.writable()
	require.True(t, ok)
	boxes, err := eves.welcome(content)
	require.NoError(t, err)
	heads := eves.log.Parents()
	h := block.Header{
		Kind: block.KindLink, Team: c.id, Generation: gen, Parents: len(heads), Links: heads,
		Author: eve.Me(), Seat: self.Seat, Boxes: boxes,
	}
	forged, _, err := eves.compose(h, draft{content: content})
	require.NoError(t, err)

	require.True(t, ann.roster(c, forged.Data).Active(dev), "a replica cannot tell")
	for x, on := range map[*device]*Chain{bob: bobs, ann: c} {
		n, err := on.Receive(t.Context(), [][]byte{forged.Data})
		require.NoError(t, err)
		require.Zero(t, n)
		require.False(t, on.State().Active(dev), x.name)
	}
	bob.confirmed(bobs)
	bob.calm(bobs)
	require.True(t, bobs.State().Active(eve.Me()), "bob is no admin")
	ann.calm(c)
	require.False(t, c.State().Active(eve.Me()))
	require.True(t, c.State().Active(bob.Me()))
	seen := ann.roster(c, forged.Data)
	require.False(t, seen.Active(dev))
	require.False(t, seen.Active(eve.Me()))
	links := len(ann.links(c))
	ann.calm(c)
	require.Len(t, ann.links(c), links, "nothing is left to do")
}
