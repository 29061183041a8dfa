package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

func (d *device) tend(c *Chain) time.Duration {
	d.t.Helper()
	wake, err := c.Tend(d.t.Context())
	require.NoError(d.t, err)
	return wake
}

// calm tends a chain until there is nothing to do, and checks that doing so again
// writes nothing.
func (d *device) calm(c *Chain) {
	d.t.Helper()
	for range 8 {
		heads := c.Heads()
		if d.tend(c) == 0 && slices.Equal(heads, c.Heads()) {
			return
		}
		tick.Add(turn.Milliseconds())
	}
	require.Fail(d.t, "there is always something to do")
}

// settle ends a join as a second device's word does.
func (d *device) confirmed(c *Chain) {
	d.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.Provisional = false
	require.NoError(d.t, c.keepInfo(d.t.Context()))
}

// Bob leaves. Ann makes a new key at once, carol only if ann does not.
func TestAKeyIsMadeInTurn(t *testing.T) {
	ann, bob, carol := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	c, _ := ann.found("fam")
	carols, _ := ann.join(c, carol)
	carol.confirmed(carols)
	bobs, _ := ann.join(c, bob)
	ann.tell(c, carol)
	carol.calm(carols)
	carol.tell(carols, ann)
	ann.calm(c)
	ann.tell(c, bob)
	ann.tell(c, carol)
	require.NoError(t, bobs.Leave(t.Context()))
	bob.tell(bobs, carol)
	bob.tell(bobs, ann)

	wake := carol.tend(carols)
	require.Greater(t, wake, time.Duration(0))
	require.LessOrEqual(t, wake, 2*turn)
	require.Len(t, carols.made, 1)
	require.Zero(t, ann.tend(c))
	require.Len(t, c.made, 2)
	_, good := c.State().WriteGeneration()
	require.True(t, good)

	tick.Add((2 * turn).Milliseconds()) // she heard nothing of ann's
	require.Zero(t, carol.tend(carols))
	require.Len(t, carols.made, 2)

	// Both keys are good, and what is written under either everybody reads.
	ann.exchange(c, carol)
	carol.exchange(carols, ann)
	require.Equal(t, c.Heads(), carols.Heads())
	require.Len(t, c.State().Generations(), 2)
	put(t, c.Databases()[0], "ann's", "1")
	put(t, carols.Databases()[0], "carol's", "1")
	ann.exchange(c, carol)
	require.Equal(t, docs(t, c.Databases()[0]), docs(t, carols.Databases()[0]))
	ann.calm(c)
}

// Two removals cross. Neither key is good; who knows of both makes a third, and it
// opens to neither of the removed, nor does anything after it.
func TestTwoRemovalsCross(t *testing.T) {
	ann, bob, eve, mal := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve"), newDevice(t, "mal")
	c, db := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	bob.confirmed(bobs)
	ann.join(c, eve)
	ann.join(c, mal)
	require.NoError(t, c.SetRole(t.Context(), bob.Me(), team.RoleAdmin))
	for _, x := range []*device{bob, eve, mal} {
		ann.exchange(c, x)
	}
	ann.remove(c, eve)
	bob.remove(bobs, mal)
	ann.exchange(c, bob)
	before := ann.blocks()
	for id, data := range bob.blocks() {
		before[id] = data
	}
	require.Len(t, c.State().Generations(), 2)
	_, good := c.State().WriteGeneration()
	require.False(t, good)
	put(t, db, "after", "1")
	ann.calm(c)
	require.NoError(t, c.Rename(t.Context(), "private"))
	ann.exchange(c, bob)
	put(t, bobs.Databases()[0], "after", "2")
	ann.exchange(c, bob)
	ann.opensNothing(c, eve, before)
	ann.opensNothing(c, mal, before)
	bob.opensNothing(bobs, eve, before)
	bob.opensNothing(bobs, mal, before)
	require.Equal(t, "private", bobs.State().Name())

	// Somebody who comes now reads all of it.
	carol := newDevice(t, "carol")
	_, carols := ann.join(c, carol)
	give(t, db, carols)
	require.Equal(t, map[string]string{"after": "2"}, docs(t, carols))
}

// What is written under a key that later does not count stays readable to those who
// come later. Ann removes bob while bob makes a key, and carol writes under bob's.
func TestAKeyThatDoesNotCountIsPassedOn(t *testing.T) {
	ann, bob, carol, dave := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol"), newDevice(t, "dave")
	c, db := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	carols, carolDB := ann.join(c, carol)
	require.NoError(t, c.SetRole(t.Context(), bob.Me(), team.RoleAdmin))
	ann.tell(c, bob)
	ann.tell(c, carol)
	_, err := bobs.Rotate(t.Context())
	require.NoError(t, err)
	bob.tell(bobs, carol)
	put(t, carolDB, "carol's", "1")
	ann.remove(c, bob)
	carol.tell(carols, ann)
	give(t, carolDB, db)
	require.Equal(t, map[string]string{"carol's": "1"}, docs(t, db))
	require.Len(t, c.State().Generations(), 1)
	_, daves := ann.join(c, dave)
	give(t, db, daves)
	require.Equal(t, map[string]string{"carol's": "1"}, docs(t, daves))

	_, err = c.Rotate(t.Context())
	require.NoError(t, err)
	erin := newDevice(t, "erin")
	_, erins := ann.join(c, erin)
	give(t, db, erins)
	require.Equal(t, map[string]string{"carol's": "1"}, docs(t, erins))
	erin.restart()
	_, erins = erin.only()
	require.Equal(t, map[string]string{"carol's": "1"}, docs(t, erins))
}

// A junior admin removes carol, who is senior to him. Carol could undo it with a link
// on old heads, until ann's node repeats the removal by itself.
func TestTheSeniorConfirms(t *testing.T) {
	ann, carol, bob := newDevice(t, "ann"), newDevice(t, "carol"), newDevice(t, "bob")
	c, db := ann.found("fam")
	carols, carolDB := ann.join(c, carol)
	bobs, bobDB := ann.join(c, bob)
	for _, x := range []*device{carol, bob} {
		require.NoError(t, c.SetRole(t.Context(), x.Me(), team.RoleAdmin))
	}
	for _, x := range []*device{bob, carol} {
		ann.exchange(c, x)
	}
	put(t, carolDB, "carol's", "seen")
	give(t, carolDB, bobDB)
	bob.remove(bobs, carol)
	bob.exchange(bobs, ann)
	ann.calm(c)
	links := len(c.Log())
	ann.calm(c)
	require.Len(t, c.Log(), links)

	put(t, carolDB, "carol's", "unseen")
	_, err := carols.Remove(t.Context(), bob.Me(), RemoveOptions{Behind: true})
	require.NoError(t, err)
	carol.exchange(carols, ann)
	ann.exchange(c, bob)
	for _, x := range []*Chain{c, bobs} {
		require.True(t, x.State().Active(bob.Me()))
		require.False(t, x.State().Active(carol.Me()))
	}
	require.Equal(t, map[string]string{"carol's": "seen"}, docs(t, db))
	require.Equal(t, map[string]string{"carol's": "seen"}, docs(t, bobDB))
}

// A key is made on heads that do not have fay, who has just come. Somebody boxes it to
// her, and she goes on, though the very link that brings the box
// is sealed under the key she lacks.
func TestALackingKeyIsBoxed(t *testing.T) {
	erin := newDevice(t, "erin")
	older := newDevice(t, "older")
	c2, db2 := erin.found("club")
	olders, _ := erin.join(c2, older)
	older.confirmed(olders)
	require.NoError(t, c2.SetRole(t.Context(), older.Me(), team.RoleAdmin))
	erin.tell(c2, older)
	fay := newDevice(t, "fay")
	fays, fayDB := erin.join(c2, fay)
	_, err := olders.Rotate(t.Context())
	require.NoError(t, err)
	require.NoError(t, olders.Rename(t.Context(), "under the new key"))
	older.exchange(olders, erin)
	require.NotEmpty(t, c2.State().Lacking())
	put(t, db2, "new", "1")
	erin.tell(c2, fay)
	require.Equal(t, "club", fays.State().Name(), "she lacks the key")
	erin.calm(c2)
	require.Empty(t, c2.State().Lacking())
	erin.tell(c2, fay)
	require.Equal(t, "under the new key", fays.State().Name())
	require.Equal(t, c2.Heads(), fays.Heads())
	give(t, db2, fayDB)
	require.Equal(t, map[string]string{"new": "1"}, docs(t, fayDB))
	fay.restart()
	_, fayDB = fay.only()
	require.Equal(t, map[string]string{"new": "1"}, docs(t, fayDB))
}

// A box opens a key whose link came long ago: the history layer of that link is
// opened then, and what is older with it.
func TestALateBoxOpensTheHistoryUnderIt(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	put(t, db, "oldest", "1")
	_, err := c.Rotate(t.Context())
	require.NoError(t, err)
	put(t, db, "old", "1")
	seat := ann.admit(c, bob, team.InviteMember)
	bobs := bob.begin(ann.links(c)[0], seat)
	ann.tell(c, bob)
	g := c.State().Generations()[0].ID
	// As if the box had not been there: a keyring that lost the key.
	bob.keys = vault.NewKeyring(bob.id)
	for gen := range bobs.made {
		if b, err := bob.Stored(block.ID(gen)); err == nil && !b.Genesis() {
			under, _ := bobs.Generation(b.GenerationHint)
			link, err := b.Resolve(c.id, under)
			require.NoError(t, err)
			bobs.closed[gen] = link
		}
	}
	require.False(t, bob.keys.Has(c.id, g))
	require.NoError(t, c.Box(t.Context(), g, []block.Device{bob.Me()}))
	ann.tell(c, bob)
	for gen := range c.made {
		require.True(t, bob.keys.Has(c.id, gen))
	}
	require.Equal(t, c.Heads(), bobs.Heads())
}

// Seventy links stand on the same head, as when many were offline. The next link, and
// the next commit, go over all of them.
func TestMoreHeadsThanALinkNames(t *testing.T) {
	ann := newDevice(t, "ann")
	c, db := ann.found("fam")
	const crowd = 70
	me, base := ann.Me(), c.Heads()
	gen, ok := c.writable()
	require.True(t, ok)
	c.mu.Lock()
	for range crowd {
		_, err := c.put(t.Context(), gen, draft{content: team.Name{Kind: team.NameMember, Subject: me[:], Name: "ann"}, parents: base})
		require.NoError(t, err)
	}
	c.mu.Unlock()
	require.Len(t, c.Heads(), crowd)
	put(t, db, "a", "1")
	require.LessOrEqual(t, len(c.Heads()), block.MaxParents)
	require.NoError(t, c.Rename(t.Context(), "one"))
	require.Len(t, c.Heads(), 1)
	ann.restart()
	c, db = ann.only()
	require.Len(t, c.Heads(), 1)
	require.Equal(t, map[string]string{"a": "1"}, docs(t, db))
}
