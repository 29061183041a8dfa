package crdt

import "slices"

// An operation as bytes, a map of
//
//	1 id       text
//	2 paths    path table (see [row])
//	3 sets     {path: cell …}
//	4 life     +n alive, −n dead
//	5 drops    [[actor, seq, slot …] …] sorted by actor, seq; slots 0 alive, 1 dead,
//	           2 + i path i
//	6 totals   {path: own running total …}
//	7 clears   {path: [actor, seq, total … flat] …}
//	8 stamps   {path: [time, actor, seq] …}: original stamps of some of the sets
//
// each but id absent if empty. Actors are indexes into the commit's table, 0 the
// author. Every row is used, and an operation does something.

func (o *op) append(b []byte) []byte {
	if o.fresh != nil {
		return o.fresh.append(b, o.id)
	}
	n := uint64(1)
	for _, present := range []bool{
		len(o.rows) > 0, len(o.sets) > 0, o.life != 0, len(o.drops) > 0,
		len(o.totals) > 0, len(o.clears) > 0, o.moved() > 0,
	} {
		if present {
			n++
		}
	}
	b = appendText(append(appendHead(b, majorMap, n), 1), o.id)
	if len(o.rows) > 0 {
		b = appendRows(append(b, 2), o.rows)
	}
	if len(o.sets) > 0 {
		b = appendHead(append(b, 3), majorMap, uint64(len(o.sets)))
		for _, s := range o.sets {
			b = s.append(appendUint(b, uint64(s.path)))
		}
	}
	if o.life != 0 {
		b = appendInt(append(b, 4), o.life)
	}
	return o.appendRest(b)
}

func (o *op) appendRest(b []byte) []byte {
	if len(o.drops) > 0 {
		b = appendHead(append(b, 5), majorArray, uint64(len(o.drops)))
		for _, d := range o.drops {
			b = appendHead(b, majorArray, 2+uint64(len(d.slots)))
			b = appendUint(appendUint(b, uint64(d.actor)), d.seq)
			for _, s := range d.slots {
				b = appendUint(b, uint64(s))
			}
		}
	}
	if len(o.totals) > 0 {
		b = appendHead(append(b, 6), majorMap, uint64(len(o.totals)))
		for _, t := range o.totals {
			b = t.total.append(appendUint(b, uint64(t.path)))
		}
	}
	if len(o.clears) > 0 {
		b = appendHead(append(b, 7), majorMap, uint64(len(o.clears)))
		for _, c := range o.clears {
			b = appendHead(appendUint(b, uint64(c.path)), majorArray, 3*uint64(len(c.seen)))
			for _, s := range c.seen {
				b = s.total.append(appendUint(appendUint(b, uint64(s.actor)), s.seq))
			}
		}
	}
	if n := o.moved(); n > 0 {
		b = appendHead(append(b, 8), majorMap, uint64(n))
		for _, s := range o.sets {
			if s.orig != nil {
				b = appendHead(appendUint(b, uint64(s.path)), majorArray, 3)
				b = appendUint(appendUint(appendUint(b, uint64(s.orig.time)), uint64(s.orig.actor)), s.orig.seq)
			}
		}
	}
	return b
}

// moved counts the sets that carry an original stamp.
func (o *op) moved() (n int) {
	for i := range o.sets {
		if o.sets[i].orig != nil {
			n++
		}
	}
	return n
}

func (s *opSet) append(b []byte) []byte {
	if s.link == noLink {
		return append(b, s.val...)
	}
	f := s.val.parseRef()
	f.link = s.link
	return f.append(b)
}

// opReader reads the operations of one commit.
type opReader struct {
	reader
	ctx    *opContext
	used   []bool // which actors were named
	values linkUse
	files  linkUse
	rows   []row
	named  []bool // which rows were named
}

// linkUse checks that the links of a range are first used in their order, so that
// there is one way to number them, and that none is left over.
type linkUse struct{ start, next, end int }

func (u *linkUse) use(link int) bool {
	if link == u.next && link < u.end {
		u.next++
	}
	return link >= u.start && link < u.next
}

// op reads one operation.
func (r *opReader) op() (o op) {
	n, last := r.pairs(8), uint64(0)
	r.rows, r.named = nil, r.named[:0]
	for i := range n {
		k := r.key(&last)
		if i == 0 && k != 1 {
			r.fail("operation without an id")
		}
		if r.err != nil {
			return o
		}
		r.opField(k, &o)
	}
	o.rows = r.rows
	r.checkOp(&o, n)
	return o
}

func (r *opReader) opField(k uint64, o *op) {
	switch k {
	case 1:
		if o.id = r.text(MaxID); r.err == nil && CheckID(o.id) != nil {
			r.fail("document id %.40q", o.id)
		}
	case 2:
		r.readRows()
	case 3:
		r.readSets(o)
	case 4:
		if o.life = r.int(); r.err == nil && (o.life == 0 || o.life <= -maxLife || o.life >= maxLife) {
			r.fail("life %d", o.life)
		}
	case 5:
		r.readDrops(o)
	case 6:
		r.eachPath(func(i int) { o.totals = append(o.totals, opTotal{i, r.total()}) })
	case 7:
		r.eachPath(func(i int) { o.clears = append(o.clears, r.readClear(i)) })
	case 8:
		r.readStamps(o)
	default:
		r.fail("unknown field %d of an operation", k)
	}
}

func (r *opReader) readRows() {
	r.rows = r.reader.rows(maxPlain)
	r.named = slices.Grow(r.named, len(r.rows))[:len(r.rows)]
	clear(r.named)
	for _, w := range r.rows {
		if w.parent >= 0 {
			r.named[w.parent] = true
		}
	}
}

// eachPath reads a map from paths, in order, not empty.
func (r *opReader) eachPath(read func(i int)) {
	n, last := r.pairs(maxPlain), -1
	if r.err == nil && n == 0 {
		r.fail("empty field of an operation")
	}
	for range n {
		i := int(r.uint(maxPlain))
		if r.err == nil && (i <= last || i >= len(r.rows)) {
			r.fail("path %d of %d after %d", i, len(r.rows), last)
		}
		if r.err != nil {
			return
		}
		last, r.named[i] = i, true
		read(i)
	}
}

func (r *opReader) readSets(o *op) {
	o.sets = make([]opSet, 0, len(r.rows))
	r.eachPath(func(i int) {
		s := opSet{path: i}
		if s.val, s.link = r.cell(r.rows, i, true); r.err != nil {
			return
		}
		if s.link != noLink {
			u := &r.values
			if s.val.file() {
				u = &r.files
			}
			if !u.use(s.link) {
				r.fail("link %d out of order or range", s.link)
			}
		}
		o.sets = append(o.sets, s)
	})
}

func (r *opReader) actor() int {
	i := r.uint(MaxActors)
	if r.err == nil && i >= uint64(len(r.ctx.actors)) {
		r.fail("actor %d of %d", i, len(r.ctx.actors))
	}
	if r.err != nil {
		return 0
	}
	r.used[i] = true
	return int(i)
}

func (r *opReader) seq() uint64 {
	s := r.uint(maxSeq)
	if r.err == nil && s == 0 {
		r.fail("seq 0")
	}
	return s
}

func (r *opReader) readDrops(o *op) {
	n := r.array(maxPlain)
	if r.err == nil && n == 0 {
		r.fail("empty field of an operation")
	}
	o.drops = make([]opDrop, 0, n)
	for i := range n {
		size := r.array(maxPlain)
		d := opDrop{actor: r.actor(), seq: r.seq()}
		if r.err == nil && size < 3 {
			r.fail("drop without a slot")
		}
		if r.err != nil {
			return
		}
		if i > 0 {
			if b := o.drops[i-1]; d.actor < b.actor || d.actor == b.actor && d.seq <= b.seq {
				r.fail("drops are not sorted")
			}
		}
		d.slots = r.slots(size - 2)
		o.drops = append(o.drops, d)
	}
}

func (r *opReader) slots(n int) []int {
	slots := make([]int, 0, n)
	for range n {
		s := int(r.uint(maxPlain))
		if r.err == nil && (s >= slotPath+len(r.rows) || len(slots) > 0 && s <= slots[len(slots)-1]) {
			r.fail("slot %d", s)
		}
		if r.err != nil {
			return nil
		}
		if s >= slotPath {
			r.named[s-slotPath] = true
		}
		slots = append(slots, s)
	}
	return slots
}

func (r *opReader) readClear(path int) opClear {
	c := opClear{path: path}
	n := r.array(3 * MaxActors)
	if r.err == nil && (n == 0 || n%3 != 0) {
		r.fail("clear")
	}
	for range n / 3 {
		s := opSeen{r.actor(), r.seq(), r.total()}
		if k := len(c.seen); r.err == nil && k > 0 && c.seen[k-1].actor >= s.actor {
			r.fail("clears are not sorted")
		}
		if r.err != nil {
			return c
		}
		c.seen = append(c.seen, s)
	}
	return c
}

func (r *opReader) readStamps(o *op) {
	at := 0
	r.eachPath(func(i int) {
		for at < len(o.sets) && o.sets[at].path < i {
			at++
		}
		if r.array(3) != 3 {
			r.fail("stamp")
		}
		s := &opStamp{r.time(), r.actor(), r.seq()}
		if r.err != nil {
			return
		}
		if at == len(o.sets) || o.sets[at].path != i || *s == (opStamp{r.ctx.time, 0, r.ctx.dot.Seq}) {
			r.fail("stamp of nothing set, or the commit's own")
			return
		}
		o.sets[at].orig = s
	})
}

func (r *opReader) checkOp(o *op, fields int) {
	if r.err != nil {
		return
	}
	if fields < 2 || fields == 2 && len(o.rows) > 0 {
		r.fail("operation that does nothing")
	}
	for i, named := range r.named {
		if !named {
			r.fail("path %d is not used", i)
			return
		}
	}
}
