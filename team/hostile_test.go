package team

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
)

// hostile returns links that no chain may take, made out of those of a world: what is
// good about them is somebody else's.
func (w *world) hostile(rng *rand.Rand, n int) (out []*UnverifiedLink) {
	for range n {
		from := w.all[rng.IntN(len(w.all))]
		u := *from
		u.Header.Links = slices.Clone(u.Header.Links)
		noise := func(b []byte) {
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
		}
		noise(u.ID[:])
		lie := block.BoxGroup{Generation: block.Generation(w.genID), Purpose: block.BoxGeneration, Commitment: [32]byte{0xad}}
		switch kind := rng.IntN(6); {
		case u.Header.Genesis() || kind == 0: // of another team, or a team of its own
			u.Header.Team = block.TeamID{9}
		case kind == 1: // above nothing anybody has
			u.Header.Links = append([]block.ID{{0xee}}, u.Header.Links...)
			u.Header.Parents++
		case kind == 2: // another key in a lockbox
			u.Header.Boxes = []block.BoxGroup{lie}
		case kind == 3: // a generation that nobody made
			lie.Generation = block.Generation{3}
			u.Header.Boxes = []block.BoxGroup{lie}
		case kind == 4: // sealed under no generation
			u.Header.Generation = block.Generation{4}
		default: // by nobody
			u.Header.Author = dev("nobody").dev
		}
		out = append(out, &u)
	}
	return out
}

// TestHostileSoups: good, bad and hostile links, some before they can be opened and
// some twice, in any order: nothing panics, no link that is allowed is lost, none that
// is not is taken, and whoever has the same links says the same.
func TestHostileSoups(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newSoup(t, seed, 8+rng.IntN(20))
		bad := w.hostile(rng, 8)
		model := newModel(w.all, w.verify)
		first, second := w.deliver(rng, bad), w.deliver(rng, bad)
		for _, c := range []*Chain{first, second} {
			for i, u := range w.all {
				require.Equal(rt, model.all.has(i), c.Has(u.ID), w.story())
			}
			for _, u := range bad {
				require.False(rt, c.Has(u.ID), "%+v", u.Header)
			}
			require.Equal(rt, w.chain.describe(), c.describe(), w.story())
			require.Equal(rt, teamOf(w.chain.Roster()), teamOf(c.Roster()))
		}
	})
}

// deliver offers everything again and again until a chain takes nothing more.
func (w *world) deliver(rng *rand.Rand, bad []*UnverifiedLink) *Chain {
	c := w.fresh()
	offer := append(slices.Clone(w.all), bad...)
	for _, u := range w.all { // as they are before their generation is known
		early := *u
		early.complete = false
		offer = append(offer, &early)
	}
	for took := -1; took != len(c.g.links); {
		took = len(c.g.links)
		for _, i := range rng.Perm(len(offer)) {
			_ = c.Add(offer[i])
		}
		if rng.IntN(2) == 0 {
			c.State() // asked in between, or not
		}
	}
	return c
}
