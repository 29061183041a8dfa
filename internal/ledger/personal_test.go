package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// own makes the personal team of a device.
func (d *device) own() *Chain {
	d.t.Helper()
	c, err := d.Found(d.t.Context(), personalName, true)
	require.NoError(d.t, err)
	return c
}

// grant does what the network does between two devices of one user: x says what it
// wants, d lets it in, x takes the chain.
func (d *device) grant(x *device) (begun []*Chain) {
	d.t.Helper()
	for _, s := range x.Claims() {
		seat, err := d.Grant(d.t.Context(), s)
		require.NoError(d.t, err)
		c := d.Chain(s.Team)
		begun = append(begun, x.begin(d.links(c)[0], seat))
		d.tell(c, x)
	}
	return begun
}

// One invitation into the personal team, and a new phone is in every team its user is
// in. One removal, and it is out of all of them.
func TestOneInvitationOneRemoval(t *testing.T) {
	ann, bob, phone := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "phone")
	p := ann.own()
	phones := phone.own()
	fam, err := ann.Found(t.Context(), "fam", false)
	require.NoError(t, err)
	famDB := ann.addDB(fam, "notes")
	bobs, bobDB := bob.found("bob's")
	_, annDB := bob.join(bobs, ann)
	club := ann.Chain(bobs.id)
	ann.confirmed(club)
	ann.calm(fam)
	ann.calm(club)
	ann.calm(p)
	require.Len(t, p.State().Teams(), 2)
	put(t, famDB, "f", "1")
	put(t, bobDB, "b", "1")

	mine, _ := ann.seat(p, phone, ann.admit(p, phone, team.InviteDevice))
	require.Empty(t, phone.Claims(), "not before the join is confirmed")
	phone.confirmed(mine)
	phone.calm(mine)
	require.True(t, mine.Personal())
	require.Nil(t, phone.Chain(phones.id), "its own was empty and is gone")
	require.Len(t, phone.Chains(), 1)
	require.Len(t, ann.grant(phone), 2)
	require.Empty(t, phone.Claims())
	phoneDB := phone.Database(famDB.id)
	give(t, famDB, phoneDB)
	require.Equal(t, map[string]string{"f": "1"}, docs(t, phoneDB))
	phone.restart()
	require.True(t, phone.Chain(p.id).Personal())
	require.Len(t, phone.Chains(), 3)
	self, _ := phone.Chain(club.id).State().Device(phone.Me())
	require.Equal(t, ann.Me(), self.Member)
	ann.tell(club, bob)
	put(t, phone.Database(bobDB.id), "p", "1")
	give(t, phone.Database(bobDB.id), bobDB)
	require.Contains(t, docs(t, bobDB), "p")

	ann.remove(p, phone)
	give(t, phone.Database(bobDB.id), annDB)
	ann.calm(fam)
	ann.calm(club)
	ann.tell(club, bob)
	for _, c := range []*Chain{p, fam, club, bobs} {
		require.False(t, c.State().Active(phone.Me()))
		require.Contains(t, c.State().Generations()[0].ID.String(), "gen-")
	}
	ann.tell(p, phone)
	ann.tell(fam, phone)
	require.Empty(t, phone.Claims())
	require.ErrorIs(t, func() error {
		_, err := ann.Grant(t.Context(), phone.Claim(fam.id, ann.Me()))
		return err
	}(), ErrForbidden)
	ann.calm(fam)

	// Who leaves a team leaves it with all devices, and says so to them.
	require.NoError(t, club.Leave(t.Context()))
	ann.calm(club)
	for _, of := range p.State().Teams() {
		require.Equal(t, of.Team == club.id, of.Gone)
	}
}

// Grant believes nobody who is none of one's own devices, nor a word that another
// signed.
func TestGrantBelievesOnlyOwnDevices(t *testing.T) {
	ann, phone, eve := newDevice(t, "ann"), newDevice(t, "phone"), newDevice(t, "eve")
	p := ann.own()
	fam, _ := ann.Found(t.Context(), "fam", false)
	_, err := ann.Grant(t.Context(), eve.Claim(fam.id, ann.Me()))
	require.ErrorIs(t, err, ErrForbidden)
	ann.seat(p, phone, ann.admit(p, phone, team.InviteDevice))
	claim := phone.Claim(fam.id, ann.Me())
	forged := claim
	forged.BoxKey = eve.id.BoxKey()
	_, err = ann.Grant(t.Context(), forged)
	require.ErrorContains(t, err, block.ErrSignature.Error())
	claim.Member = eve.Me()
	_, err = ann.Grant(t.Context(), claim)
	require.ErrorIs(t, err, ErrForbidden)
	claim = phone.Claim(p.id, ann.Me())
	claim.Team = fam.id
	_, err = ann.Grant(t.Context(), claim)
	require.ErrorContains(t, err, block.ErrSignature.Error())
	require.False(t, fam.State().Active(phone.Me()))
}
