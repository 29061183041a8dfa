package crdt

import (
	"context"
	"iter"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/wire"
)

// Hidden is a document that is kept only so that its deletion is known.
type Hidden struct{ ID, Rev string }

// Stale returns documents that were deleted at or before a time, by commits of which
// everything that is kept of the document lies in front of a place in the order of
// arrival; it looks at so many behind an id. next is where to go on, "" at the end.
func (r *Replica) Stale(place int, before wire.Time, after string, look int) (list []Hidden, next string, err error) {
	from, _ := Range{After: after}.bounds()
	err = r.docs.each(from, "", false, func(id string, rec record) (bool, error) {
		if look--; look < 0 {
			return false, nil
		}
		next = id
		k, err := rec.open(id)
		if err != nil {
			return false, err
		}
		if !k.alive && k.e.dead() && r.allBefore(k.e, place, before) {
			list = append(list, Hidden{id, r.rev(id, &k)})
		}
		return true, nil
	})
	if look >= 0 {
		next = ""
	}
	return list, next, err
}

// allBefore reports whether all that is kept of a document lies in front of a place, and
// none of it is later than a time.
func (r *Replica) allBefore(e *entry, place int, before wire.Time) bool {
	for _, g := range e.groups {
		h, ok := r.commits[r.standing(g.dot)]
		if !ok || h.index >= place || h.Time > before {
			return false
		}
	}
	return true
}

// Links yields the blocks that the documents of a stored tree refer to; a block that
// several refer to comes several times.
func (r *Replica) Links(ctx context.Context, root tree.Ref) iter.Seq2[block.ID, error] {
	return func(yield func(block.ID, error) bool) {
		t, err := r.grove.Open(ctx, root)
		if err != nil {
			yield(block.ID{}, err)
			return
		}
		for e, err := range t.Range(ctx, tree.Span{}) {
			if err != nil {
				yield(block.ID{}, err)
				return
			}
			for _, id := range e.Links {
				if !yield(id, nil) {
					return
				}
			}
		}
	}
}
