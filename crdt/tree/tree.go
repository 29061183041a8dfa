package tree

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/toftdb/toft/block"
)

// Tree is one state of a map from keys to values. It never changes: Apply and
// Flush return another tree, which shares with this one all nodes that are equal.
// It is safe for concurrent use.
type Tree struct {
	g    *Grove
	root *item
}

// Count is the number of entries.
func (t *Tree) Count() int { return int(t.root.sub.count) }

// Dirty is what Flush would have to write. Its memory is not bounded by the cache:
// flush when it grows.
func (t *Tree) Dirty() Amount {
	if n := t.root.sub.node; n != nil {
		return n.dirty
	}
	return Amount{}
}

// Root names the tree; ok is false as long as it is dirty. Equal entries have equal
// root hashes, and different ones different hashes.
func (t *Tree) Root() (root Ref, ok bool) { return t.root.sub.ref, t.root.sub.node == nil }

// Get returns the entry of a key. The entry is part of the tree: it must not be
// changed.
func (t *Tree) Get(ctx context.Context, key []byte) (e Entry, found bool, err error) {
	it := t.root
	for it.sub != nil {
		n, err := t.g.load(ctx, it)
		if err != nil {
			return Entry{}, false, fmt.Errorf("get: %w", err)
		}
		i := n.find(key)
		if i == len(n.items) {
			return Entry{}, false, nil
		}
		it = n.items[i]
	}
	if !bytes.Equal(it.key, key) {
		return Entry{}, false, nil
	}
	return it.entry(), true, nil
}

// Span is a part of the key order. The zero Span is everything.
type Span struct {
	From, To []byte // nil: no bound. From is in the span, To is not
	After    bool   // leave From out
	Through  bool   // take To in
	Desc     bool   // from the last key to the first
}

// passed reports that the span ends before key.
func (s Span) passed(key []byte) bool {
	c := bytes.Compare(key, s.To)
	return s.To != nil && (c > 0 || c == 0 && !s.Through)
}

// ahead reports that the span begins after key.
func (s Span) ahead(key []byte) bool {
	c := bytes.Compare(key, s.From)
	return s.From != nil && (c < 0 || c == 0 && s.After)
}

// Range returns the entries of a span in order. An error ends it.
func (t *Tree) Range(ctx context.Context, s Span) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if t.root.sub.count > 0 {
			t.g.walk(ctx, nil, t.root, s, yield)
		}
	}
}

// walk yields what of the span lies at or below an item, all keys of which are
// greater than after, and reports whether to go on.
func (g *Grove) walk(ctx context.Context, after []byte, it *item, s Span, yield func(Entry, error) bool) bool {
	if s.ahead(it.key) {
		return true
	}
	if it.sub == nil {
		return s.passed(it.key) || yield(it.entry(), nil)
	}
	if s.To != nil && bytes.Compare(after, s.To) >= 0 {
		return true
	}
	n, err := g.load(ctx, it)
	if err != nil {
		yield(Entry{}, fmt.Errorf("range: %w", err))
		return false
	}
	for i := range n.items {
		if s.Desc {
			i = len(n.items) - 1 - i
		}
		from := after
		if i > 0 {
			from = n.items[i-1].key
		}
		if !g.walk(ctx, from, n.items[i], s, yield) {
			return false
		}
	}
	return true
}

// Flush stores every node that is not stored yet, children first, and returns the
// same tree, clean. A node is encoded, hashed and sealed here and nowhere else, so
// a key that was written a hundred times since the last flush costs one node. On
// an error t stays as it was; what was saved is saved.
func (t *Tree) Flush(ctx context.Context) (*Tree, error) {
	root, err := t.g.flush(ctx, t.root)
	if err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	return &Tree{g: t.g, root: root}, nil
}

func (g *Grove) flush(ctx context.Context, it *item) (*item, error) {
	if it.sub == nil || it.sub.node == nil {
		return it, nil
	}
	n := *it.sub.node
	n.items = slices.Clone(n.items)
	for i, below := range n.items {
		clean, err := g.flush(ctx, below)
		if err != nil {
			return nil, err
		}
		n.items[i] = clean
	}
	ref, err := g.save(ctx, &n)
	if err != nil {
		return nil, err
	}
	clean, sub := *it, *it.sub
	sub.ref, sub.node = ref, nil
	clean.sub = &sub
	return &clean, nil
}

func (g *Grove) save(ctx context.Context, n *node) (Ref, error) {
	plain, links := encode(n)
	ref := Ref{Hash: g.nodeHash(plain)}
	// Reading it first makes sure that nothing is ever written that cannot be read;
	// and the node so made lies in one piece, without the buffers it grew from.
	again, err := decode(g.shape, plain, links)
	if err != nil {
		return Ref{}, fmt.Errorf("refused to save: %w", err)
	}
	if ref.ID, err = g.store.Save(ctx, Node{Hash: ref.Hash, Plain: plain, Links: links}); err != nil {
		return Ref{}, fmt.Errorf("save node %x: %w", ref.Hash[:8], err)
	}
	g.counters.saved.Add(1)
	g.counters.savedBytes.Add(uint64(len(plain)))
	g.cache.put(ref.Hash, again)
	return ref, nil
}

// Put is the edit that sets a key.
func Put(key, value []byte, links ...block.ID) Edit {
	return Edit{Entry: Entry{Key: key, Value: value, Links: links}}
}

// Delete is the edit that takes a key away.
func Delete(key []byte) Edit { return Edit{Entry: Entry{Key: key}, Delete: true} }

// Edit is one change of a tree. The tree keeps its slices.
type Edit struct {
	Entry
	Delete bool
}

func (e Edit) check() error {
	switch {
	case len(e.Key) == 0 || len(e.Key) > MaxKey:
		return fmt.Errorf("key of %d bytes: 1 to %d are allowed", len(e.Key), MaxKey)
	case len(e.Value) > MaxValue:
		return fmt.Errorf("value of %d bytes at key %.40q: at most %d; keep it in a block and link to it", len(e.Value), e.Key, MaxValue)
	case len(e.Links) > MaxLinks:
		return fmt.Errorf("%d links at key %.40q: at most %d", len(e.Links), e.Key, MaxLinks)
	}
	return nil
}
