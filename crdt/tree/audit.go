package tree

import (
	"bytes"
	"context"
	"fmt"
	"iter"
)

// ErrShape is returned by Audit for a tree whose nodes do not end where their keys
// say. It is malformed as well.
var ErrShape = fmt.Errorf("%w: not the tree of its entries", ErrMalformed)

// Audit returns all entries in order, as Range does, and checks on the way that the
// tree is the one and only tree of these entries. A breach ends it with an error;
// entries that came before have been seen by then, so act on none of them before
// the end. One pass over a fetched tree so gives the entries for a digest and the
// certainty that equal roots will mean equal entries.
//
// Every node has already been held against its bounds, its own keys, its hash and
// its parent as it was loaded. What is left is whether each node ends where it
// should. With the cuts of a level in order, and their hashes:
//
//	    cut 3        cut 7        cut 5
//	… a ┃  b  c  d   ┃  e  f      ┃ …
//
// every item inside a run must come later than both cuts at its ends (b, c, d > 7),
// and a cut that comes later than both of its neighbours (7 > 3, 7 > 5) must keep
// apart what weighs too much (b…f). All other cuts follow from these.
func (t *Tree) Audit(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		a := audit{g: t.g, yield: yield, levels: make([]levelAudit, t.root.sub.level+1)}
		if t.root.sub.count == 0 {
			return
		}
		ok := a.visit(ctx, t.root)
		for l := 0; ok && l < len(a.levels); l++ {
			ok = a.report(a.levels[l].settle(l, nil))
		}
	}
}

type audit struct {
	g      *Grove
	yield  func(Entry, error) bool
	levels []levelAudit
	last   []byte // key of the last entry
}

// report yields an error, if there is one, and says whether to go on.
func (a *audit) report(err error) bool {
	if err != nil {
		a.yield(Entry{}, fmt.Errorf("audit: %w", err))
	}
	return err == nil
}

// visit audits what is below an item, and then the node itself as a run of its level.
func (a *audit) visit(ctx context.Context, it *item) bool {
	n, err := a.g.load(ctx, it)
	if err != nil {
		return a.report(err)
	}
	for _, below := range n.items {
		if below.sub == nil {
			if bytes.Compare(below.key, a.last) <= 0 {
				return a.report(fmt.Errorf("%w: key %.80q after %.80q", ErrShape, below.key, a.last))
			}
			if a.last = below.key; !a.yield(below.entry(), nil) {
				return false
			}
			continue
		}
		if !a.visit(ctx, below) || !a.report(a.alone(below, n.level)) {
			return false
		}
	}
	return a.report(a.levels[n.level].add(n.level, n.items))
}

// alone notes a child as a run of its own at the levels between its own and the
// one where it stands.
func (a *audit) alone(it *item, level int) error {
	for l := it.sub.level + 1; l < level; l++ {
		if err := a.levels[l].add(l, []*item{a.g.shape.stand(it, l)}); err != nil {
			return err
		}
	}
	return nil
}

// levelAudit remembers of one level the last two runs and the cut before them.
type levelAudit struct {
	before *item // the cut before the run before last; nil: none
	runs   []ran
}

type ran struct {
	last   *item
	least  *item // of those inside; nil: there are none
	weight int
}

// add notes the next run of the level.
func (l *levelAudit) add(level int, items []*item) error {
	n := len(items) - 1
	r := ran{last: &item{key: items[n].key, h: items[n].h}, weight: weigh(items)}
	for _, it := range items[:n] {
		if r.least == nil || it.less(r.least) {
			r.least = &item{key: it.key, h: it.h}
		}
	}
	if err := l.settle(level, &r); err != nil {
		return err
	}
	if l.runs = append(l.runs, r); len(l.runs) > 2 {
		l.before = l.runs[0].last
		l.runs = l.runs[1:]
	}
	return nil
}

// settle checks what the next run (nil: the level ends) makes certain: the run
// before it, and the cut between that and the one before.
func (l *levelAudit) settle(level int, next *ran) error {
	k := len(l.runs)
	if k == 0 {
		return nil
	}
	run, left := l.runs[k-1], l.before
	var right *item
	if next != nil {
		right = run.last
	}
	if k == 2 {
		left = l.runs[0].last
	}
	if in := run.least; in != nil && (left != nil && in.less(left) || right != nil && in.less(right)) {
		return fmt.Errorf("%w: level %d should end after key %.80q", ErrShape, level, in.key)
	}
	if k == 2 && joins(level, l.before, left, right, l.runs[0].weight, run.weight) {
		return fmt.Errorf("%w: level %d should not end after key %.80q", ErrShape, level, left.key)
	}
	return nil
}
