package crdt

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
)

// A flush moves the state of one moment out of memory while the replica goes on:
//
//	f := r.Freeze()       the replica for itself; costs next to nothing
//	err := f.Run(ctx)     together with readers and writers: nodes are hashed and saved
//	…                     store f.Checkpoint, f.Graph, f.Rows, f.Rest in one batch
//	r.Thaw(f, err == nil) the replica for itself again
//
// What a flush has written is enough to go on from there: see [Replica.Restore].
type Flush struct {
	// Checkpoint describes the state. Team heads and time are the caller's.
	Checkpoint *Checkpoint
	// Graph is the commits since the last flush, to be kept in order behind those of
	// the flushes before; From is the place of the first in the order of arrival.
	Graph [][]byte
	From  int
	// Rows are the rows of the feed behind position Behind, since the last flush; they
	// replace whatever is kept behind it.
	Rows   []RowChunk
	Behind uint64
	// Rest is what else a replica must know; it replaces that of the last flush.
	Rest []byte

	r     *Replica
	base  *tree.Tree
	dirty *layer
	rows  []feedRow
	to    int
	pos   uint64
	stale bool // a commit of it is judged otherwise since
}

// To returns how many commits the flush stands for.
func (f *Flush) To() int { return f.to }

// Dirty says how much a flush would have to write.
type Dirty struct {
	Documents int
	Bytes     int // of memory they take
	Commits   int
	Fresh     bool // the feed was begun anew, and nothing of it is written down
}

// Dirty returns what piled up since the last flush began. Frozen reports that one is
// under way.
func (r *Replica) Dirty() (d Dirty, frozen bool) {
	l := r.docs.live
	return Dirty{len(l.records), l.bytes, len(r.order) - r.written, r.feed.fresh}, r.docs.frozen != nil
}

// errFlush: two flushes of one replica at a time.
var errFlush = errors.New("a flush is under way")

// Freeze begins a flush of the present state. It fails with [ErrHeads] if there are
// more heads than a checkpoint can name.
func (r *Replica) Freeze() (*Flush, error) {
	switch {
	case r.failed != nil:
		return nil, r.failed
	case r.docs.frozen != nil:
		return nil, errFlush
	case r.grove == nil:
		return nil, errors.New("a replica without nodes cannot be flushed")
	case len(r.heads) > block.MaxParents:
		return nil, ErrHeads
	case len(r.order) == 0:
		return nil, errors.New("there is nothing to flush yet")
	}
	f := &Flush{
		Checkpoint: r.Checkpoint(), From: r.written, Graph: r.Graph(r.written, len(r.order)), Rest: r.rest(),
		r: r, base: r.docs.base, dirty: r.docs.live, to: len(r.order), pos: r.feed.pos, Behind: r.feed.cold,
	}
	for i := range r.feed.rows {
		if row := &r.feed.rows[i]; row.pos > r.feed.cold && r.feed.last[row.id] == row.pos {
			f.rows = append(f.rows, *row)
		}
	}
	r.docs.frozen, r.docs.live = r.docs.live, newLayer()
	r.flush = f
	return f, nil
}

// Portions of a flush: so many edits are applied to the tree at once, and nodes are
// saved when so many bytes of them wait. A flush of documents all over a large tree
// touches most leaves, which must not all be in memory at the same time.
const (
	flushEdits = 1024
	flushBytes = 4 << 20
)

// Run writes the nodes of the tree and fills in what Flush tells. Nothing of it counts
// before the caller has stored the rest, so it may be broken off at any point.
func (f *Flush) Run(ctx context.Context) error {
	t, err := f.base, error(nil)
	var edits []tree.Edit
	apply := func() {
		if err == nil {
			t, err = t.Apply(ctx, edits)
		}
		if err == nil && t.Dirty().Bytes > flushBytes {
			t, err = t.Flush(ctx)
		}
		edits = nil
	}
	for id, rec := range f.dirty.walk("", "", false) {
		var e tree.Edit
		if e, err = f.r.edit(ctx, id, rec); err != nil {
			break
		}
		if edits = append(edits, e); len(edits) == flushEdits {
			if apply(); err != nil {
				break
			}
		}
	}
	if apply(); err == nil && t.Count() > 0 {
		t, err = t.Flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if uint64(t.Count()) != f.Checkpoint.Entries {
		return fmt.Errorf("flush: tree of %d entries, the state has %d", t.Count(), f.Checkpoint.Entries)
	}
	if f.base = t; t.Count() > 0 {
		root, _ := t.Root()
		f.Checkpoint.Root, f.Checkpoint.RootHash = root.ID, root.Hash
	}
	f.Rows = chunkRows(f.rows)
	return nil
}

// Thaw ends a flush. If what it told is stored, the replica lets go of it; otherwise
// everything stays in memory for the next one.
func (r *Replica) Thaw(f *Flush, stored bool) {
	frozen := r.docs.frozen
	r.docs.frozen, r.flush = nil, nil
	if stored {
		r.docs.base, r.written, r.sound = f.base, f.to, !f.stale
		if r.feed.store != nil {
			r.feed.cool(f.pos)
		}
		return
	}
	live := r.docs.live
	r.docs.live = frozen
	for id, rec := range live.walk("", "", false) {
		frozen.set(id, rec)
	}
}

// Nodes yields the nodes of a stored tree, parents first; leaves are named, not read.
func (r *Replica) Nodes(ctx context.Context, root tree.Ref) iter.Seq2[tree.Ref, error] {
	return func(yield func(tree.Ref, error) bool) {
		t, err := r.grove.Open(ctx, root)
		if err != nil {
			yield(tree.Ref{}, err)
			return
		}
		t.Nodes(ctx)(yield)
	}
}

// A document in the tree: under its id the entry, linking what its references name.
// An entry that does not fit a node is cut into pieces of [opBlockSize] bytes, each a
// value block, which the links name first; the value is then [size, keyed hash]. An
// entry is a map, so the first byte tells which.
func (r *Replica) edit(ctx context.Context, id string, rec record) (tree.Edit, error) {
	key := []byte(id)
	if rec.entry == nil {
		return tree.Delete(key), nil
	}
	if len(rec.entry) <= MaxInlineEntry {
		return tree.Put(key, rec.entry, rec.links...), nil
	}
	var links []block.ID
	for b := rec.entry; len(b) > 0; b = b[min(len(b), opBlockSize):] {
		id, err := r.nodes.SaveValue(ctx, b[:min(len(b), opBlockSize)])
		if err != nil {
			return tree.Edit{}, err
		}
		links = append(links, id)
	}
	hash := r.keys.ValueHash(rec.entry)
	value := appendBytes(appendUint(appendHead(nil, majorArray, 2), uint64(len(rec.entry))), hash[:])
	return tree.Put(key, value, append(links, rec.links...)...), nil
}

// unpack reads a document back from the tree.
func (r *Replica) unpack(e tree.Entry) (record, error) {
	links := e.Links
	if links == nil {
		links = []block.ID{} // references without a link are then noticed
	}
	n, err := pieces(e)
	if err != nil || n == 0 {
		return record{e.Value, links}, err
	}
	in := reader{b: e.Value}
	in.array(2)
	size, hash := in.uint(maxEntry), in.hash()
	entry := make([]byte, 0, min(size, opBlockSize)) // grows as pieces come
	for _, id := range links[:n] {
		b, err := r.source.Value(id)
		if err != nil {
			return record{}, fmt.Errorf("document %.80q: %w", e.Key, err)
		}
		entry = append(entry, b...)
	}
	if uint64(len(entry)) != size || r.keys.ValueHash(entry) != hash {
		return record{}, malformed("document %.80q: its pieces are not the entry", e.Key)
	}
	return record{entry, links[n:]}, nil
}

// pieces returns of how many blocks an entry consists, 0 if it stands in the node.
func pieces(e tree.Entry) (int, error) {
	if len(e.Value) == 0 || e.Value[0]>>5 != majorArray {
		return 0, nil
	}
	in := reader{b: e.Value}
	if in.array(2) != 2 {
		in.fail("large entry")
	}
	size := in.uint(maxEntry)
	in.hash()
	n := int((size + opBlockSize - 1) / opBlockSize)
	if in.err == nil && (size <= MaxInlineEntry || n > len(e.Links)) {
		in.fail("large entry of %d bytes in %d blocks", size, len(e.Links))
	}
	if err := in.end(); err != nil {
		return 0, fmt.Errorf("document %.80q: %w", e.Key, err)
	}
	return n, nil
}
