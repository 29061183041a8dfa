package tree

import (
	"bytes"
	"context"
	"slices"
)

// pass rebuilds one level of a tree, from left to right. It takes old runs in, and
// collects them with the new runs that replace them in stretches without a gap.
type pass struct {
	tree  *Tree
	level int
	edits []edit // still to be made
	done  []*stretch
}

// stretch is a series of neighbouring old runs and what became of them. The run
// before it is an old one that stays, and so is the run after it.
type stretch struct {
	from, to cursor // the first and the last old run
	olds     []oldRun
	runs     [][]*item
}

type oldRun struct {
	key   []byte
	items []*item
}

// region is what the pass works on: some last old runs of the last stretch, with
// the edits made, to be cut anew as one sequence.
type region struct {
	*pass
	s     *stretch
	items []*item
	fresh []*item // that no old run held
	took  int     // old runs taken in
	last  bool    // nothing comes after
	edge  []byte  // last key of the last old run
}

// region settles the run of the next edit. Runs on either side are taken in as
// long as the cut between must go, which in an honest tree is seldom and in any
// tree ends after a node's weight.
func (p *pass) region(ctx context.Context) error {
	c, err := p.tree.seek(ctx, p.level, p.edits[0].key)
	if err != nil {
		return err
	}
	r := region{pass: p}
	if err := r.begin(ctx, c); err != nil {
		return err
	}
	for {
		more, err := r.grow(ctx)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// begin takes the first old run in; a stretch goes on if it ended just before.
func (r *region) begin(ctx context.Context, c cursor) error {
	before, ok, err := c.prev(ctx)
	if err != nil {
		return err
	}
	if n := len(r.done); ok && n > 0 && bytes.Equal(r.done[n-1].to.key(), before.key()) {
		r.s = r.done[n-1]
	} else {
		r.s = &stretch{from: c}
		r.done = append(r.done, r.s)
	}
	return r.take(ctx, c)
}

// take appends an old run, with its edits made.
func (r *region) take(ctx context.Context, c cursor) error {
	items, err := c.run(ctx)
	if err != nil {
		return err
	}
	_, ok, err := c.next(ctx)
	if err != nil {
		return err
	}
	r.last, r.edge = !ok, c.key()
	n := len(r.edits)
	if !r.last {
		n, _ = slices.BinarySearchFunc(r.edits, edit{key: r.edge}, func(e, edge edit) int {
			if bytes.Compare(e.key, edge.key) <= 0 {
				return -1
			}
			return 1
		})
	}
	changed, fresh := change(items, r.edits[:n])
	r.edits = r.edits[n:]
	r.items, r.fresh = append(r.items, changed...), append(r.fresh, fresh...)
	r.s.to = c
	r.s.olds = append(r.s.olds, oldRun{r.edge, items})
	r.took++
	return nil
}

// grow cuts the region and is done, or takes a neighbour in and asks for more.
func (r *region) grow(ctx context.Context) (more bool, err error) {
	n := len(r.items)
	if !r.last && (n == 0 || !bytes.Equal(lastKey(r.items), r.edge)) {
		return true, r.takeRight(ctx) // the cut at its end is gone
	}
	same := r.sameEnds()
	if same && len(r.fresh) == 0 {
		r.s.runs = append(r.s.runs, r.items)
		return false, nil
	}
	left, err := r.left(ctx)
	switch {
	case err != nil:
		return false, err
	case n == 0 && left.cut == nil:
		return false, nil // nothing is left of the whole level
	case n == 0:
		return true, r.takeLeft(ctx, left)
	case same && !slices.ContainsFunc(r.fresh, func(it *item) bool { return r.isCut(it, left.cut) }):
		r.s.runs = append(r.s.runs, r.items)
		return false, nil
	}
	runs := split(r.items, cuts(r.level, r.items, left.cut, !r.last))
	if yes, err := r.joinsLeft(ctx, left, runs); err != nil {
		return false, err
	} else if yes {
		return true, r.takeLeft(ctx, left)
	}
	if yes, err := r.joinsRight(ctx, left, runs); err != nil {
		return false, err
	} else if yes {
		return true, r.takeRight(ctx)
	}
	r.s.runs = append(r.s.runs, runs...)
	return false, nil
}

// sameEnds reports that the region is one old run that ends where it did, did not
// get lighter, and is not too heavy: no old cut can go, and only what is fresh can
// be a new one.
func (r *region) sameEnds() bool {
	if r.took > 1 || len(r.items) == 0 || !bytes.Equal(lastKey(r.items), r.edge) {
		return false
	}
	sum := weigh(r.items)
	return sum >= weigh(r.s.olds[len(r.s.olds)-1].items) && (sum <= bound(r.level) || len(r.items) == 1)
}

// isCut reports whether an item inside a run that is light enough is a cut all
// the same: by itself, or because it comes before those at the run's ends.
func (r *region) isCut(it, left *item) bool {
	return ends(r.level, it.h) || left != nil && it.less(left) || !r.last && it.less(r.items[len(r.items)-1])
}

// border is what stands left of a region.
type border struct {
	cut    *item // the last item of the run before; nil: there is none
	before *item // the last item of the run before that; nil: there is none
	old    cursor
	isNew  bool // the run before is the last new one of the stretch, else old stands on it
}

// mark is an item that is known by its key alone.
func (r *region) mark(key []byte) *item {
	return &item{key: key, h: r.tree.g.shape.at(key, r.level)}
}

func (r *region) left(ctx context.Context) (b border, err error) {
	n := len(r.s.runs)
	if b.isNew = n > 0; b.isNew {
		b.cut = r.s.runs[n-1][len(r.s.runs[n-1])-1]
		if n > 1 {
			b.before = r.s.runs[n-2][len(r.s.runs[n-2])-1]
			return b, nil
		}
	}
	old, ok, err := r.s.from.prev(ctx)
	if err != nil || !ok {
		return b, err
	}
	if b.isNew {
		b.before = r.mark(old.key())
		return b, nil
	}
	b.cut, b.old = r.mark(old.key()), old
	if old, ok, err = old.prev(ctx); err != nil || !ok {
		return b, err
	}
	b.before = r.mark(old.key())
	return b, nil
}

// joinsLeft reports whether the cut before the region must go.
func (r *region) joinsLeft(ctx context.Context, b border, runs [][]*item) (bool, error) {
	if b.cut == nil {
		return false, nil
	}
	var after *item
	if len(runs) > 1 || !r.last {
		after = runs[0][len(runs[0])-1]
	}
	mine := weigh(runs[0])
	if !joins(r.level, b.before, b.cut, after, 0, mine) {
		return false, nil
	}
	items, err := r.beforeIt(ctx, b)
	return err == nil && joins(r.level, b.before, b.cut, after, weigh(items), mine), err
}

// joinsRight reports whether the cut at the end of the region must go.
func (r *region) joinsRight(ctx context.Context, b border, runs [][]*item) (bool, error) {
	if r.last {
		return false, nil
	}
	n := len(runs) - 1
	if n > 0 {
		b.cut = runs[n-1][len(runs[n-1])-1]
	}
	cut, mine := runs[n][len(runs[n])-1], weigh(runs[n])
	next, _, err := r.s.to.next(ctx)
	if err != nil {
		return false, err
	}
	_, more, err := next.next(ctx)
	if err != nil {
		return false, err
	}
	var after *item
	if more {
		after = r.mark(next.key())
	}
	if !joins(r.level, b.cut, cut, after, mine, 0) {
		return false, nil
	}
	items, err := next.run(ctx)
	return err == nil && joins(r.level, b.cut, cut, after, mine, weigh(items)), err
}

// beforeIt returns the run before the region.
func (r *region) beforeIt(ctx context.Context, b border) ([]*item, error) {
	if b.isNew {
		return r.s.runs[len(r.s.runs)-1], nil
	}
	return b.old.run(ctx)
}

func (r *region) takeRight(ctx context.Context) error {
	next, _, err := r.s.to.next(ctx)
	if err != nil {
		return err
	}
	return r.take(ctx, next)
}

// takeLeft puts the run before the region in front of it.
func (r *region) takeLeft(ctx context.Context, b border) error {
	items, err := r.beforeIt(ctx, b)
	if err != nil {
		return err
	}
	r.items = slices.Concat(items, r.items)
	r.took++
	if b.isNew {
		r.s.runs = r.s.runs[:len(r.s.runs)-1]
		return nil
	}
	r.s.from = b.old
	r.s.olds = slices.Insert(r.s.olds, 0, oldRun{b.old.key(), items})
	return r.closeGap(ctx)
}

// closeGap unites the stretch with the one before if no run is left between them.
func (r *region) closeGap(ctx context.Context) error {
	before, ok, err := r.s.from.prev(ctx)
	n := len(r.done)
	if err != nil || !ok || n < 2 || !bytes.Equal(r.done[n-2].to.key(), before.key()) {
		return err
	}
	s := r.done[n-2]
	s.to, s.olds, s.runs = r.s.to, append(s.olds, r.s.olds...), append(s.runs, r.s.runs...)
	r.s, r.done = s, r.done[:n-1]
	return nil
}
