package tree

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// edit puts an item into a level, or takes the one with its key away.
type edit struct {
	key  []byte
	item *item // nil: take away
}

// Apply returns the tree with the edits made. Of edits with one key the last
// counts; to delete what is not there, or to put what is there, changes nothing.
// It reads and makes only nodes on the way to what changes and, where a cut moves,
// their neighbours. On an error t is the only tree, as it was.
//
// Every level is done the same way. The runs a level's edits fall into are cut
// anew; what changed of them is the next level's edits:
//
//	level 0   put k          run [e g m] → [e g k] [m]
//	level 1   replace m, put k     (children are known by their last key)
//	…until one item is left: the root.
func (t *Tree) Apply(ctx context.Context, edits []Edit) (*Tree, error) {
	todo, err := t.g.prepare(edits)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	if t.root.sub.count == 0 {
		items, _ := change(nil, todo)
		if len(items) == 0 {
			return t, nil
		}
		return t.g.crown(0, items)
	}
	level := 0
	for ; level <= t.root.sub.level && len(todo) > 0; level++ {
		if todo, err = t.rebuild(ctx, level, todo); err != nil {
			return nil, fmt.Errorf("apply: %w", err)
		}
	}
	if len(todo) == 0 {
		return t, nil
	}
	// A root stands at no level: what decides about its key here is not known yet.
	items, _ := change([]*item{t.g.shape.stand(t.root, level)}, todo)
	return t.g.crown(level, items)
}

// crown makes whole levels until one item is left, the root.
func (g *Grove) crown(level int, items []*item) (*Tree, error) {
	if len(items) == 0 {
		return g.Empty(), nil
	}
	for ; level == 0 || len(items) > 1; level++ {
		if level > MaxLevel {
			return nil, fmt.Errorf("apply: tree of more than %d levels", MaxLevel)
		}
		items = g.raise(level, items)
	}
	return &Tree{g: g, root: items[0]}, nil
}

// prepare checks and sorts what a caller gave.
func (g *Grove) prepare(edits []Edit) ([]edit, error) {
	out := make([]edit, 0, len(edits))
	for _, e := range edits {
		if err := e.check(); err != nil {
			return nil, err
		}
		if e.Delete {
			out = append(out, edit{key: e.Key})
			continue
		}
		out = append(out, edit{e.Key, newEntry(e.Entry, g.shape.at(e.Key, 0))})
	}
	slices.SortStableFunc(out, func(a, b edit) int { return bytes.Compare(a.key, b.key) })
	last := 0
	for i := range out {
		if i+1 < len(out) && bytes.Equal(out[i].key, out[i+1].key) {
			continue
		}
		out[last] = out[i]
		last++
	}
	return out[:last], nil
}

// raise turns a whole level into the one above.
func (g *Grove) raise(level int, items []*item) []*item {
	runs := split(items, cuts(level, items, nil, false))
	out := make([]*item, len(runs))
	for i, run := range runs {
		out[i] = g.lift(level, run)
	}
	return out
}

// change makes sorted edits in a sorted run. It also returns what was put in whose
// key was not there before.
func change(items []*item, edits []edit) (out, fresh []*item) {
	out = make([]*item, 0, len(items)+len(edits))
	for len(items) > 0 || len(edits) > 0 {
		c := -1
		switch {
		case len(items) == 0:
			c = 1
		case len(edits) > 0:
			c = bytes.Compare(items[0].key, edits[0].key)
		}
		if c < 0 {
			out, items = append(out, items[0]), items[1:]
			continue
		}
		e := edits[0]
		edits = edits[1:]
		if e.item != nil {
			out = append(out, e.item)
			if c > 0 {
				fresh = append(fresh, e.item)
			}
		}
		if c == 0 {
			items = items[1:]
		}
	}
	return out, fresh
}

// rebuild makes the edits of one level, and returns those of the next.
func (t *Tree) rebuild(ctx context.Context, level int, edits []edit) ([]edit, error) {
	p := pass{tree: t, level: level, edits: edits}
	for len(p.edits) > 0 {
		if err := p.region(ctx); err != nil {
			return nil, err
		}
	}
	var out []edit
	for _, s := range p.done {
		out = s.changes(t.g, level, out)
	}
	return out, nil
}

// changes appends what a stretch means for the level above.
func (s *stretch) changes(g *Grove, level int, out []edit) []edit {
	olds, runs := s.olds, s.runs
	for len(olds) > 0 || len(runs) > 0 {
		c := -1
		switch {
		case len(olds) == 0:
			c = 1
		case len(runs) > 0:
			c = bytes.Compare(olds[0].key, lastKey(runs[0]))
		}
		switch {
		case c < 0:
			out = append(out, edit{key: olds[0].key})
		case c > 0 || !sameItems(olds[0].items, runs[0]):
			it := g.lift(level, runs[0])
			out = append(out, edit{it.key, it})
		}
		if c <= 0 {
			olds = olds[1:]
		}
		if c >= 0 {
			runs = runs[1:]
		}
	}
	return out
}

func lastKey(run []*item) []byte { return run[len(run)-1].key }
