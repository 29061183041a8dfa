package team

import (
	"slices"

	"github.com/toftdb/toft/block"
)

// Lacking lists who may lack a key that somebody holds: what [State.Lacking] says of
// the current generations, and the same of every other one that was made beside
// something, whether it counts or not. Two removals cross:
//
//	base -> A (ann removes bob; she is senior)
//	     -> B (bob removes ann) -> C (by carol, sealed under the key of B)
//
// B falls, so ann is on the team, and C counts; but ann was out when B was made. Until
// she has that key she can take neither C nor anything above it, a new generation that
// would open B to her included. So each of these keys needs a box of its own, by a
// link that anybody may open whose generation she knows.
//
// Who is out is never listed.
func (c *Chain) Lacking() []Lack {
	g, v := c.g, c.view()
	out := slices.Clone(c.State().Lacking())
	current := map[int32]bool{}
	for _, x := range v.gens {
		current[x.link] = true
	}
	trunk := g.meet(v.heads)
	var made []int32
	boxed := map[Lack]bool{}
	for n, l := range g.links {
		// Everything is comparable with a link on the trunk: who was out under it and is on
		// the team now has come above it.
		if l.keys != nil && l.after != nil && !current[int32(n)] && g.climb(trunk, l.level) != int32(n) {
			made = append(made, int32(n))
		}
		if b, ok := l.content.(GiveBoxes); ok {
			for _, d := range b.Devices {
				boxed[Lack{Device: d, Generation: b.Generation}] = true
			}
		}
	}
	for _, n := range made {
		for _, d := range c.State().Devices() {
			k := g.lookup(d.Key)
			lack := Lack{Device: d.Key, Generation: block.Generation(g.links[n].id)}
			if v.holder(k) == none || g.links[n].author == k || g.links[n].after.holder(k) != none || boxed[lack] {
				continue
			}
			if !slices.ContainsFunc(v.keys.get(k).seats, func(s int32) bool { return g.below(n, g.seats[s].link) }) {
				out = append(out, lack)
			}
		}
	}
	return out
}
