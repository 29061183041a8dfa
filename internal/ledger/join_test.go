package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// Bob joins a team that has a history: two databases, a removed member, names. The
// links reach him in every manner; he ends at the same state, on disk too.
func TestAJoinerComesToTheSameStateInEveryOrder(t *testing.T) {
	ann, bob, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve")
	c, db := ann.found("fam")
	ann.join(c, eve)
	put(t, db, "a", "1")
	ann.remove(c, eve)
	more := ann.addDB(c, "more")
	seat := ann.admit(c, bob, team.InviteMember)
	put(t, db, "b", "2")
	put(t, more, "c", "3")
	links := ann.links(c)

	one := func(links [][]byte) (parts [][][]byte) {
		for _, l := range links {
			parts = append(parts, [][]byte{l})
		}
		return parts
	}
	reversed := slices.Clone(links)
	slices.Reverse(reversed)
	orders := map[string][][][]byte{
		"at once":             {links},
		"reversed":            {reversed},
		"one by one":          one(links),
		"one by one reversed": one(reversed),
		"twice":               {links, links},
		"doubled":             {append(slices.Clone(reversed), links...)},
		"without genesis":     {links[1:]},
	}
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s := slices.Clone(links)
		rng.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		orders[fmt.Sprint("shuffled ", seed)] = one(s)
	}
	for name, parts := range orders {
		t.Run(name, func(t *testing.T) {
			bob := &device{t: t, name: "bob", place: name, fs: store.NewMem(), id: bob.id}
			bob.start()
			mine := bob.begin(links[0], seat)
			total := 0
			for _, part := range parts {
				n, err := mine.Receive(t.Context(), part)
				require.NoError(t, err)
				total += n
			}
			require.Equal(t, len(links)-1, total)
			for range 2 {
				require.Equal(t, c.Heads(), mine.Heads())
				require.Equal(t, "fam", mine.State().Name())
				require.True(t, mine.Seated())
				require.True(t, mine.Provisional())
				require.False(t, mine.State().Active(eve.Me()))
				bobs := bob.Database(db.id)
				give(t, db, bobs)
				give(t, more, bob.Database(more.id))
				require.Equal(t, c.Summary(), mine.Summary())
				require.Equal(t, docs(t, db), docs(t, bobs))
				require.Equal(t, map[string]string{"c": "3"}, docs(t, bob.Database(more.id)))
				bob.restart()
				mine = bob.Chain(c.id)
			}
			require.Zero(t, bob.Refused.Load())
		})
	}
}

// Wherever a joiner is cut off, he goes on from there after a restart.
func TestAJoinerRestartsAtEveryLink(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	seat := ann.admit(c, bob, team.InviteMember)
	links := ann.links(c)
	mine := bob.begin(links[0], seat)
	for i := range links {
		bob.restart() // forgets what had to wait: it is sent again
		mine = bob.Chain(c.id)
		require.True(t, mine.Provisional())
		require.Equal(t, seat, mine.info.Seat)
		_, err := mine.Receive(t.Context(), links[:i+1])
		require.NoError(t, err)
	}
	require.True(t, mine.Seated())
	require.Equal(t, c.Heads(), mine.Heads())
	put(t, bob.Database(db.id), "bob's", "1")
	give(t, bob.Database(db.id), db)
	require.Equal(t, map[string]string{"bob's": "1"}, docs(t, db))
}

// A join is provisional until somebody shows the same heads who could not have
// hidden a part of the chain together with the admitter: a second member, or a
// device of the inviter.
func TestAProvisionalJoinEndsWhenAnotherAgrees(t *testing.T) {
	ann, bob, carol, dave := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol"), newDevice(t, "dave")
	tablet, phone, stranger := newDevice(t, "carol's tablet"), newDevice(t, "dave's phone"), newDevice(t, "stranger")
	c, _ := ann.found("fam")
	carols, _ := ann.join(c, carol)
	carol.seat(carols, tablet, carol.admit(carols, tablet, team.InviteDevice))
	carol.tell(carols, ann)
	ann.join(c, bob)
	agree := func(on *Chain, x *device) bool {
		ended, err := on.Agreed(t.Context(), x.Me())
		require.NoError(t, err)
		return ended
	}
	// Carol admits dave through an invitation of ann's. What she says, her tablet
	// says too, and so does whoever dave brings along.
	inv := ann.invite(c, team.InviteMember)
	ann.tell(c, carol)
	daves, _ := carol.seat(carols, dave, carol.admitBy(carols, inv, dave))
	dave.admit(daves, phone, team.InviteDevice)
	for _, x := range []*device{carol, tablet, dave, phone, stranger} {
		require.False(t, agree(daves, x), x.name)
		require.True(t, daves.Provisional())
	}
	dave.restart()
	daves = dave.Chain(c.id)
	require.True(t, daves.Provisional(), "a restart confirms nothing")
	require.True(t, agree(daves, bob))
	require.False(t, agree(daves, bob), "it has ended already")
	dave.restart()
	require.False(t, dave.Chain(c.id).Provisional())

	// The inviter's own word is enough, also if she admitted.
	require.True(t, agree(bob.Chain(c.id), ann))
	require.True(t, agree(tablet.Chain(c.id), carol))
}

// Members do not believe what a non-member says, and links for another team are
// refused.
func TestForeignLinksAreRefused(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	other, _ := bob.found("other")
	before := ann.disk()
	n, err := c.Receive(t.Context(), bob.links(other))
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, before, ann.disk())

	n, err = c.Receive(t.Context(), [][]byte{[]byte("no link")})
	require.ErrorIs(t, err, block.ErrMalformed)
	require.Zero(t, n)
}
