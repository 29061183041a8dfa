package ledger

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// DocDiff says how a document reads differently at two points.
type DocDiff struct {
	ID       string
	From, To string     // revisions; empty: not there
	Added    bool       // it was not there at the first point
	Patch    crdt.Doc   // RFC 7396, from the one to the other; nil: it is not there at the second
	Nulls    [][]string // paths that are null at the second point, which a patch cannot say
}

// Diff returns the documents that read differently at two points, in the order of
// their ids; with an id, that document only.
func (d *Database) Diff(ctx context.Context, id string, a, b Point) ([]DocDiff, error) {
	ids := []string{id}
	if id == "" {
		var err error
		if ids, err = d.touchedBetween(ctx, a, b); err != nil {
			return nil, err
		}
	}
	before, err := d.docsAt(ctx, a, ids)
	if err != nil {
		return nil, err
	}
	after, err := d.docsAt(ctx, b, ids)
	if err != nil {
		return nil, err
	}
	var out []DocDiff
	for _, id := range ids {
		if x, ok := diffDocs(id, before[id], after[id]); ok {
			out = append(out, x)
		}
	}
	return out, nil
}

// Compare is Diff between what two texts name: points, or, of one document, revisions
// of it too.
func (d *Database) Compare(ctx context.Context, id, from, to string) ([]DocDiff, error) {
	if id != "" && (revision.MatchString(from) || revision.MatchString(to)) {
		before, err := d.DocAt(ctx, id, from)
		if err != nil {
			return nil, err
		}
		after, err := d.DocAt(ctx, id, to)
		if err != nil {
			return nil, err
		}
		if x, ok := diffDocs(id, before, after); ok {
			return []DocDiff{x}, nil
		}
		return nil, nil
	}
	a, err := d.Point(from)
	if err != nil {
		return nil, err
	}
	b, err := d.Point(to)
	if err != nil {
		return nil, err
	}
	return d.Diff(ctx, id, a, b)
}

// diffDocs compares two states of a document; nil is one that is not there.
func diffDocs(id string, from, to crdt.Doc) (DocDiff, bool) {
	x := DocDiff{ID: id, Added: from == nil}
	x.From, _ = from[revKey].(string)
	x.To, _ = to[revKey].(string)
	delete(from, revKey)
	delete(to, revKey)
	if from != nil || to != nil {
		x.Patch, x.Nulls = crdt.MergePatch(from, to)
	}
	if from == nil || to == nil {
		delete(x.Patch, "_id")
		if to == nil {
			x.Patch = nil
		}
		return x, from != nil || to != nil
	}
	return x, len(x.Patch) > 0
}

// docsAt returns documents as they were at a point.
func (d *Database) docsAt(ctx context.Context, p Point, ids []string) (map[string]crdt.Doc, error) {
	out := make(map[string]crdt.Doc, len(ids))
	err := d.ViewAt(ctx, p, func(r *crdt.Replica) error {
		for _, id := range ids {
			doc, _, err := r.Get(id)
			if err != nil && !errors.Is(err, crdt.ErrNotFound) {
				return err
			}
			if err == nil {
				out[id] = doc
			}
		}
		return nil
	})
	return out, err
}

// touchedBetween returns the documents that commits touch which lie before one of
// two points and not before the other, in order: only those can differ.
func (d *Database) touchedBetween(ctx context.Context, a, b Point) ([]string, error) {
	var gone bool
	err := d.View(func(r *crdt.Replica) error { gone = d.compacted(r, a) != nil || d.compacted(r, b) != nil; return nil })
	if err != nil {
		return nil, err
	}
	if gone {
		return d.differing(ctx, a, b)
	}
	count := map[block.ID]int{}
	for _, p := range []Point{a, b} {
		set := p.set
		if set == nil {
			err := d.View(func(r *crdt.Replica) (err error) { set, err = r.Past(r.Heads()); return err })
			if err != nil {
				return nil, err
			}
		}
		for _, id := range set {
			count[id]++
		}
	}
	touched := map[string]bool{}
	for id, n := range count {
		if n == 2 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := d.read(id)
		if err != nil {
			return nil, err
		}
		for doc := range c.Touched() {
			touched[doc] = true
		}
	}
	ids := make([]string, 0, len(touched))
	for id := range touched {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// differing returns the documents whose revisions differ at two points, in order: for a
// label whose commits are gone.
func (d *Database) differing(ctx context.Context, a, b Point) (ids []string, err error) {
	revs := map[string]string{}
	for i, p := range []Point{a, b} {
		err := d.ViewAt(ctx, p, func(r *crdt.Replica) error {
			for doc, err := range r.All(crdt.Range{}) {
				if err = errors.Join(err, ctx.Err()); err != nil {
					return err
				}
				id, _ := doc["_id"].(string)
				rev, _ := doc[revKey].(string)
				if i == 1 && revs[id] == rev {
					delete(revs, id)
				} else {
					revs[id] = rev
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(revs)), nil
}
