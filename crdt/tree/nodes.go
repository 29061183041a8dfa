package tree

import (
	"context"
	"iter"
)

// Nodes yields the stored nodes of a clean tree, parents first, and yields no node
// twice that stands in one place. Leaves are named and not loaded: what a store needs
// to keep a tree costs its inner nodes. An error ends it.
func (t *Tree) Nodes(ctx context.Context) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		if t.root.sub.node == nil {
			t.g.nodes(ctx, t.root, yield)
		}
	}
}

func (g *Grove) nodes(ctx context.Context, it *item, yield func(Ref, error) bool) bool {
	if !yield(it.sub.ref, nil) {
		return false
	}
	if it.sub.level == 0 {
		return true
	}
	n, err := g.load(ctx, it)
	if err != nil {
		yield(Ref{}, err)
		return false
	}
	for _, below := range n.items {
		if !g.nodes(ctx, below, yield) {
			return false
		}
	}
	return true
}
