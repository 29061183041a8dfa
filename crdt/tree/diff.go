package tree

import (
	"bytes"
	"context"
	"fmt"
	"iter"
)

// Change is a key at which two trees differ. Old is nil where the first tree has
// no entry, New where the second has none.
type Change struct {
	Key      []byte
	Old, New *Entry
}

// Edit turns the old entry into the new one.
func (c Change) Edit() Edit {
	if c.New == nil {
		return Delete(c.Key)
	}
	return Edit{Entry: *c.New}
}

// Diff returns the keys at which b differs from a, in order. It opens neither of
// two subtrees with one hash, so its cost follows the difference, not the trees.
// The trees may lie in different groves if those agree in Shape and NodeHash.
func Diff(ctx context.Context, a, b *Tree) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		x, y := newFront(a), newFront(b)
		for {
			it, other := x.top(), y.top()
			if it == nil && other == nil {
				return
			}
			if ok, err := open(ctx, x, y); err != nil {
				yield(Change{}, fmt.Errorf("diff: %w", err))
				return
			} else if ok {
				continue
			}
			if c, differs := pick(x, y); differs && !yield(c, nil) {
				return
			}
		}
	}
}

// front is what of a tree is still to be compared: items in order, none opened
// before it must be.
type front struct {
	g     *Grove
	stack []*item // the next one is last
	after []byte  // everything in stack is greater
}

func newFront(t *Tree) *front {
	f := &front{g: t.g}
	if t.root.sub.count > 0 {
		f.stack = append(f.stack, t.root)
	}
	return f
}

func (f *front) top() *item {
	if len(f.stack) == 0 {
		return nil
	}
	return f.stack[len(f.stack)-1]
}

// pass leaves the next item behind.
func (f *front) pass() {
	f.after = f.top().key
	f.stack = f.stack[:len(f.stack)-1]
}

// open puts what is below the next item in its place.
func (f *front) open(ctx context.Context) error {
	n, err := f.g.load(ctx, f.top())
	if err != nil {
		return err
	}
	f.stack = f.stack[:len(f.stack)-1]
	for i := len(n.items) - 1; i >= 0; i-- {
		f.stack = append(f.stack, n.items[i])
	}
	return nil
}

// open skips or opens a subtree that is next on either side; ok is false if both
// sides have an entry next, or one has and the other ends or comes later.
func open(ctx context.Context, x, y *front) (ok bool, err error) {
	a, b := x.top(), y.top()
	switch {
	case a == nil:
		return openIf(ctx, y)
	case b == nil:
		return openIf(ctx, x)
	case a.sub != nil && b.sub != nil && a.sub.same(b.sub):
		x.pass()
		y.pass()
		return true, nil
	case bytes.Compare(a.key, y.after) <= 0:
		return openIf(ctx, x)
	case bytes.Compare(b.key, x.after) <= 0:
		return openIf(ctx, y)
	}
	// They overlap. The higher one goes first: the other may be found whole in it.
	if b.sub == nil || a.sub != nil && a.sub.level > b.sub.level {
		return openIf(ctx, x)
	}
	return openIf(ctx, y)
}

func openIf(ctx context.Context, f *front) (bool, error) {
	if f.top().sub == nil {
		return false, nil
	}
	return true, f.open(ctx)
}

// pick takes the next entry off one side, or off both if it has one key.
func pick(x, y *front) (c Change, differs bool) {
	a, b := x.top(), y.top()
	order := 0
	switch {
	case a == nil:
		order = 1
	case b == nil:
		order = -1
	default:
		order = bytes.Compare(a.key, b.key)
	}
	if order <= 0 {
		e := a.entry()
		c.Key, c.Old = a.key, &e
		x.pass()
	}
	if order >= 0 {
		e := b.entry()
		c.Key, c.New = b.key, &e
		y.pass()
	}
	return c, order != 0 || !a.same(b)
}

// Merge says what becomes of a key at which two trees differ; nil entries are
// absent, and a nil result leaves the key out. To be a join it must be commutative,
// associative and idempotent.
type Merge func(key []byte, a, b *Entry) (*Entry, error)

// joinBatch bounds the edits that Join holds at once.
const joinBatch = 4096

// Join returns a with everything merged into it that is different in b. Keys at
// which both are equal are not looked at: cost follows the difference.
func Join(ctx context.Context, a, b *Tree, merge Merge) (*Tree, error) {
	out := a
	var edits []Edit
	for c, err := range Diff(ctx, a, b) {
		if err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
		e, err := merge(c.Key, c.Old, c.New)
		if err != nil {
			return nil, fmt.Errorf("join: merge %.80q: %w", c.Key, err)
		}
		edits = append(edits, Change{Key: c.Key, New: e}.Edit())
		if len(edits) == joinBatch {
			if out, err = out.Apply(ctx, edits); err != nil {
				return nil, fmt.Errorf("join: %w", err)
			}
			edits = edits[:0]
		}
	}
	out, err := out.Apply(ctx, edits)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return out, nil
}
