package tree

import (
	"context"
	"slices"
)

// cursor stands on a run of one level of a tree. A run is a node of that level, or
// a lower node that makes up a run alone and so stands directly in a higher one:
//
//	level 2            [ ·        ·    · ]
//	level 1      [ a b c ]   d   [ e f ]       runs of level 1: [a b c], [d], [e f]
//	level 0        ▪ ▪ ▪     ▪     ▪ ▪         runs of level 0: what is in a, b, c …
//
// Cursors are values: moving one returns another.
type cursor struct {
	g     *Grove
	level int
	path  []step // from above the root down to the item that stands for the run
}

type step struct {
	n *node
	i int
}

func (s step) item() *item { return s.n.items[s.i] }

// seek returns the run of a level in which key is or would be: the first that ends
// at or after it, else the last one. The level is at most that of the root.
func (t *Tree) seek(ctx context.Context, level int, key []byte) (cursor, error) {
	c := cursor{t.g, level, []step{{&node{items: []*item{t.root}}, 0}}}
	err := c.down(ctx, func(n *node) int { return min(n.find(key), len(n.items)-1) })
	return c, err
}

// down goes on to a run of the cursor's level.
func (c *cursor) down(ctx context.Context, choose func(*node) int) error {
	for c.item().sub.level > c.level {
		n, err := c.g.load(ctx, c.item())
		if err != nil {
			return err
		}
		c.path = append(c.path, step{n, choose(n)})
	}
	return nil
}

// item stands for the run in the level above.
func (c cursor) item() *item { return c.path[len(c.path)-1].item() }

// key is the last key of the run.
func (c cursor) key() []byte { return c.item().key }

// run returns the items of the run.
func (c cursor) run(ctx context.Context) ([]*item, error) {
	it := c.item()
	if it.sub.level < c.level {
		return []*item{c.g.shape.stand(it, c.level)}, nil
	}
	n, err := c.g.load(ctx, it)
	if err != nil {
		return nil, err
	}
	return n.items, nil
}

// next returns the run after this one; ok is false at the end.
func (c cursor) next(ctx context.Context) (after cursor, ok bool, err error) {
	return c.move(ctx, 1, func(*node) int { return 0 })
}

// prev returns the run before this one; ok is false at the start.
func (c cursor) prev(ctx context.Context) (before cursor, ok bool, err error) {
	return c.move(ctx, -1, func(n *node) int { return len(n.items) - 1 })
}

func (c cursor) move(ctx context.Context, by int, enter func(*node) int) (cursor, bool, error) {
	for d := len(c.path) - 1; d >= 0; d-- {
		s := c.path[d]
		if i := s.i + by; i >= 0 && i < len(s.n.items) {
			c.path = append(slices.Clone(c.path[:d]), step{s.n, i})
			return c, true, c.down(ctx, enter)
		}
	}
	return cursor{}, false, nil
}
