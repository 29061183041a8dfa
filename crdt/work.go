package crdt

import (
	"fmt"
	"math"
	"slices"

	"github.com/toftdb/toft/internal/wire"
)

// work is a working copy of an entry on which an author's verbs run one after
// another; what all of them changed becomes one operation. Nodes keep what they
// lost in their edit, so the difference to the base is read off, not computed.
type work struct {
	entry
	stores   keeper
	own      *group // the commit being made
	baseLife int64  // the highest n of the base, alive or dead
	lost     []*group
	lostLife []int64
	touched  bool  // an assignment, life dot or counter differs from the base
	failed   error // why a value could not be compared
	path     []string
	scratch  []byte
}

// keeper are stores that take large values in.
type keeper interface {
	stores
	keep(value []byte) (reference cell)
}

// edit is what a working copy changed at a path.
type edit struct {
	dropped []*group // whose assignment here was dropped
	base    []ctr    // the counters before the first change
	counted bool     // base is set
	cleared bool     // everything base names is cleared
}

func (n *node) edits() *edit {
	if n.edit == nil {
		n.edit = &edit{}
	}
	return n.edit
}

// newWork starts a working copy of e, which it takes over.
func newWork(e *entry, s keeper, d Dot, t wire.Time) *work {
	w := &work{entry: *e, stores: s, own: &group{dot: d, time: t}, path: make([]string, 0, 8), scratch: make([]byte, 0, 256)}
	for _, g := range e.groups {
		w.baseLife = max(w.baseLife, g.life, -g.life)
	}
	return w
}

// result returns the entry with everything the verbs did.
func (w *work) result() *entry {
	w.groups = append(w.groups, w.own)
	return &w.entry
}

// put makes the document read as doc, and settles what is in conflict.
func (w *work) put(doc map[string]any) error {
	keep := w.visible() // files are kept by a put that does not name them
	for _, k := range w.root.kids {
		if _, ok := doc[k.key]; !ok && !(keep && k.key == keyFiles) {
			w.remove(k)
		}
	}
	for _, k := range sortedKeys(doc) {
		if k == keyID || k == keyRev || k == keyFiles {
			continue
		}
		w.path = append(w.path[:0], k)
		if err := checkKey(k, w.path); err != nil {
			return err
		}
		if err := w.assign(w.root.child(k), doc[k], w.path); err != nil {
			return err
		}
	}
	w.touchIfChanged()
	return nil
}

// assign makes a path read as v.
func (w *work) assign(n *node, v any, path []string) error {
	m, ok := object(v)
	if !ok {
		b, err := appendValue(w.scratch[:0], v, path, len(path)+1)
		if err != nil {
			return err
		}
		w.scratch = b
		return w.leaf(n, b)
	}
	if len(path)+1 > MaxDepth {
		return badDoc(path, "nested deeper than %d", MaxDepth)
	}
	w.object(n)
	for _, k := range n.kids {
		if _, ok := m[k.key]; !ok {
			w.remove(k)
		}
	}
	for _, k := range sortedKeys(m) {
		sub := append(path, k)
		if err := checkKey(k, sub); err != nil {
			return err
		}
		if err := w.assign(n.child(k), m[k], sub); err != nil {
			return err
		}
	}
	return nil
}

// object returns v as an object.
func object(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case Doc:
		return v, true
	}
	return nil, false
}

// leaf makes a path read as the value with these bytes (which it copies if it
// keeps them). A winner that reads so already stays; its rivals go.
func (w *work) leaf(n *node, b cell) error {
	for _, k := range n.kids {
		w.remove(k)
	}
	w.drop(n, func(a *asg) bool { return a.val.object() })
	live, sum := n.sum()
	if win := winner(n); win != nil {
		val := win.val
		if w.reads(win, live, sum).is(b) {
			w.drop(n, func(a *asg) bool { return !a.val.is(val) })
			if live && !val.number() {
				w.clear(n)
			}
			return nil
		}
	} else if live && cell(appendInt(nil, sum.clamp())).is(b) {
		return nil
	}
	w.drop(n, func(*asg) bool { return true })
	w.clear(n)
	w.set(n, asg{val: slices.Clone(b)})
	return nil
}

// reads returns the bytes a path shows whose winning scalar is win.
func (w *work) reads(win *asg, live bool, sum total) cell {
	val := win.val
	if val.ref() && !val.file() {
		b, err := w.stores.value(val.parseRef(), win.link)
		if err == nil {
			return b
		}
		w.failed = err
	}
	if !live || !val.number() {
		return val
	}
	r := reader{b: val}
	b, err := EncodeValue(add(r.value(), sum))
	if err != nil {
		return val
	}
	return b
}

// winner is the assignment of the greatest stamp at a path.
func winner(n *node) (win *asg) {
	for i := range n.asgs {
		if win == nil || win.before(&n.asgs[i]) {
			win = &n.asgs[i]
		}
	}
	return win
}

// set assigns at a path under the commit's own dot; a large value goes out of line.
func (w *work) set(n *node, a asg) {
	w.touched = true
	if a.g = w.own; len(a.val) > MaxInline && !a.val.ref() {
		a.val = w.stores.keep(a.val)
	}
	if a.orig != nil && *a.orig == (stamp{w.own.time, w.own.dot}) {
		a.orig = nil
	}
	for i := range n.asgs {
		if n.asgs[i].g == w.own {
			n.asgs[i] = a
			return
		}
	}
	n.asgs = append(n.asgs, a)
}

// drop takes away the assignments at a path that match.
func (w *work) drop(n *node, match func(*asg) bool) (any bool) {
	kept := n.asgs[:0]
	for i := range n.asgs {
		if !match(&n.asgs[i]) {
			kept = append(kept, n.asgs[i])
			continue
		}
		any, w.touched = true, true
		if g := n.asgs[i].g; g != w.own {
			n.edits().dropped = append(n.edits().dropped, g)
		}
	}
	n.asgs = kept
	return any
}

// remove drops everything at a path and below.
func (w *work) remove(n *node) {
	gone := w.drop(n, func(*asg) bool { return true })
	if live, _ := n.sum(); live || gone {
		w.clear(n)
	}
	for _, k := range n.kids {
		w.remove(k)
	}
}

// object makes a path hold an object and nothing else.
func (w *work) object(n *node) {
	marked := slices.ContainsFunc(n.asgs, func(a asg) bool { return a.val.object() })
	w.drop(n, func(a *asg) bool { return !a.val.object() })
	if live, _ := n.sum(); live || !marked {
		w.clear(n)
	}
	if !marked {
		w.set(n, asg{val: cell{cellObject}})
	}
}

// count remembers the counters as they were.
func (w *work) count(n *node) *edit {
	e := n.edits()
	if !e.counted {
		e.base, e.counted = slices.Clone(n.ctrs), true
	}
	return e
}

// clear takes away exactly the increments seen here; one of this very batch is
// taken back.
func (w *work) clear(n *node) {
	if len(n.ctrs) == 0 {
		return
	}
	e := w.count(n)
	n.ctrs = slices.DeleteFunc(n.ctrs, func(c ctr) bool {
		return c.actor == w.own.dot.Actor && c.seq == w.own.dot.Seq && !slices.ContainsFunc(e.base, func(b ctr) bool { return b.actor == c.actor })
	})
	for i := range n.ctrs {
		c := &n.ctrs[i]
		if c.actor == w.own.dot.Actor && c.seq == w.own.dot.Seq {
			j := slices.IndexFunc(e.base, func(b ctr) bool { return b.actor == c.actor })
			*c = e.base[j]
		}
		c.clear(c.seq, c.total)
	}
	if len(n.ctrs) > 0 {
		e.cleared, w.touched = true, true
	}
}

// increment adds to the counter at a path. A total that was cleared goes on from
// where it was cleared.
func (w *work) increment(n *node, by int64) error {
	w.count(n)
	c := n.ctr(&w.own.dot.Actor)
	from := c.total
	if !c.live() {
		from = c.totalCl
	}
	sum := from.add(totalOf(by))
	if !sum.bounded() {
		return fmt.Errorf("the counter is at its limit")
	}
	c.seq, c.total = w.own.dot.Seq, sum
	w.touched = true
	return nil
}

// touch makes the commit's own dot the only life dot.
func (w *work) touch(alive bool) {
	for _, g := range w.groups {
		if g.life != 0 {
			w.lost, w.lostLife = append(w.lost, g), append(w.lostLife, g.life)
			g.life = 0
		}
	}
	n := min(w.baseLife+1, maxLife-1)
	if w.own.life = n; !alive {
		w.own.life = -n
	}
	w.touched = true
}

func (w *work) touchIfChanged() {
	if w.touched || !w.visible() || w.dead() {
		w.touch(true)
	}
}

// visible reports that the document is there, in the base or by this commit.
func (w *work) visible() bool { return w.own.life > 0 || w.alive() }

// patch applies an RFC 7396 merge patch with {"$inc": n} for counters.
func (w *work) patch(doc map[string]any) error {
	if !w.visible() {
		w.purgeFields()
	}
	if err := w.merge(&w.root, doc, nil); err != nil {
		return err
	}
	w.touchIfChanged()
	return nil
}

func (w *work) purgeFields() {
	for _, k := range w.root.kids {
		w.remove(k)
	}
}

func (w *work) merge(n *node, patch map[string]any, path []string) error {
	for _, k := range sortedKeys(patch) {
		if len(path) == 0 && (k == keyID || k == keyRev) {
			continue
		}
		sub := append(path, k)
		if err := checkKey(k, sub); err != nil {
			return err
		}
		if err := w.mergeKey(n, k, patch[k], sub); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) mergeKey(n *node, k string, v any, path []string) error {
	if v == nil {
		if kid := n.find(k); kid != nil {
			w.remove(kid)
		}
		return nil
	}
	m, ok := object(v)
	if !ok {
		return w.assign(n.child(k), v, path)
	}
	if inc, ok := m[keyInc]; ok {
		return w.inc(n.child(k), m, inc, path)
	}
	if len(path)+1 > MaxDepth {
		return badDoc(path, "nested deeper than %d", MaxDepth)
	}
	kid := n.child(k)
	v0 := viewer{stores: w.stores}
	if s := v0.node(kid); !s.present || !s.object {
		w.remove(kid)
	}
	w.object(kid)
	return w.merge(kid, m, path)
}

func (w *work) inc(n *node, m map[string]any, by any, path []string) error {
	if len(m) != 1 {
		return badDoc(path, "%s stands alone: {%q: 1}", keyInc, keyInc)
	}
	b, err := appendNumber(nil, by, path)
	if err != nil || b[0] >= cborF16 || b[0] == 0 {
		return badDoc(path, "%s takes an integer other than 0", keyInc)
	}
	v := viewer{stores: w.stores}
	if s := v.node(n); s.present && !s.number {
		return badDoc(path, "%s on a value that is not a number", keyInc)
	}
	r := reader{b: b}
	if err := w.increment(n, r.int()); err != nil {
		return badDoc(path, "%v", err)
	}
	return nil
}

// del hides the document.
func (w *work) del() error {
	if !w.visible() {
		return ErrNotFound
	}
	w.touch(false)
	return nil
}

// purge drops everything seen.
func (w *work) purge() {
	w.purgeFields()
	for _, g := range w.groups {
		if g.life != 0 {
			w.lost, w.lostLife = append(w.lost, g), append(w.lostLife, g.life)
			g.life, w.touched = 0, true
		}
	}
	if w.own.life != 0 {
		w.own.life, w.touched = 0, true
	}
}

// restore brings a deleted document back: each field is asserted again under the
// commit's dot with its original stamp, so that a concurrent purge does not take
// it and an unseen edit still shows.
func (w *work) restore() error {
	if w.visible() {
		return ErrExists
	}
	if !w.dead() && w.own.life == 0 {
		return fmt.Errorf("%w: nothing to restore", ErrNotFound)
	}
	w.reassert(&w.root)
	w.touch(true)
	return nil
}

func (w *work) reassert(n *node) {
	for _, k := range n.kids {
		w.reassert(k)
	}
	live, sum := n.sum()
	win := winner(n)
	switch {
	case win == nil && !live:
		return
	case win == nil:
		w.clear(n)
		w.set(n, asg{val: appendInt(nil, sum.clamp())})
		return
	}
	again, s := *win, win.stamp()
	w.drop(n, func(a *asg) bool { return a.g == again.g })
	if live && again.val.number() {
		again.val = slices.Clone(w.reads(&again, live, sum))
		w.clear(n)
	}
	again.orig = &s
	w.set(n, again)
}

// bulk estimates the size of the document from above.
func (n *node) bulk() (size int) {
	size = len(n.key) + 12
	for i := range n.asgs {
		if c := n.asgs[i].val; c.ref() && !c.file() {
			size += int(min(c.parseRef().size, math.MaxInt32))
		} else if size += len(c); c.file() {
			size += 64 // what it shows beside what is kept
		}
	}
	for _, k := range n.kids {
		size += k.bulk()
	}
	return size
}
