package crdt

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// Dot names the commit that made an assignment: its actor and sequence number.
type Dot struct {
	Actor block.Actor
	Seq   uint64
}

func compareActors(a, b *block.Actor) int {
	if c := bytes.Compare(a.Device[:], b.Device[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Incarnation[:], b.Incarnation[:])
}

func (d *Dot) compare(o *Dot) int {
	if c := compareActors(&d.Actor, &o.Actor); c != 0 {
		return c
	}
	return cmp.Compare(d.Seq, o.Seq)
}

// stamp picks the winner among concurrent assignments: the greatest time, then
// actor, then seq. It never decides whether an assignment counts.
type stamp struct {
	time wire.Time
	dot  Dot
}

func (s *stamp) compare(o *stamp) int {
	if c := cmp.Compare(s.time, o.time); c != 0 {
		return c
	}
	return s.dot.compare(&o.dot)
}

// entry is one document with everything its merge needs: the assignments alive at
// each path, grouped by the dot that made them, and the counters.
//
//	groups   dot A:3 at 17:00, alive (n = 2) ──┐ made
//	         dot B:1 at 17:05                ──┼─┐
//	root ─ "title" ─ asgs [A:3 "milk"] ────────┘ │      one assignment: settled
//	     └ "n" ─ asgs [A:3 4, B:1 5] ────────────┘      two: a conflict
//	           └ ctrs [A: seq 7, total 3, …]
type entry struct {
	groups []*group
	root   node
}

// group is what one commit still asserts of a document.
type group struct {
	dot  Dot
	time wire.Time
	// life is +n if the dot says the document is alive, −n if it says dead, else 0;
	// n counts the revisions.
	life int64
	// Scratch of the encoder: the assignments in order of their paths.
	sets    []assigned
	count   int
	dropped int // scratch of op: 1 + its index in drops
}

// node is a path: its assignments, its counters and the paths below it.
type node struct {
	key  string
	kids []*node // sorted by key
	asgs []asg
	ctrs []ctr // sorted by actor
	edit *edit // what a working copy changed here; nil otherwise
}

// asg is an assignment.
type asg struct {
	g    *group
	orig *stamp // the stamp it had before a restore; nil: the group's own
	val  cell
	link *block.ID // the block a reference names; nil: none, or not sealed yet
}

// ctr is what is known of one actor's increments at a path: its newest running
// total, and the newest total that an assignment or removal has seen.
type ctr struct {
	actor   block.Actor
	seq     uint64
	total   total
	seqCl   uint64
	totalCl total
}

// live reports whether increments count that nobody has cleared.
func (c *ctr) live() bool { return c.seq > c.seqCl }

func (a *asg) stamp() stamp {
	if a.orig != nil {
		return *a.orig
	}
	return stamp{a.g.time, a.g.dot}
}

// before orders assignments: by stamp, and where restores by two actors left the
// same original stamp, by dot.
func (a *asg) before(b *asg) bool {
	s, t := a.stamp(), b.stamp()
	if c := s.compare(&t); c != 0 && !planted.Bug("crdt-winner-by-name") {
		return c < 0
	}
	return a.g.dot.compare(&b.g.dot) < 0
}

func (e *entry) group(d *Dot) *group {
	for _, g := range e.groups {
		if g.dot == *d {
			return g
		}
	}
	return nil
}

// alive and dead report the life dots. Alive wins: an edit that had not seen the
// delete brings the document back.
func (e *entry) alive() bool {
	if planted.Bug("crdt-delete-wins") && e.dead() {
		return false // a concurrent edit is lost
	}
	return slices.ContainsFunc(e.groups, func(g *group) bool { return g.life > 0 })
}

func (e *entry) dead() bool {
	return slices.ContainsFunc(e.groups, func(g *group) bool { return g.life < 0 })
}

// revision is the highest n among the alive dots, or the dead ones if none is.
func (e *entry) revision() (n int64) {
	alive := e.alive()
	for _, g := range e.groups {
		if alive {
			n = max(n, g.life)
		} else {
			n = max(n, -g.life)
		}
	}
	return n
}

// newest is the life dot of the greatest stamp: who touched the document last.
func (e *entry) newest() *group {
	var best *group
	alive := e.alive()
	for _, g := range e.groups {
		if g.life == 0 || (g.life > 0) != alive {
			continue
		}
		if best == nil || g.time > best.time || g.time == best.time && g.dot.compare(&best.dot) > 0 {
			best = g
		}
	}
	return best
}

// tidy takes away dots that assert nothing any more.
func (e *entry) tidy() {
	used := map[*group]bool{}
	e.root.each(func(n *node) {
		for i := range n.asgs {
			used[n.asgs[i].g] = true
		}
	})
	e.groups = slices.DeleteFunc(e.groups, func(g *group) bool { return g.life == 0 && !used[g] })
}

// each calls f for n and all nodes below it.
func (n *node) each(f func(*node)) {
	f(n)
	for _, k := range n.kids {
		k.each(f)
	}
}

// find returns the child at key, nil if there is none.
func (n *node) find(key string) *node {
	if i, ok := n.search(key); ok {
		return n.kids[i]
	}
	return nil
}

func (n *node) search(key string) (int, bool) {
	if k := len(n.kids); k == 0 || n.kids[k-1].key < key {
		return k, false // the next in order: how tables are read and documents filled
	}
	return slices.BinarySearchFunc(n.kids, key, func(k *node, key string) int { return cmp.Compare(k.key, key) })
}

// child returns the child at key, making it if need be.
func (n *node) child(key string) *node {
	i, ok := n.search(key)
	if !ok {
		n.kids = slices.Insert(n.kids, i, &node{key: key})
	}
	return n.kids[i]
}

// bare reports that nothing stands at the path itself.
func (n *node) bare() bool { return len(n.asgs) == 0 && len(n.ctrs) == 0 }

// prune takes away paths that hold nothing.
func (n *node) prune() {
	for _, k := range n.kids {
		k.prune()
	}
	n.kids = slices.DeleteFunc(n.kids, func(k *node) bool { return k.bare() && len(k.kids) == 0 })
}

// sound reports that c holds something, and no total without a seq.
func (c *ctr) sound() bool {
	return c.seq+c.seqCl > 0 && (c.seq > 0 || c.total == total{}) && (c.seqCl > 0 || c.totalCl == total{})
}

// sum returns whether uncleared increments exist at the path, and their sum.
func (n *node) sum() (live bool, sum total) {
	for i := range n.ctrs {
		if c := &n.ctrs[i]; c.live() {
			live, sum = true, sum.add(c.total.sub(c.totalCl))
		}
	}
	return live, sum
}

// ctr returns the counter of an actor, making it if need be.
func (n *node) ctr(a *block.Actor) *ctr {
	i, ok := slices.BinarySearchFunc(n.ctrs, a, func(c ctr, a *block.Actor) int { return compareActors(&c.actor, a) })
	if !ok {
		n.ctrs = slices.Insert(n.ctrs, i, ctr{actor: *a})
	}
	return &n.ctrs[i]
}

// raise joins a running total in: the greater (seq, total) stays.
func (c *ctr) raise(seq uint64, t total) {
	if seq > c.seq || seq == c.seq && c.total.less(t) {
		if planted.Bug("crdt-increments-twice") && c.seq > 0 {
			t = t.add(c.total) // a running total is added to the one before
		}
		c.seq, c.total = seq, t
	}
}

// clear joins a cleared total in.
func (c *ctr) clear(seq uint64, t total) {
	if seq > c.seqCl || seq == c.seqCl && c.totalCl.less(t) {
		c.seqCl, c.totalCl = seq, t
	}
}
