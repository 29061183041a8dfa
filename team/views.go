package team

import "slices"

// This file finds the view under any heads, and keeps what is likely to be asked
// for again.

// after returns the view after a link, computing it from the nearest dominator
// whose view is kept.
func (g *graph) after(n int32) *view {
	var path []int32
	v, ok := g.views[n]
	for !ok {
		path = append(path, n)
		if n = g.links[n].dom; n == none {
			v = &view{g: g}
			break
		}
		v, ok = g.views[n]
	}
	for _, n := range slices.Backward(path) {
		l := g.links[n]
		if len(l.parents) > 1 {
			v = g.merge(v, l.parents, l.dom)
		}
		v = resolve(v, []int32{n}, []int32{n})
		g.keep(n, v)
	}
	return v
}

// keep caches a view. When there are too many, every 64th along the dominator tree
// stays, so that any other is at most 64 steps away.
func (g *graph) keep(n int32, v *view) {
	if len(g.views) >= g.views64+maxViews {
		for k := range g.views {
			if g.links[k].level%64 != 0 {
				delete(g.views, k)
			}
		}
		g.views64 = len(g.views)
	}
	g.views[n] = v
}

// under returns the view under a set of heads, none of them below another.
func (g *graph) under(heads []int32) *view {
	if len(heads) == 1 {
		return g.after(heads[0])
	}
	q := g.meet(heads)
	return g.merge(g.after(q), heads, q)
}

// merge returns the view under several heads, given that after their common
// dominator q.
func (g *graph) merge(base *view, heads []int32, q int32) *view {
	key := make([]byte, 0, 4*len(heads))
	for _, n := range slices.Sorted(slices.Values(heads)) {
		key = append(key, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	v, ok := g.at[string(key)]
	if !ok {
		v = resolve(base, g.bubble(heads, q), heads)
		if len(g.at) >= maxUnder {
			clear(g.at)
		}
		g.at[string(key)] = v
	}
	return v
}
