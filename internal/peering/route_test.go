package peering

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
)

// lingering lists the routes that are kept for a while only.
func (a *announcer) lingering() (old []block.Generation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for gen, r := range a.routes {
		if !r.until.IsZero() {
			old = append(old, gen)
		}
	}
	return old
}

// A rotation moves both sides to the new topic at once, without a restart; the old one
// is left after ten minutes, and carries chain heads alone until then.
func TestTopicsFollowGenerations(t *testing.T) {
	t.Parallel()
	a, b, fam, onB, dbA, dbB := pair(t)
	first := a.announcer(fam).at().gen
	c := newDevice(t, "carol")
	onC, _ := c.join(a, fam)
	confirmed(t, onC)
	agree(t, fam, onB, onC)
	listens := c.probe(onC) // on the first topic only
	listens.reach(a)

	id, err := fam.Rotate(t.Context())
	require.NoError(t, err)
	second := block.Generation(id)
	require.Equal(t, second, a.announcer(fam).at().gen, "when Rotate returns")
	hosttest.Wait(t, "bob to follow", func() bool { r := b.announcer(onB).at(); return r != nil && r.gen == second })
	require.Equal(t, []block.Generation{first}, a.announcer(fam).lingering())
	put(t, dbA, "on the new topic", nil)
	put(t, dbB, "and back", nil)
	same(t, dbA, dbB)
	hosttest.Wait(t, "the old topic to tell the heads", func() bool { return listens.names(map[block.ID][]byte{id: {1}}) })
	listens.mu.Lock()
	for _, said := range listens.heard {
		if said.Device == a.id.Device() && said.Chain[0] == id {
			require.Equal(t, message.Announcement{
				Device: said.Device, Counter: said.Counter, Time: said.Time, Chain: said.Chain,
			}, said, "nothing but heads")
		}
	}
	listens.mu.Unlock()

	a.skew.Store(int64((lingerTime - time.Minute) / time.Millisecond))
	_, err = a.announcer(fam).steerAgain()
	require.NoError(t, err)
	require.Len(t, a.announcer(fam).all(), 2)
	a.skew.Store(int64((lingerTime + time.Minute) / time.Millisecond))
	_, err = a.announcer(fam).steerAgain()
	require.NoError(t, err)
	require.Len(t, a.announcer(fam).all(), 1)
	require.Equal(t, second, a.announcer(fam).at().gen)
}

// Two keys made apart: both topics are kept while they are not merged, all write on the
// same one; then one more key, and the others are old.
func TestUnmergedGenerationsKeepTheirTopics(t *testing.T) {
	t.Parallel()
	a, b, fam, onB, dbA, dbB := pair(t)
	promote(t, fam, b)
	agree(t, fam, onB)
	first := a.announcer(fam).at().gen
	apart(t, a, b)
	x, err := fam.Rotate(t.Context())
	require.NoError(t, err)
	y, err := onB.Rotate(t.Context())
	require.NoError(t, err)
	together(t, a, b)
	agree(t, fam, onB)
	for _, says := range []*announcer{a.announcer(fam), b.announcer(onB)} {
		hosttest.Wait(t, "both topics", func() bool { return len(says.all()) == 3 })
		require.Equal(t, []block.Generation{first}, says.lingering())
	}
	require.Equal(t, a.announcer(fam).at().gen, b.announcer(onB).at().gen)
	put(t, dbA, "while there are two", nil)
	same(t, dbA, dbB)
	_, err = fam.Rotate(t.Context())
	require.NoError(t, err)
	agree(t, fam, onB)
	for _, says := range []*announcer{a.announcer(fam), b.announcer(onB)} {
		hosttest.Wait(t, "one topic, and old ones", func() bool { return len(says.lingering()) == 3 })
		require.ElementsMatch(t, []block.Generation{first, block.Generation(x), block.Generation(y)}, says.lingering())
	}
}
