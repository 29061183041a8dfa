package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// lines makes n links of a device that rename it, unknown to its own chain: a line on
// base, or each of them on base itself.
func (d *device) lines(c *Chain, base block.ID, n int, line bool) (raw [][]byte) {
	d.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	self, ok := c.State().Device(d.Me())
	require.True(d.t, ok)
	gen, ok := c.writable()
	require.True(d.t, ok)
	me := d.Me()
	for i := range n {
		h := block.Header{
			Kind: block.KindLink, Team: c.id, Generation: gen, Parents: 1, Links: []block.ID{base},
			Author: me, Seat: self.Seat,
		}
		b, _, err := c.compose(h, draft{content: team.Name{Kind: team.NameDevice, Subject: me[:], Name: fmt.Sprint(d.name, i)}})
		require.NoError(d.t, err)
		raw = append(raw, b.Data)
		if line {
			base = b.ID
		}
	}
	return raw
}

// oneByOne hands links over one at a time, and returns how many states that made.
func (c *Chain) oneByOne(t testing.TB, raw [][]byte, between func(i int)) (states int) {
	t.Helper()
	for i, l := range raw {
		before := c.State()
		_, err := c.Receive(t.Context(), [][]byte{l})
		require.NoError(t, err)
		if c.State() != before {
			states++
		}
		if between != nil {
			between(i)
		}
	}
	return states
}

// Mallory, who is on the team, sends thousands of links on one old head, one at a
// time. That makes few states; bob's links come in at once meanwhile; and in the end
// everybody holds everything.
func TestAFloodOfLinksOnAnOldHeadIsTakenInBatches(t *testing.T) {
	n := floodOf
	ann, bob, mallory, carol := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "mallory"), newDevice(t, "carol")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	carols, _ := ann.join(c, carol)
	mallorys, _ := ann.join(c, mallory)
	old := c.Heads()[0]
	me := ann.Me()
	for i := range oldBeside + 10 {
		ann.link(c, team.Name{Kind: team.NameDevice, Subject: me[:], Name: fmt.Sprint("ann", i)}, nil)
	}
	ann.tell(c, bob)
	ann.tell(c, carol)
	bob.confirmed(bobs)
	carol.confirmed(carols)

	flood := mallory.lines(mallorys, old, n, false)
	start, honest, him := tick.Load(), 0, bob.Me()
	states := c.oneByOne(t, flood, func(i int) {
		if i%250 != 249 {
			return
		}
		// Bob has what mallory sent him first, and not all that ann has.
		_, err := bobs.Receive(t.Context(), flood[i-1:i+1])
		require.NoError(t, err)
		id := bob.link(bobs, team.Name{Kind: team.NameDevice, Subject: him[:], Name: fmt.Sprint("bob", i)}, nil)
		var raw [][]byte
		for _, id := range bobs.Since(c.Heads()) {
			u, err := bob.Stored(id)
			require.NoError(t, err)
			raw = append(raw, u.Data())
		}
		_, err = c.Receive(t.Context(), raw)
		require.NoError(t, err)
		require.True(t, c.Has(id), "an honest link waits")
		honest++
	})
	elapsed := time.Duration(tick.Load()-start) * time.Millisecond
	most := oldBurst + int(elapsed/oldTurn) + n/maxHeld + 1
	t.Logf("%d links, %d states in %v, %d honest links", n, states, elapsed, honest)
	require.LessOrEqual(t, states, most)
	require.Positive(t, states)

	// It is over: Tend takes the rest when it says so.
	for wake := ann.tend(c); c.Held() > 0; wake = ann.tend(c) {
		require.Positive(t, wake)
		require.LessOrEqual(t, wake, oldTurn)
		tick.Add(wake.Milliseconds())
	}
	ann.tell(c, bob)
	shuffled := ann.links(c)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for part := range slices.Chunk(shuffled, 500) {
		_, err := carols.Receive(t.Context(), part)
		require.NoError(t, err)
	}
	for carols.Held() > 0 {
		tick.Add(oldTurn.Milliseconds())
		carol.tend(carols)
	}
	for _, l := range flood {
		require.True(t, c.Has(block.Sum(l)))
	}
	require.Equal(t, c.Heads(), bobs.Heads())
	require.Equal(t, c.Heads(), carols.Heads())
	require.Equal(t, c.State().Devices(), carols.State().Devices())
	ann.restart()
	require.Equal(t, carols.Heads(), ann.Chain(c.id).Heads(), "from disk")
}

// Two halves of a team went on for a thousand links each. When they meet nobody waits,
// whether links come at once, one by one, in some order, or in small answers.
func TestTwoLongLinesMeetWithoutWaiting(t *testing.T) {
	n := lineOf
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	base := c.Heads()[0]
	_, err := c.Receive(t.Context(), ann.lines(c, base, n, true))
	require.NoError(t, err)
	line := bob.lines(bobs, base, n, true)
	shuffled := slices.Clone(line)
	rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	disk := ann.links(c)
	for name, parts := range map[string][][][]byte{
		"at once":    {line},
		"one by one": slices.Collect(slices.Chunk(line, 1)),
		"shuffled":   slices.Collect(slices.Chunk(shuffled, 10)),
		"answers":    slices.Collect(slices.Chunk(line, 100)),
	} {
		t.Run(name, func(t *testing.T) {
			x := newDevice(t, "ann again")
			x.stop()
			x.id = ann.id
			require.NoError(t, x.open())
			mine := x.begin(disk[0], block.ID{})
			_, err := mine.Receive(t.Context(), disk)
			require.NoError(t, err)
			x.confirmed(mine)
			require.True(t, mine.Seated())
			added := 0
			for _, part := range parts {
				n, err := mine.Receive(t.Context(), part)
				require.NoError(t, err)
				require.Zero(t, mine.Held())
				added += n
			}
			require.Equal(t, n, added)
			require.Len(t, mine.Heads(), 2)
		})
	}
}

// Turns come back one by one; a clock that was set back takes none away for long.
func TestTurnsComeBack(t *testing.T) {
	p, dev, start := newPace(), block.Device{1}, time.Unix(1_000, 0)
	for range oldBurst {
		require.Zero(t, p.wait(dev, start))
		p.use(dev, start)
	}
	require.Equal(t, oldTurn, p.wait(dev, start))
	require.Equal(t, oldTurn/2, p.wait(dev, start.Add(oldTurn/2)))
	require.Zero(t, p.wait(dev, start.Add(oldTurn)))
	require.Equal(t, oldTurn, p.wait(dev, start.Add(-time.Hour)))
	require.Zero(t, p.wait(dev, start.Add(-time.Hour+oldTurn)))
	require.Zero(t, p.wait(block.Device{2}, start))
	for i := range 2 * maxPaced {
		p.use(block.Device{3, byte(i), byte(i >> 8)}, start)
		require.LessOrEqual(t, len(p.owes), maxPaced)
	}
}

// What is held has a bound, and what is behind it is taken, not dropped; and who is not
// surely on the team takes all at once.
func TestHeldLinksAreBounded(t *testing.T) {
	ann, mallory := newDevice(t, "ann"), newDevice(t, "mallory")
	c, _ := ann.found("fam")
	mallorys, _ := ann.join(c, mallory)
	old := c.Heads()[0]
	me := ann.Me()
	for i := range oldBeside + 1 {
		ann.link(c, team.Name{Kind: team.NameDevice, Subject: me[:], Name: fmt.Sprint("ann", i)}, nil)
	}
	flood := mallory.lines(mallorys, old, oldBurst+2*maxHeld, false)
	states := c.oneByOne(t, flood, func(int) { require.Less(t, c.Held(), maxHeld) })
	require.GreaterOrEqual(t, states, oldBurst+1)
	require.LessOrEqual(t, states, oldBurst+3)

	ann.tell(c, mallory)
	require.True(t, mallorys.Provisional())
	_, err := mallorys.Receive(t.Context(), flood)
	require.NoError(t, err)
	require.Zero(t, mallorys.Held())
	for _, l := range flood {
		require.True(t, mallorys.Has(block.Sum(l)))
	}
}
