package crdt

import (
	"cmp"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// op is what one commit does to one document. Every verb has this one form:
// which assignments it drops, by name, and what it asserts under its own dot.
// Actors are indexes into the commit's table (0: the author), slots are 0 alive,
// 1 dead, 2 + i the path of row i.
type op struct {
	id     string
	rows   []row
	sets   []opSet // sorted by path
	life   int64   // +n alive, −n dead, 0 untouched
	drops  []opDrop
	totals []opTotal
	clears []opClear
	fresh  *fresh // while drafting: the rest of it, written already
}

type opSet struct {
	path int
	val  cell
	link int // index among the commit's links; noLink
	orig *opStamp
	from *block.ID // while drafting: the block that holds the value already
}

type opStamp struct {
	time  wire.Time
	actor int
	seq   uint64
}

type opDrop struct {
	actor int
	seq   uint64
	slots []int // sorted
}

type opTotal struct {
	path  int
	total total
}

type opClear struct {
	path int
	seen []opSeen // sorted by actor
}

type opSeen struct {
	actor int
	seq   uint64
	total total
}

const (
	slotAlive = 0
	slotDead  = 1
	slotPath  = 2
)

func lifeSlot(life int64) int {
	if life > 0 {
		return slotAlive
	}
	return slotDead
}

// opContext is what the indexes of an operation stand for.
type opContext struct {
	dot    Dot
	time   wire.Time
	actors []block.Actor // [0] is the author
	links  []block.ID    // of the commit, behind its parents
}

func (c *opContext) at(actor int, seq uint64) Dot { return Dot{c.actors[actor], seq} }

// actorTable collects the actors an author's operations name.
type actorTable struct {
	author block.Actor
	index  map[block.Actor]int
	list   []block.Actor
}

func newActorTable(author block.Actor) *actorTable {
	return &actorTable{author: author, list: []block.Actor{author}}
}

func (t *actorTable) of(a block.Actor) int {
	if a == t.author {
		return 0
	}
	if t.index == nil {
		t.index = map[block.Actor]int{}
	}
	i, ok := t.index[a]
	if !ok {
		i = len(t.list)
		t.index[a], t.list = i, append(t.list, a)
	}
	return i
}

// sort puts the table in order and returns old index → new index.
func (t *actorTable) sort() []int {
	to := make([]int, len(t.list))
	if len(t.list) <= 2 { // the author, and at most one other: in order
		for i := range to {
			to[i] = i
		}
		return to
	}
	old := slices.Clone(t.list)
	slices.SortFunc(t.list[1:], func(a, b block.Actor) int { return compareActors(&a, &b) })
	for i, a := range t.list {
		t.index[a] = i
	}
	for i, a := range old {
		to[i] = t.of(a)
	}
	return to
}

// renumber maps the actors of an operation and restores the order.
func (o *op) renumber(to []int) {
	for i := range o.drops {
		o.drops[i].actor = to[o.drops[i].actor]
	}
	slices.SortFunc(o.drops, func(a, b opDrop) int {
		return cmp.Or(cmp.Compare(a.actor, b.actor), cmp.Compare(a.seq, b.seq))
	})
	for i := range o.sets {
		if s := o.sets[i].orig; s != nil {
			s.actor = to[s.actor]
		}
	}
	for _, c := range o.clears {
		for i := range c.seen {
			c.seen[i].actor = to[c.seen[i].actor]
		}
		slices.SortFunc(c.seen, func(a, b opSeen) int { return cmp.Compare(a.actor, b.actor) })
	}
}

// op returns the difference between the working copy and its base, nil if there
// is none. Actors are numbered by t and still to be renumbered.
func (w *work) op(id string, t *actorTable) *op {
	if !w.touched {
		return nil
	}
	c := opCollector{w: w, t: t, op: &op{id: id, life: w.own.life}}
	for i, g := range w.lost {
		c.drop(g, lifeSlot(w.lostLife[i]))
	}
	for _, k := range w.root.kids {
		c.node(k)
	}
	o := c.op
	if o.life == 0 && len(o.sets)+len(o.drops)+len(o.totals)+len(o.clears) == 0 {
		return nil
	}
	for i := range o.drops {
		slices.Sort(o.drops[i].slots)
	}
	return o
}

// opCollector walks a working copy in path order.
type opCollector struct {
	w    *work
	t    *actorTable
	op   *op
	path []pending
}

// pending is a path on the way to the present node, which gets a row when the
// operation first names something there or below.
type pending struct {
	key string
	row int // −1: none yet
}

func (c *opCollector) node(n *node) {
	c.path = append(c.path, pending{n.key, -1})
	for i := range n.asgs {
		if a := &n.asgs[i]; a.g == c.w.own {
			s := opSet{path: c.row(), val: a.val, link: noLink, from: a.link}
			if a.orig != nil {
				s.orig = &opStamp{a.orig.time, c.t.of(a.orig.dot.Actor), a.orig.dot.Seq}
			}
			c.op.sets = append(c.op.sets, s)
		}
	}
	if n.edit != nil {
		c.edits(n)
	}
	for _, k := range n.kids {
		c.node(k)
	}
	c.path = c.path[:len(c.path)-1]
}

func (c *opCollector) edits(n *node) {
	for _, g := range n.edit.dropped {
		c.drop(g, slotPath+c.row())
	}
	own := c.w.own.dot
	for i := range n.ctrs {
		if x := &n.ctrs[i]; n.edit.counted && x.actor == own.Actor && x.seq == own.Seq {
			c.op.totals = append(c.op.totals, opTotal{c.row(), x.total})
		}
	}
	if !n.edit.cleared {
		return
	}
	cl := opClear{path: -1}
	for i := range n.edit.base {
		if b := &n.edit.base[i]; b.seq > 0 {
			cl.seen = append(cl.seen, opSeen{c.t.of(b.actor), b.seq, b.total})
		}
	}
	if len(cl.seen) > 0 {
		cl.path = c.row()
		c.op.clears = append(c.op.clears, cl)
	}
}

// row returns the row of the present path, making it and its parents if need be.
func (c *opCollector) row() int {
	parent := -1
	for i := range c.path {
		p := &c.path[i]
		if p.row < 0 {
			p.row = len(c.op.rows)
			c.op.rows = append(c.op.rows, row{parent: parent, depth: i + 1, key: p.key})
		}
		parent = p.row
	}
	return parent
}

func (c *opCollector) drop(g *group, slot int) {
	if g.dropped == 0 {
		c.op.drops = append(c.op.drops, opDrop{actor: c.t.of(g.dot.Actor), seq: g.dot.Seq})
		g.dropped = len(c.op.drops)
	}
	d := &c.op.drops[g.dropped-1]
	d.slots = append(d.slots, slot)
}

// slot is what an assignment or a life dot stands at.
type slot struct {
	kind  int    // slotAlive, slotDead, slotPath
	place *place // of slotPath
}

// named is an assignment by name.
type named struct {
	slot slot
	dot  Dot
}

// places returns where each row stands.
func (o *op) places() []*place {
	out := make([]*place, len(o.rows))
	for i, w := range o.rows {
		var above *place
		if w.parent >= 0 {
			above = out[w.parent]
		}
		out[i] = above.child(w.key)
	}
	return out
}

// named lists what the operation drops.
func (o *op) named(c *opContext) (list []named) {
	if len(o.drops) == 0 {
		return nil
	}
	places := o.places()
	for i := range o.drops {
		d := &o.drops[i]
		list = d.named(c.at(d.actor, d.seq), places, list)
	}
	return list
}

// named appends what is dropped of one dot.
func (d *opDrop) named(dot Dot, places []*place, list []named) []named {
	for _, s := range d.slots {
		n := named{slot: slot{kind: min(s, slotPath)}, dot: dot}
		if s >= slotPath {
			n.slot.place = places[s-slotPath]
		}
		list = append(list, n)
	}
	return list
}

// apply does what an operation says to an entry. drops, if not nil, stands for
// what the operation names: some of that was made by commits that do not count.
func (e *entry) apply(o *op, c *opContext, drops []named) {
	nodes := make([]*node, len(o.rows))
	for i, w := range o.rows {
		parent := &e.root
		if w.parent >= 0 {
			parent = nodes[w.parent]
		}
		nodes[i] = parent.child(w.key)
	}
	if drops == nil {
		e.dropIndexed(o, c, nodes)
	} else {
		e.dropNamed(drops)
	}
	if len(o.sets) > 0 || o.life != 0 {
		g := &group{dot: c.dot, time: c.time, life: o.life}
		e.groups = append(e.groups, g)
		for _, s := range o.sets {
			a := asg{g: g, val: s.val}
			if s.link != noLink && s.link < len(c.links) {
				a.link = &c.links[s.link]
			}
			if s.orig != nil {
				a.orig = &stamp{s.orig.time, c.at(s.orig.actor, s.orig.seq)}
			}
			nodes[s.path].asgs = append(nodes[s.path].asgs, a)
		}
	}
	for _, t := range o.totals {
		nodes[t.path].ctr(&c.dot.Actor).raise(c.dot.Seq, t.total)
	}
	for _, cl := range o.clears {
		for _, s := range cl.seen {
			nodes[cl.path].ctr(&c.actors[s.actor]).clear(s.seq, s.total)
		}
	}
}

func (e *entry) dropIndexed(o *op, c *opContext, nodes []*node) {
	for _, d := range o.drops {
		dot := c.at(d.actor, d.seq)
		g := e.group(&dot)
		if g == nil {
			if planted.Bug("crdt-stops-at-the-dropped") {
				return // what else the operation drops stays
			}
			continue // a concurrent commit has dropped all of it
		}
		for _, s := range d.slots {
			if s < slotPath {
				g.dropLife(s)
			} else {
				nodes[s-slotPath].dropDot(g)
			}
		}
	}
}

func (e *entry) dropNamed(drops []named) {
	for i := range drops {
		g := e.group(&drops[i].dot)
		if g == nil {
			continue
		}
		if s := drops[i].slot; s.kind != slotPath {
			g.dropLife(s.kind)
		} else if n := e.at(s.place.keys()); n != nil {
			n.dropDot(g)
		}
	}
}

func (g *group) dropLife(slot int) {
	if g.life != 0 && lifeSlot(g.life) == slot {
		g.life = 0
	}
}

func (n *node) dropDot(g *group) {
	n.asgs = slices.DeleteFunc(n.asgs, func(a asg) bool { return a.g == g || planted.Bug("crdt-drops-the-unseen") })
}

// at returns the node of a path, nil if there is none.
func (e *entry) at(keys []string) *node {
	n := &e.root
	for _, k := range keys {
		if n = n.find(k); n == nil {
			return nil
		}
	}
	return n
}
