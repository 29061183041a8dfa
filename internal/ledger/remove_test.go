package ledger

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// blocks is everything in a device's block store, by id.
func (d *device) blocks() map[block.ID][]byte {
	d.t.Helper()
	out := map[block.ID][]byte{}
	for e, err := range d.st.Scan(store.Blocks()) {
		require.NoError(d.t, err)
		id, err := store.BlockID(e.Key)
		require.NoError(d.t, err)
		out[block.ID(id)] = append([]byte(nil), e.Value...)
	}
	return out
}

// exchange hands each the other's chain, and then the commits of all databases.
func (d *device) exchange(c *Chain, x *device) {
	d.t.Helper()
	d.tell(c, x)
	_, err := x.Chain(c.id).Fill(d.t.Context(), values(d.blocks()))
	require.NoError(d.t, err)
	x.tell(x.Chain(c.id), d)
	_, err = c.Fill(d.t.Context(), values(x.blocks()))
	require.NoError(d.t, err)
	for _, db := range c.Databases() {
		if y := x.Database(db.id); y != nil {
			give(d.t, db, y)
			give(d.t, y, db)
		}
	}
}

func values(m map[block.ID][]byte) (out [][]byte) {
	for _, b := range m {
		out = append(out, b)
	}
	return out
}

// opensNothing gives eve everything that is in d's store and was not in before, and
// tries every key she has on it. Only what makes a generation may open: it is sealed
// under the one before.
func (d *device) opensNothing(c *Chain, eve *device, before map[block.ID][]byte) {
	d.t.Helper()
	eves := eve.Chain(c.id)
	all := d.blocks()
	_, err := eves.Receive(d.t.Context(), d.links(c))
	require.NoError(d.t, err)
	_, err = eves.Fill(d.t.Context(), values(all))
	require.NoError(d.t, err)
	ring := eve.Keys()
	tried := 0
	for id, data := range all {
		if _, old := before[id]; old {
			continue
		}
		u, err := block.Parse(data)
		require.NoError(d.t, err)
		if u.Kind == block.KindBoxes {
			b, err := u.Resolve(c.id, block.Generation{})
			require.NoError(d.t, err)
			groups, err := block.ParseBoxes(b.Body)
			require.NoError(d.t, err)
			for link := range all {
				n, _ := ring.OpenBoxes(c.id, link, d.Me(), groups)
				require.Zero(d.t, n)
			}
			continue
		}
		if by, _ := c.State().Device(u.Author); !c.State().Active(by.Key) {
			continue // her own
		}
		gen, ok := c.Generation(u.GenerationHint)
		require.True(d.t, ok)
		b, err := u.Resolve(c.id, gen)
		require.NoError(d.t, err)
		tried++
		if u.Kind != block.KindLink {
			_, err = ring.Open(vault.Data, b.Header, b.Body)
			require.ErrorIs(d.t, err, vault.ErrNoKey, "commit %s by %s", id, u.Author)
			continue
		}
		body, err := team.ParseBody(b.Body)
		require.NoError(d.t, err)
		n, _ := ring.OpenBoxes(c.id, id, b.Header.Author, b.Header.Boxes)
		require.Zero(d.t, n, "a lockbox of %s opens", id)
		if len(body.History) > 0 {
			_, err = ring.OpenHistory(b.Header, block.Generation(id), body.History, body.RouteHistory)
			require.ErrorIs(d.t, err, vault.ErrNoKey)
		}
		if _, isMaker := c.made[block.Generation(id)]; isMaker {
			continue // sealed under what there was before it
		}
		for layer, sealed := range map[vault.Layer][]byte{vault.Roster: body.Roster, vault.Private: body.Private} {
			_, err = ring.Open(layer, b.Header, sealed)
			require.ErrorIs(d.t, err, vault.ErrNoKey, "link %s by %s", id, u.Author)
		}
	}
	require.NotZero(d.t, tried)
	for gen := range c.made {
		if _, old := before[block.ID(gen)]; !old {
			require.False(d.t, ring.Has(c.id, gen) || ring.HasRoute(c.id, gen))
		}
	}
}

// Bob has a laptop and a phone. Ann removes bob: both are out, what he wrote until
// then stays, what he writes after shows nowhere, and what the team writes after he
// opens with nothing he has. The same after a restart and through a third replica.
func TestAMemberIsRemoved(t *testing.T) {
	ann, bob, phone, carol := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "phone"), newDevice(t, "carol")
	c, db := ann.found("fam")
	bobs, bobDB := ann.join(c, bob)
	phones, phoneDB := bob.seat(bobs, phone, bob.admit(bobs, phone, team.InviteDevice))
	bob.tell(bobs, ann)
	ann.join(c, carol)
	for _, x := range []*device{bob, phone, carol} {
		ann.exchange(c, x)
	}
	put(t, bobDB, "bob's", "seen")
	ann.exchange(c, bob)

	plan, err := c.PlanRemoval(bob.Me(), RemoveOptions{})
	require.NoError(t, err)
	require.True(t, plan.Member)
	require.ElementsMatch(t, []block.Device{bob.Me(), phone.Me()}, plan.Devices)
	require.Equal(t, 3, plan.Rekeys, "ann, her words on paper, carol")
	require.Equal(t, 1, plan.Databases)
	before := ann.blocks()
	require.Equal(t, plan, ann.remove(c, bob))
	require.NotContains(t, c.Heads(), block.ID(c.id))

	put(t, bobDB, "bob's", "unseen") // he does not know yet
	put(t, phoneDB, "phone's", "unseen")
	put(t, db, "ann's", "secret")
	require.NoError(t, c.Rename(t.Context(), "without bob"))
	ann.exchange(c, carol)
	want := map[string]string{"bob's": "seen", "ann's": "secret"}
	for _, x := range []*device{ann, carol} {
		_, xs := x.only()
		give(t, bobDB, xs)
		give(t, phoneDB, xs)
		require.Equal(t, want, docs(t, xs))
		x.restart()
		_, xs = x.only()
		require.Equal(t, want, docs(t, xs), "after a restart")
		require.Equal(t, "without bob", x.Chain(c.id).State().Name())
	}
	ann.opensNothing(ann.Chain(c.id), bob, before)
	carol.opensNothing(carol.Chain(c.id), phone, before)
	for _, x := range []*Chain{bobs, phones} {
		require.False(t, x.Seated(), "he is told")
	}
	_, err = bobDB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "more", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrForbidden)

	// He comes back later by another seat, and reads what he missed.
	c = ann.Chain(c.id)
	require.NoError(t, bobs.Expect(t.Context(), ann.admit(c, bob, team.InviteMember)))
	ann.tell(c, bob)
	require.True(t, bobs.Seated())
	require.True(t, bobs.Provisional())
	_, db = ann.only()
	give(t, db, bobDB)
	require.Equal(t, want, docs(t, bobDB))
	bob.restart()
	_, bobDB = bob.only()
	put(t, bobDB, "bob's", "again")
	give(t, bobDB, db)
	require.Equal(t, "again", docs(t, db)["bob's"])
}

// A stolen phone let a friend in. Removing the phone with what it admitted takes the
// friend too; without, he is named and stays.
func TestAStolenPhoneGoesWithWhatItAdmitted(t *testing.T) {
	for _, with := range []bool{false, true} {
		ann, phone, eve, eve2 := newDevice(t, "ann"), newDevice(t, "phone"), newDevice(t, "eve"), newDevice(t, "eve2")
		c, _ := ann.found("fam")
		phones, _ := ann.seat(c, phone, ann.admit(c, phone, team.InviteDevice))
		eves, _ := phone.join(phones, eve)
		eve.admit(eves, eve2, team.InviteDevice)
		eve.tell(eves, ann)
		open := phone.Chain(c.id)
		eve.tell(eves, phone)
		invite := phone.invite(open, team.InviteMember)
		phone.tell(open, ann)

		_, err := c.PlanRemoval(eve2.Me(), RemoveOptions{})
		require.NoError(t, err)
		o := RemoveOptions{WithAdmitted: with}
		plan, err := c.Remove(t.Context(), phone.Me(), o)
		require.NoError(t, err)
		require.False(t, plan.Member)
		require.Contains(t, plan.BroughtIn, eve.Me())
		require.Contains(t, plan.Revokes, invite.link)
		st := c.State()
		require.False(t, st.Active(phone.Me()))
		require.Equal(t, !with, st.Active(eve.Me()))
		require.Equal(t, !with, st.Active(eve2.Me()))
		if with {
			require.ElementsMatch(t, []block.Device{phone.Me(), eve.Me(), eve2.Me()}, plan.Devices)
			require.Equal(t, 2, plan.Undoes)
		}
		require.True(t, st.Active(ann.Me()))
	}
}

// The id of a member is the key of his first device: to lose that one is not to lose
// the member.
func TestTheFirstDeviceGoesAndTheMemberStays(t *testing.T) {
	ann, phone := newDevice(t, "ann"), newDevice(t, "phone")
	c, _ := ann.found("fam")
	phones, _ := ann.seat(c, phone, ann.admit(c, phone, team.InviteDevice))
	_, err := phones.PlanRemoval(ann.Me(), RemoveOptions{})
	require.NoError(t, err)
	plan, err := phones.Remove(t.Context(), ann.Me(), RemoveOptions{Device: true})
	require.NoError(t, err)
	require.Equal(t, []block.Device{ann.Me()}, plan.Devices)
	st := phones.State()
	require.True(t, st.Active(phone.Me()))
	require.False(t, st.Active(ann.Me()))
	require.Equal(t, team.RoleAdmin, st.Role(phone.Me()))
}

// Who leaves is out, and chooses no key: the next who writes makes one.
func TestWhoLeavesIsOut(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	bobs, bobDB := ann.join(c, bob)
	put(t, bobDB, "bob's", "1")
	before := bob.blocks()
	require.NoError(t, bobs.Leave(t.Context()))
	require.False(t, bobs.Seated())
	require.Len(t, bobs.made, 1)
	bob.tell(bobs, ann)
	give(t, bobDB, db)
	_, good := c.State().WriteGeneration()
	require.False(t, good)
	put(t, db, "ann's", "2")
	require.Len(t, c.made, 2)
	require.Equal(t, map[string]string{"bob's": "1", "ann's": "2"}, docs(t, db))
	for id, b := range ann.blocks() {
		if _, old := before[id]; old {
			before[id] = b
		}
	}
	ann.opensNothing(c, bob, before)

	// The last admin stays, and a command that is refused leaves no link.
	heads := c.Heads()
	require.Error(t, c.Leave(t.Context()))
	require.Error(t, c.SetRole(t.Context(), ann.Me(), team.RoleReader))
	_, err := c.Remove(t.Context(), bob.Me(), RemoveOptions{})
	require.ErrorContains(t, err, "not in team")
	require.Equal(t, heads, c.Heads())
}

// Roles up and down; a reader's writes end, what he wrote stays.
func TestRolesAreGivenAndTaken(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	bobs, bobDB := ann.join(c, bob)
	put(t, bobDB, "bob's", "1")
	give(t, bobDB, db)
	require.Error(t, bobs.SetRole(t.Context(), bob.Me(), team.RoleAdmin))
	require.NoError(t, c.SetRole(t.Context(), bob.Me(), team.RoleAdmin))
	ann.tell(c, bob)
	require.NoError(t, bobs.Rename(t.Context(), "bob's fam"))
	bob.tell(bobs, ann)
	require.Equal(t, "bob's fam", c.State().Name())
	require.NoError(t, c.SetRole(t.Context(), bob.Me(), team.RoleReader))
	ann.tell(c, bob)
	require.Error(t, bobs.Rename(t.Context(), "no"))
	_, err := bobDB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "x", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrForbidden)
	require.Equal(t, map[string]string{"bob's": "1"}, docs(t, db))
	require.NoError(t, bobs.RenameMember(t.Context(), bob.Me(), "Robert"))
	require.NoError(t, bobs.RenameDevice(t.Context(), bob.Me(), "Laptop"))
	m, _ := bobs.State().Member(bob.Me())
	d, _ := bobs.State().Device(bob.Me())
	require.Equal(t, "Robert Laptop", m.Name+" "+d.Name)
	require.NoError(t, c.RenameDB(t.Context(), db.id, "diary"))
	info, _ := c.State().DB(db.id)
	require.Equal(t, "diary", info.Name)
}

// A removal vouches for what it has seen, so it waits until that is all there is to
// see: what an earlier cut vouched for and has not come.
func TestARemovalWaitsForTheData(t *testing.T) {
	ann, bob, carol := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	c, db := ann.found("fam")
	_, bobDB := ann.join(c, bob)
	carols, carolDB := ann.join(c, carol)
	require.NoError(t, c.SetRole(t.Context(), carol.Me(), team.RoleAdmin))
	ann.tell(c, carol)
	put(t, bobDB, "bob's", "1")
	put(t, carolDB, "carol's", "1")
	give(t, bobDB, carolDB)
	require.NoError(t, carols.SetRole(t.Context(), bob.Me(), team.RoleReader))
	carol.tell(carols, ann)
	put(t, bobDB, "bob's", "2")
	give(t, bobDB, db) // judged, and what carol vouched for is not here
	_, err := c.Remove(t.Context(), bob.Me(), RemoveOptions{})
	require.ErrorIs(t, err, ErrBehind)
	require.True(t, c.State().Active(bob.Me()))
	give(t, carolDB, db)
	ann.remove(c, bob)
	require.Equal(t, map[string]string{"bob's": "1", "carol's": "1"}, docs(t, db))
}

// Adopting keeps what the remover had not seen.
func TestAdoptedWorkIsKept(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobDB := ann.join(c, bob)
	put(t, bobDB, "bob's", "seen")
	give(t, bobDB, db)
	put(t, bobDB, "bob's", "honest")
	ann.remove(c, bob)
	give(t, bobDB, db)
	require.Equal(t, "seen", docs(t, db)["bob's"])
	_, err := c.Adopt(t.Context(), bob.Me())
	require.NoError(t, err)
	require.Equal(t, "honest", docs(t, db)["bob's"])
	require.False(t, c.State().Active(bob.Me()))
	_, err = c.Adopt(t.Context(), ann.Me())
	require.Error(t, err)
	ann.restart()
	_, db = ann.only()
	require.Equal(t, "honest", docs(t, db)["bob's"])
}

// Twenty devices: the lockboxes of a removal do not fit into a link. Whoever has the
// link fetches them, from anybody, and goes on, also after a restart.
func TestManyLockboxesTravelBesideTheLink(t *testing.T) {
	ann, bob, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve")
	c, db := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	ann.join(c, eve)
	for range 18 {
		ann.admit(c, newDevice(t, "x"), team.InviteMember)
	}
	ann.tell(c, bob)
	ann.remove(c, eve)
	put(t, db, "after", "1")
	require.NoError(t, c.Rename(t.Context(), "later"))
	ann.tell(c, bob)
	require.Equal(t, "fam", bobs.State().Name(), "the key is not here")
	wanted := bobs.Wanted()
	require.NotEmpty(t, wanted)
	bob.restart()
	bobs, bobDB := bob.only()
	require.Equal(t, wanted, bobs.Wanted())
	ann.tell(c, bob) // parked links are not kept
	all := ann.blocks()
	var raw [][]byte
	for _, id := range wanted {
		raw = append(raw, all[id])
	}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bobDB.hand(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "meanwhile", Body: crdt.Doc{"text": "2"}}})
	require.ErrorIs(t, err, ErrNoKey)
	_, err = bobDB.Write(early, []crdt.Write{{Verb: crdt.Put, ID: "never", Body: crdt.Doc{}}})
	require.Error(t, err, "who does not wait is told")
	written := make(chan error, 1)
	go func() {
		_, err := bobDB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "meanwhile", Body: crdt.Doc{"text": "2"}}})
		written <- err
	}()
	n, err := bobs.Fill(t.Context(), append(raw, values(all)...))
	require.NoError(t, err)
	require.Equal(t, len(wanted), n)
	require.NoError(t, <-written, "a write waits for the key")
	require.Empty(t, bobs.Wanted())
	require.Equal(t, "later", bobs.State().Name())
	give(t, db, bobDB)
	bob.restart()
	_, bobDB = bob.only()
	require.Equal(t, map[string]string{"after": "1", "meanwhile": "2"}, docs(t, bobDB))
	require.Empty(t, c.Wanted())
}
