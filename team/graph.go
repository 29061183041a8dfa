package team

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// none marks an absent number.
const none = int32(-1)

// link is a stored link: what it is, where it lies in the graph, and the facts
// that its own past fixed for ever when it was added.
type link struct {
	n        int32 // position in graph.links: parents come first
	id       block.ID
	parents  []int32
	depth    uint32 // longest path from genesis
	content  Content
	action   Action
	author   int32 // number of the author's key
	seat     int32 // number of the author's seat
	time     wire.Time
	critical bool

	// Dominator tree: dom is the greatest link that every path from here to genesis
	// passes, so that all of this link's past lies above or below it. jump skips
	// ahead on the way up (skew-binary), so that a walk is logarithmic.
	dom, jump int32
	level     uint32

	facts
	after *view // kept for links that make a generation: who knew the key at first
}

// facts are what a link's own past decides (rule 1).
type facts struct {
	need    Role    // the least role that would have been allowed to write it
	cut     bool    // it takes something away: rules 2 and 3 apply
	leaving bool    // of oneself: sorts first among equals
	root    int32   // of a cut: the cut it repeats at the end of all confirmations, or itself
	invite  int32   // number of the INVITE an ADMIT or REVOKE cites
	revokes []int32 // numbers of the INVITEs a removal revokes
	target  int32   // number of the key a cut names
	member  int32   // number of the member a seating link belongs to
	keys    *Keys   // of the generation it makes
	gens    []int32 // and the generations current before it
	checked bool    // roster fold: its author's seat could be checked
	sure    Role    // roster fold: the role its author has by links that could be checked
}

// seat is a place on the team: (link, key). A link makes up to two.
type seat struct {
	link     int32
	key      int32
	member   int32
	recovery bool // exists as words on paper only
}

// member is what a member seat makes; its id is the key of its first device.
type member struct {
	link int32
	id   int32
}

// graph is the links of one chain and what can be numbered in them. Numbers never
// change, links are only appended.
type graph struct {
	team    block.TeamID
	roster  bool // judge by the roster layer alone
	links   []*link
	byID    map[block.ID]int32
	seats   []seat
	members []member
	keys    []block.Device
	keyNum  map[block.Device]int32
	invites map[block.InviteID][]int32 // INVITE links by the id their codes show
	dbs     []block.DBID
	dbNum   map[block.DBID]int32
	seatsAt map[int32][]int32               // seat numbers by the link that made them
	views   map[int32]*view                 // cached states after a link
	views64 int                             // how many of them stay
	at      map[string]*view                // cached states under several heads
	proof   func(Proof, block.Device) error // Proof.Verify, which tests remember
}

func newGraph(team block.TeamID, roster bool) *graph {
	return &graph{
		team: team, roster: roster, byID: map[block.ID]int32{}, keyNum: map[block.Device]int32{},
		invites: map[block.InviteID][]int32{}, dbNum: map[block.DBID]int32{}, seatsAt: map[int32][]int32{},
		views: map[int32]*view{}, at: map[string]*view{}, proof: Proof.Verify,
	}
}

// key returns the number of a device key, giving it one if it is new.
func (g *graph) key(d block.Device) int32 {
	n, ok := g.keyNum[d]
	if !ok {
		n = int32(len(g.keys))
		g.keys, g.keyNum[d] = append(g.keys, d), n
	}
	return n
}

// lookup returns the number of a key, none if no link ever named it.
func (g *graph) lookup(d block.Device) int32 {
	if n, ok := g.keyNum[d]; ok {
		return n
	}
	return none
}

func (g *graph) db(id block.DBID) int32 {
	n, ok := g.dbNum[id]
	if !ok {
		n = int32(len(g.dbs))
		g.dbs, g.dbNum[id] = append(g.dbs, id), n
	}
	return n
}

// seatOf returns the number of the seat (link, key), none if there is none.
func (g *graph) seatOf(link, key int32) int32 {
	for _, s := range g.seatsAt[link] {
		if g.seats[s].key == key {
			return s
		}
	}
	return none
}

// place sets depth and dominators of a link whose parents are set.
func (g *graph) place(l *link) {
	l.dom, l.jump = none, none
	for _, p := range l.parents {
		l.depth = max(l.depth, g.links[p].depth+1)
	}
	if len(l.parents) == 0 {
		return
	}
	l.dom = g.meet(l.parents)
	d := g.links[l.dom]
	l.level = d.level + 1
	// Skew-binary jump pointers: two equal jumps in a row are joined into one.
	l.jump = l.dom
	if d.jump != none {
		j := g.links[d.jump]
		if j.jump != none && d.level-j.level == j.level-g.links[j.jump].level {
			l.jump = j.jump
		}
	}
}

// meet returns the nearest common dominator of links, one of them if it dominates
// the others.
func (g *graph) meet(ns []int32) int32 {
	m := ns[0]
	for _, n := range ns[1:] {
		m = g.meet2(m, n)
	}
	return m
}

func (g *graph) meet2(a, b int32) int32 {
	a, b = g.climb(a, g.links[b].level), g.climb(b, g.links[a].level)
	for a != b {
		x, y := g.links[a], g.links[b]
		if x.jump != y.jump {
			a, b = x.jump, y.jump
		} else {
			a, b = x.dom, y.dom
		}
	}
	return a
}

// climb goes up the dominator tree to at most the level.
func (g *graph) climb(n int32, level uint32) int32 {
	for {
		l := g.links[n]
		switch {
		case l.level <= level:
			return n
		case g.links[l.jump].level >= level:
			n = l.jump
		default:
			n = l.dom
		}
	}
}

// below reports whether a is in the past of b (a ≠ b).
func (g *graph) below(a, b int32) bool {
	if a >= b { // numbers are topological
		return false
	}
	// Everything in the past of b is comparable with each of b's dominators, so
	// climb while the dominator is not below a, and search what is left.
	depth := g.links[a].depth
	for {
		l := g.links[b]
		if l.dom == none {
			return false
		}
		d := g.links[l.dom]
		if d.depth < depth {
			return g.search(a, b, depth)
		}
		if l.dom == a {
			return true
		}
		if j := g.links[l.jump]; j.depth >= depth {
			b = l.jump
		} else {
			b = l.dom
		}
		if b == a {
			return true
		}
	}
}

// search walks down from b through links deeper than a.
func (g *graph) search(a, b int32, depth uint32) bool {
	seen := map[int32]bool{}
	stack := []int32{b}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, p := range g.links[n].parents {
			if p == a {
				return true
			}
			if p > a && !seen[p] && (g.links[p].depth > depth+1 || !planted.Bug("team-past-cut-short") && g.links[p].depth > depth) {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	return false
}

// within reports whether n is one of heads or in the past of one.
func (g *graph) within(n int32, heads []int32) bool {
	for _, h := range heads {
		if h == n || g.below(n, h) {
			return true
		}
	}
	return false
}

// maximal removes from ns what is in the past of another of them; sorted, unique.
func (g *graph) maximal(ns []int32) []int32 {
	ns = slices.Compact(slices.Sorted(slices.Values(ns)))
	var out []int32
	for i, n := range ns {
		if !g.within(n, ns[i+1:]) {
			out = append(out, n)
		}
	}
	return out
}

// bubble returns the links of the past of heads, heads included, that are strictly
// above their common dominator q, in topological order.
func (g *graph) bubble(heads []int32, q int32) []int32 {
	seen := map[int32]bool{}
	stack := slices.Clone(heads)
	var out []int32
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n == q || seen[n] {
			continue
		}
		seen[n] = true
		out = append(out, n)
		stack = append(stack, g.links[n].parents...)
	}
	slices.Sort(out)
	return out
}

// later orders links by (depth, hash), which respects the graph.
func (g *graph) later(a, b int32) int {
	x, y := g.links[a], g.links[b]
	return cmp.Or(cmp.Compare(x.depth, y.depth), bytes.Compare(x.id[:], y.id[:]))
}

// rank orders seats by seniority: the member seat's (depth, hash), then the device
// seat's, then the recovery seat of one link before its device.
func (g *graph) rank(a, b int32) int {
	if a == b {
		return 0
	}
	x, y := g.seats[a], g.seats[b]
	rec := func(s seat) int {
		if s.recovery {
			return 0
		}
		return 1
	}
	return cmp.Or(g.later(g.members[x.member].link, g.members[y.member].link),
		g.later(x.link, y.link), cmp.Compare(rec(x), rec(y)))
}

// order lists ns so that nothing stands before what is in its past, and apart from
// that the most senior first: the visiting order of rules 3 and 5. before reports
// whether one of ns is in the past of another.
func order(ns []int, senior func(a, b int) int, before func(a, b int) bool) []int {
	if len(ns) < 2 {
		return ns
	}
	sorted := slices.SortedFunc(slices.Values(ns), senior)
	out := make([]int, 0, len(ns))
	visited := make([]bool, len(sorted))
	var visit func(i int)
	visit = func(i int) {
		visited[i] = true
		for j := range sorted {
			if !visited[j] && before(sorted[j], sorted[i]) {
				visit(j)
			}
		}
		out = append(out, sorted[i])
	}
	for i := range sorted {
		if !visited[i] {
			visit(i)
		}
	}
	return out
}
