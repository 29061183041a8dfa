package crdt

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// An entry as bytes, a map of
//
//	1 actors    [40-byte actor …] sorted; dots name them by index
//	2 paths     path table (see [row])
//	3 dots      [actor, seq, time, life, {path: cell …}, {path: [time, actor, seq] …}?] …
//	            sorted by actor, seq; life is +n alive, −n dead, 0 neither; the last
//	            map holds original stamps and is absent if there are none
//	4 counters  {path: [actor, seq, total, cleared seq, cleared total] … flat}
//
// each absent if empty. Every path and every actor is used. Equal states have
// equal bytes: they are the input of the digest and of a revision.

// assigned is an assignment with the index of its path.
type assigned struct {
	path int
	*asg
}

// encode returns the canonical bytes, nil for an entry that holds nothing. It
// sorts and prunes e.
func (e *entry) encode() []byte {
	e.root.prune()
	for _, g := range e.groups {
		g.sets, g.count = nil, 0
	}
	w := entryWriter{}
	w.measure(&e.root)
	e.groups = slices.DeleteFunc(e.groups, func(g *group) bool { return g.life == 0 && g.count == 0 })
	slices.SortFunc(e.groups, func(a, b *group) int { return a.dot.compare(&b.dot) })
	flat := make([]assigned, w.asgs)
	for _, g := range e.groups {
		g.sets, flat = flat[:0:g.count], flat[g.count:]
		w.actors.add(&g.dot.Actor)
	}
	w.rows = make([]row, 0, w.paths)
	w.number(&e.root, -1)
	w.actors.sort()
	return w.append(make([]byte, 0, w.size+72*len(e.groups)), e)
}

// actorSet is a sorted table of actors.
type actorSet []block.Actor

func (s *actorSet) add(a *block.Actor) {
	for i := range *s {
		if (*s)[i] == *a {
			return
		}
		if i == 16 { // many: leave the duplicates to sort
			break
		}
	}
	*s = append(*s, *a)
}

func (s *actorSet) sort() {
	slices.SortFunc(*s, func(a, b block.Actor) int { return compareActors(&a, &b) })
	*s = slices.Compact(*s)
}

func (s actorSet) index(a *block.Actor) uint64 {
	i, ok := slices.BinarySearchFunc(s, a, func(x block.Actor, a *block.Actor) int { return compareActors(&x, a) })
	if !ok {
		panic("crdt: actor not in its table")
	}
	return uint64(i)
}

func (s actorSet) append(b []byte) []byte {
	b = appendHead(b, majorArray, uint64(len(s)))
	for i := range s {
		b = appendHead(b, majorBytes, 40)
		b = append(append(b, s[i].Device[:]...), s[i].Incarnation[:]...)
	}
	return b
}

// actors reads a table of actors, sorted and without duplicates.
func (r *reader) actors(limit int) []block.Actor {
	n := r.array(limit)
	list := make([]block.Actor, 0, min(n, len(r.b)/42+1))
	for range n {
		raw := r.bytes(40)
		a := block.Actor{Device: block.Device(raw[:32]), Incarnation: block.Incarnation(raw[32:])}
		if k := len(list); k > 0 && compareActors(&list[k-1], &a) >= 0 {
			r.fail("actors are not sorted")
		}
		if r.err != nil {
			return nil
		}
		list = append(list, a)
	}
	return list
}

type entryWriter struct {
	actors actorSet
	rows   []row
	ctrs   []*node
	at     []int // path index of each of ctrs
	asgs   int
	paths  int
	size   int
}

// measure counts what there is to write.
func (w *entryWriter) measure(n *node) {
	for i := range n.asgs {
		n.asgs[i].g.count++
		w.size += len(n.asgs[i].val) + 4
	}
	w.asgs += len(n.asgs)
	w.paths += len(n.kids)
	w.size += 72 * len(n.ctrs)
	for _, k := range n.kids {
		w.size += len(k.key) + 8
		w.measure(k)
	}
}

// number gives every path its index, in order, and hands the assignments to
// their groups.
func (w *entryWriter) number(n *node, index int) {
	for i := range n.asgs {
		a := &n.asgs[i]
		a.g.sets = append(a.g.sets, assigned{index, a})
		if a.orig != nil {
			w.actors.add(&a.orig.dot.Actor)
			w.size += 24
		}
	}
	if len(n.ctrs) > 0 {
		w.ctrs, w.at = append(w.ctrs, n), append(w.at, index)
		for i := range n.ctrs {
			w.actors.add(&n.ctrs[i].actor)
		}
	}
	for _, k := range n.kids {
		w.rows = append(w.rows, row{parent: index, key: k.key})
		w.number(k, len(w.rows)-1)
	}
}

func (w *entryWriter) append(b []byte, e *entry) []byte {
	present := []bool{len(w.actors) > 0, len(w.rows) > 0, len(e.groups) > 0, len(w.ctrs) > 0}
	n := uint64(0)
	for _, p := range present {
		if p {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	b = appendHead(b, majorMap, n)
	if present[0] {
		b = w.actors.append(append(b, 1))
	}
	if present[1] {
		b = appendRows(append(b, 2), w.rows)
	}
	if present[2] {
		b = appendHead(append(b, 3), majorArray, uint64(len(e.groups)))
		for _, g := range e.groups {
			b = w.appendGroup(b, g)
		}
	}
	if present[3] {
		b = appendHead(append(b, 4), majorMap, uint64(len(w.ctrs)))
		for i, n := range w.ctrs {
			b = w.appendCounters(appendUint(b, uint64(w.at[i])), n.ctrs)
		}
	}
	return b
}

func (w *entryWriter) appendGroup(b []byte, g *group) []byte {
	moved := 0
	for _, s := range g.sets {
		if s.orig != nil {
			moved++
		}
	}
	b = appendHead(b, majorArray, 5+uint64(min(moved, 1)))
	b = appendUint(b, w.actors.index(&g.dot.Actor))
	b = appendUint(appendUint(b, g.dot.Seq), uint64(g.time))
	b = appendHead(appendInt(b, g.life), majorMap, uint64(len(g.sets)))
	for _, s := range g.sets {
		b = append(appendUint(b, uint64(s.path)), s.val...)
	}
	if moved == 0 {
		return b
	}
	b = appendHead(b, majorMap, uint64(moved))
	for _, s := range g.sets {
		if s.orig != nil {
			b = appendHead(appendUint(b, uint64(s.path)), majorArray, 3)
			b = appendUint(appendUint(b, uint64(s.orig.time)), w.actors.index(&s.orig.dot.Actor))
			b = appendUint(b, s.orig.dot.Seq)
		}
	}
	return b
}

func (w *entryWriter) appendCounters(b []byte, ctrs []ctr) []byte {
	b = appendHead(b, majorArray, 5*uint64(len(ctrs)))
	for i := range ctrs {
		c := &ctrs[i]
		b = appendUint(appendUint(b, w.actors.index(&c.actor)), c.seq)
		b = c.totalCl.append(appendUint(c.total.append(b), c.seqCl))
	}
	return b
}

// refs returns the blocks that the references of an entry just encoded name, in
// their order there. all is false if one of them is not sealed yet.
func (e *entry) refs() (links []block.ID, all bool) {
	all = true
	for _, g := range e.groups {
		for _, s := range g.sets {
			switch {
			case !s.val.ref():
			case s.link == nil:
				links, all = append(links, block.ID{}), false
			default:
				links = append(links, *s.link)
			}
		}
	}
	return links, all
}

// entryReader reads an entry; used counts which actors were named.
type entryReader struct {
	reader
	links  []block.ID // of references, those read taken away; nil: not known
	actors []block.Actor
	used   []bool
	rows   []row
	nodes  []node
	slab   []asg
	e      *entry
}

// decode takes a kept record apart.
func (r *record) decode() (*entry, error) { return decodeEntry(r.entry, r.links) }

// decodeEntry reads canonical entry bytes and gives their references the blocks
// they name, if links is not nil; the entry aliases both.
func decodeEntry(b []byte, links []block.ID) (*entry, error) {
	if len(b) > maxEntry {
		return nil, malformed("entry of %d bytes, at most %d", len(b), maxEntry)
	}
	r := entryReader{reader: reader{b: b}, links: links, e: &entry{}}
	if len(b) == 0 {
		return r.e, nil
	}
	last := uint64(0)
	n := r.pairs(4)
	if r.err == nil && n == 0 {
		r.fail("entry that holds nothing")
	}
	for range n {
		switch r.key(&last) {
		case 1:
			r.actors = r.reader.actors(MaxActors)
			r.used = make([]bool, len(r.actors))
		case 2:
			r.readPaths()
		case 3:
			r.readGroups()
		case 4:
			r.readCounters()
		default:
			r.fail("unknown field of an entry")
		}
	}
	if r.checkUsed(); r.err == nil && len(r.links) > 0 {
		r.fail("%d links that nothing refers to", len(r.links))
	}
	return r.e, r.end()
}

func (r *entryReader) readPaths() {
	if r.rows = r.reader.rows(maxEntry); r.err != nil {
		return
	}
	r.nodes = make([]node, len(r.rows))
	r.slab = make([]asg, len(r.rows))
	kids := make([]*node, len(r.rows))
	counts := make([]int, len(r.rows)+1)
	for _, w := range r.rows {
		counts[w.parent+1]++
	}
	for i, w := range r.rows {
		r.nodes[i].key = w.key
		parent := &r.e.root
		if w.parent >= 0 {
			parent = &r.nodes[w.parent]
		}
		if parent.kids == nil {
			k := counts[w.parent+1]
			parent.kids, kids = kids[:0:k], kids[k:]
		}
		parent.kids = append(parent.kids, &r.nodes[i])
	}
}

func (r *entryReader) actor() (a block.Actor) {
	i := r.uint(MaxActors)
	if r.err == nil && i >= uint64(len(r.actors)) {
		r.fail("actor %d of %d", i, len(r.actors))
	}
	if r.err != nil {
		return a
	}
	r.used[i] = true
	return r.actors[i]
}

func (r *entryReader) dot() Dot {
	d := Dot{Actor: r.actor(), Seq: r.uint(maxSeq)}
	if r.err == nil && d.Seq == 0 {
		r.fail("seq 0")
	}
	return d
}

func (r *reader) time() wire.Time {
	t := wire.Time(r.uint(uint64(wire.MaxTime) - 1))
	if r.err == nil && !t.Valid() {
		r.fail("time 0")
	}
	return t
}

// path reads an index into the path table, greater than the last one.
func (r *entryReader) path(last *int) int {
	i := int(r.uint(maxEntry))
	if r.err == nil && (i <= *last || i >= len(r.rows)) {
		r.fail("path %d of %d after %d", i, len(r.rows), *last)
	}
	if r.err != nil {
		return -1
	}
	*last = i
	return i
}

func (r *entryReader) readGroups() {
	n := r.array(maxEntry)
	if r.err == nil && n == 0 {
		r.fail("no dots")
	}
	var slab []group
	for range n {
		if len(slab) == 0 { // of a count that was only claimed, not more than this
			slab = make([]group, min(n-len(r.e.groups), 1024))
		}
		g := &slab[0]
		slab = slab[1:]
		r.readGroup(g)
		if k := len(r.e.groups); r.err == nil && k > 0 && r.e.groups[k-1].dot.compare(&g.dot) >= 0 {
			r.fail("dots are not sorted")
		}
		if r.err != nil {
			return
		}
		r.e.groups = append(r.e.groups, g)
	}
}

func (r *entryReader) readGroup(g *group) {
	size := r.array(6)
	g.dot = r.dot()
	g.time = r.time()
	g.life = r.int()
	if r.err == nil && (size < 5 || g.life <= -maxLife || g.life >= maxLife) {
		r.fail("dot")
	}
	n, last := r.pairs(maxEntry), -1
	if r.err == nil && n == 0 && g.life == 0 {
		r.fail("dot that asserts nothing")
	}
	for range n {
		i := r.path(&last)
		if r.err != nil {
			return
		}
		c, _ := r.cell(r.rows, i, false)
		node := &r.nodes[i]
		if node.asgs == nil {
			node.asgs, r.slab = r.slab[:0:1], r.slab[1:]
		}
		a := asg{g: g, val: c}
		if r.links != nil && c.ref() {
			if len(r.links) == 0 {
				r.fail("reference without a link")
				return
			}
			a.link, r.links = &r.links[0], r.links[1:]
		}
		node.asgs = append(node.asgs, a)
	}
	if size == 6 && r.err == nil {
		r.readStamps(g)
	}
}

func (r *entryReader) readStamps(g *group) {
	n, last := r.pairs(maxEntry), -1
	if r.err == nil && n == 0 {
		r.fail("no stamps")
	}
	for range n {
		i := r.path(&last)
		if r.array(3) != 3 {
			r.fail("stamp")
		}
		s := &stamp{time: r.time(), dot: r.dot()}
		if r.err != nil {
			return
		}
		a := lastOf(r.nodes[i].asgs)
		if a == nil || a.g != g || *s == (stamp{g.time, g.dot}) {
			r.fail("stamp of no assignment, or of its own dot")
			return
		}
		a.orig = s
	}
}

func lastOf(list []asg) *asg {
	if len(list) == 0 {
		return nil
	}
	return &list[len(list)-1]
}

func (r *entryReader) readCounters() {
	n, last := r.pairs(maxEntry), -1
	if r.err == nil && n == 0 {
		r.fail("no counters")
	}
	for range n {
		i := r.path(&last)
		size := r.array(5 * MaxActors)
		if r.err == nil && (size == 0 || size%5 != 0) {
			r.fail("counter")
		}
		for range size / 5 {
			c := ctr{actor: r.actor(), seq: r.uint(maxSeq), total: r.total(), seqCl: r.uint(maxSeq), totalCl: r.total()}
			if r.err != nil {
				return
			}
			node := &r.nodes[i]
			if k := len(node.ctrs); k > 0 && compareActors(&node.ctrs[k-1].actor, &c.actor) >= 0 || !c.sound() {
				r.fail("counters are not sorted, or one of them is empty")
				return
			}
			node.ctrs = append(node.ctrs, c)
		}
	}
}

// checkUsed refuses paths and actors that nothing names.
func (r *entryReader) checkUsed() {
	for i := range r.nodes {
		if r.err == nil && r.nodes[i].bare() && len(r.nodes[i].kids) == 0 {
			r.fail("path %d is not used", i)
		}
	}
	for i, u := range r.used {
		if r.err == nil && !u {
			r.fail("actor %d is not used", i)
		}
	}
}
