package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// Ann and bob, both admins, remove each other while apart, and each side writes under
// its own key: ann, and carol, who has heard of bob's removal only. Ann is senior, so
// bob's falls, and with it his key counts for nothing; yet what carol wrote under it
// stays. Whoever hears whom first, ann and carol end up with the same heads, and bob
// with none of the keys that ann's side made.
func TestTwoAdminsRemoveEachOther(t *testing.T) {
	for _, rotates := range []bool{false, true} {
		for order := range 4 {
			t.Run(fmt.Sprintf("rotates %v, order %d", rotates, order), func(t *testing.T) { crossed(t, rotates, order) })
		}
	}
}

func crossed(t *testing.T, rotates bool, order int) {
	ann, bob, carol := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	carols, _ := ann.join(c, carol)
	bob.confirmed(bobs)
	carol.confirmed(carols)
	for _, x := range []*device{bob, carol} {
		require.NoError(t, c.SetRole(t.Context(), x.Me(), team.RoleAdmin))
	}
	for _, x := range []*device{bob, carol} {
		ann.tell(c, x)
	}
	before := ann.blocks()
	ann.remove(c, bob)
	onA := block.Generation(c.Heads()[0])
	require.NoError(t, c.Rename(t.Context(), "ann's"))
	bob.remove(bobs, ann)
	onB := block.Generation(bobs.Heads()[0])
	bob.tell(bobs, carol)
	require.NoError(t, carols.Rename(t.Context(), "carol's"))
	if rotates {
		_, err := carols.Rotate(t.Context())
		require.NoError(t, err)
		require.NoError(t, carols.Rename(t.Context(), "carol's second"))
	}

	switch order {
	case 0: // ann hears carol's links before anybody could give her their key
		carol.tell(carols, ann)
		ann.tell(c, carol)
	case 1: // she hears bob's first
		bob.tell(bobs, ann)
		ann.tell(c, carol)
	case 2:
		ann.tell(c, carol)
	case 3: // all that she will hear comes at once, behind a restart
		ann.restart()
		c = ann.Chain(c.id)
		carol.tell(carols, ann)
		ann.restart()
		c = ann.Chain(c.id)
		ann.tell(c, carol)
	}
	require.True(t, carols.State().Active(ann.Me()), "the senior stays")
	require.False(t, carols.State().Active(bob.Me()))
	for range 4 {
		carol.calm(carols)
		carol.tell(carols, ann)
		ann.calm(c)
		ann.tell(c, carol)
	}
	require.ElementsMatch(t, carols.Heads(), c.Heads())
	require.Empty(t, c.parked)
	require.True(t, ann.keys.Has(c.id, onB))
	require.Equal(t, carols.State().Name(), c.State().Name())
	for _, x := range []*device{ann, carol} {
		x.restart()
		require.Empty(t, x.Chain(c.id).parked)
	}
	c, carols = ann.Chain(c.id), carol.Chain(c.id)
	require.ElementsMatch(t, carols.Heads(), c.Heads())
	carol.calm(carols)
	ann.calm(c)
	require.ElementsMatch(t, carols.Heads(), c.Heads(), "nothing was left to do")

	// Bob gets all of it, and opens what was his.
	ann.tell(c, bob)
	carol.tell(carols, bob)
	require.False(t, bob.keys.Has(c.id, onA))
	for id := range ann.blocks() {
		if _, old := before[id]; old {
			continue
		}
		u, err := ann.Stored(id)
		require.NoError(t, err)
		if g, ok := c.Generation(u.GenerationHint); !ok || g != onA {
			continue
		}
		b, err := u.Resolve(c.id, onA)
		require.NoError(t, err)
		n, _ := bob.Keys().OpenBoxes(c.id, id, b.Header.Author, b.Header.Boxes)
		require.Zero(t, n)
		_, err = bob.Keys().Open(vault.Roster, b.Header, b.Body)
		require.ErrorIs(t, err, vault.ErrNoKey)
	}
}
