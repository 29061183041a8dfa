package peering

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
)

// A peer that announced what has come from elsewhere meanwhile is not asked; one that
// announced something else as well is, and at once for what is lacking.
func TestWhatCameMeanwhileIsNotAskedFor(t *testing.T) {
	t.Parallel()
	a, b, c, _, dbA, dbB := pair(t)
	put(t, dbA, "doc", nil)
	same(t, dbA, dbB)
	p := b.host.ID()
	held := message.Announcement{Device: b.id.Device(), Counter: 1, Chain: c.Heads(), DBs: []message.DBHeads{dbA.Heads()}}
	lacking := held
	lacking.DBs = []message.DBHeads{{DB: dbA.ID(), Heads: []block.ID{{7}}}}
	cue := func(said ...message.Announcement) (teams []block.TeamID, moot bool) {
		a.mu.Lock()
		q := a.cued(p)
		q.said[c.ID()] = append(q.said[c.ID()], said...)
		a.mu.Unlock()
		return a.takeCue(p)
	}
	teams, moot := cue(held)
	require.True(t, moot)
	require.Empty(t, teams)

	teams, moot = cue(held, lacking)
	require.Equal(t, []block.TeamID{c.ID()}, teams)
	require.False(t, moot)

	teams, moot = a.takeCue(p)
	require.Empty(t, teams, "a cue is good for one pull")
	require.False(t, moot, "who asks without a reason is answered")

	a.mu.Lock()
	a.cued(p).vague = true
	a.mu.Unlock()
	_, moot = cue(held)
	require.False(t, moot, "something was shown that nobody can tick off")

	a.mu.Lock()
	a.cued(p).said[c.ID()] = []message.Announcement{held}
	a.mu.Unlock()
	require.Equal(t, replicate.Moot, a.Network.pull(within(t), b.id.Device(), replicate.OnAnnounce))
}
