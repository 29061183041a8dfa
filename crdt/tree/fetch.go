package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
)

// Fetch walks a tree that is not here yet, breadth first, and says which nodes are
// missing. It does no fetching itself:
//
//	f := g.Fetch(root)
//	for !f.Done() {
//		refs, err := f.Next(ctx, 64)       // what to ask for: many at once
//		… for each that arrives: put it into the store, then
//		err = f.Add(ref, plain, links)     // held against its hash and its parent
//		… for each that failed: f.Again(ref)
//	}
//	t, err := g.Open(ctx, root)                // then t.Audit before it counts
//
// Nodes that the store holds already are not asked for, only what is below them. So
// a fetch that was broken off goes on where it was, and one of a tree that shares
// most nodes with another costs the difference.
//
// A Fetch is not safe for concurrent use. It remembers what it still has to ask
// for: some 300 bytes for each child of a node it was given.
type Fetch struct {
	g     *Grove
	queue []want       // to be looked for, those near the root first
	out   map[Ref]want // asked for, not there yet
	have  int
}

// want is a node that the tree needs: what its parent says of it, and the key that
// all of its keys must exceed.
type want struct {
	*item
	after []byte
}

// Fetch starts the fetch of the tree with the given root.
func (g *Grove) Fetch(root Ref) *Fetch {
	return &Fetch{g: g, out: map[Ref]want{}, queue: []want{{item: &item{sub: &child{ref: root, level: -1}}}}}
}

// Done reports that the whole tree is there.
func (f *Fetch) Done() bool { return len(f.queue) == 0 && len(f.out) == 0 }

// Progress returns how many nodes are there, and how many are known to be needed
// still. The second can grow until the lowest inner nodes are there.
func (f *Fetch) Progress() (have, missing int) { return f.have, len(f.queue) + len(f.out) }

// Next returns up to n nodes to ask for, none twice. It returns none if all that is
// known to be missing has been asked for.
func (f *Fetch) Next(ctx context.Context, n int) ([]Ref, error) {
	var refs []Ref
	for len(refs) < n && len(f.queue) > 0 {
		w := f.queue[0]
		if _, twice := f.out[w.sub.ref]; twice {
			return refs, malformed("fetch: node %s in two places", w.sub.ref.ID)
		}
		// Not from the cache: that may have an equal node under another ID.
		found, err := f.g.stored(ctx, w.sub.ref)
		switch {
		case errors.Is(err, ErrMissing):
			f.out[w.sub.ref] = w
			refs = append(refs, w.sub.ref)
		case err != nil:
			return refs, fmt.Errorf("fetch: %w", err)
		default:
			if err := f.arrived(w, found); err != nil {
				return refs, err
			}
		}
		f.queue = f.queue[1:]
	}
	return refs, nil
}

// Add takes a node that was asked for. An error means that whoever made the tree
// made it wrong, or that the caller was handed other bytes than it asked for: then
// Again lets it ask somebody else.
func (f *Fetch) Add(ref Ref, plain []byte, links []block.ID) error {
	w, ok := f.out[ref]
	if !ok {
		return fmt.Errorf("fetch: node %s was not asked for", ref.ID)
	}
	n, err := f.g.read(ref, plain, links)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if err := f.arrived(w, n); err != nil {
		return err
	}
	delete(f.out, ref)
	return nil
}

// Again lets Next return a node once more that was asked for and did not come.
func (f *Fetch) Again(ref Ref) {
	if w, ok := f.out[ref]; ok {
		delete(f.out, ref)
		f.queue = append(f.queue, w)
	}
}

// arrived queues what is below a node.
func (f *Fetch) arrived(w want, n *node) error {
	if w.sub.level >= 0 { // of the root nothing is known
		if err := w.claims(n); err != nil {
			return fmt.Errorf("fetch: node %s: %w", w.sub.ref.ID, err)
		}
		if bytes.Compare(n.items[0].key, w.after) <= 0 {
			return malformed("fetch: node %s begins before the one in front of it ends", w.sub.ref.ID)
		}
	}
	f.have++
	if n.level == 0 {
		return nil
	}
	after := w.after
	for _, it := range n.items {
		f.queue = append(f.queue, want{it, after})
		after = it.key
	}
	return nil
}
