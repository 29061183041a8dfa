package ledger

import (
	"context"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
)

// Nodes that no checkpoint needs any more are taken away. Every batch that writes
// nodes lists them; once there are several times as many as the trees of the newest
// two checkpoints have, those that are not in these trees go, the tree of the ground
// (see floor.go) apart. So a collection costs about what writing them did.

// garbage counts nodes: written since the last collection, and left by it.
type garbage struct{ written, live uint64 }

// keptCheckpoints is how many checkpoints stay: if the newest turns out to be
// damaged, the one before is opened.
const keptCheckpoints = 2

// maxListed bounds the IDs in one list.
const maxListed = 4096

// listNodes notes in a batch which nodes it writes.
func (d *Database) listNodes(batch *store.Batch, ids []block.ID) {
	for list := range slices.Chunk(ids, maxListed) {
		raw := make([]byte, 0, 32*len(list))
		for _, id := range list {
			raw = append(raw, id[:]...)
		}
		batch.Set(d.derived('n', d.lists.Add(1)-1), raw)
	}
}

// countLists finds the number of the next list.
func (d *Database) countLists() error {
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: d.derivedAll('n'), Reverse: true}) {
		if err != nil {
			return err
		}
		d.lists.Store(number(e.Key) + 1)
		break
	}
	return nil
}

// collect forgets checkpoints behind the newest two, and nodes if there are many. It
// runs at the end of a flush, so nobody saves nodes meanwhile.
func (d *Database) collect(ctx context.Context) error {
	list, err := d.checkpoints()
	if err != nil || len(list) <= keptCheckpoints {
		return err
	}
	pinned, err := d.pinned()
	if err != nil {
		return err
	}
	batch := d.n.o.Store.NewBatch()
	for _, s := range list[min(len(list), keptCheckpoints):] {
		batch.Delete(store.Checkpoint(d.id, s.n))
		if !slices.Contains(pinned, s.id) {
			batch.Delete(store.Block(s.id))
		}
		batch.Delete(d.derived('r', s.n))
		for piece := range uint64(maxPieces) {
			batch.Delete(append(d.derived('s', s.n), wire8(piece)...))
		}
	}
	if err := d.n.durable(ctx, batch); err != nil {
		return err
	}
	if d.building.Load() > 0 || d.garbage.written < uint64(d.n.o.FlushAt.Garbage)+2*d.garbage.live {
		return nil
	}
	kept := slices.Clone(pinned)
	for _, s := range list[:keptCheckpoints] {
		kept = append(kept, s.id)
	}
	return d.sweep(ctx, kept)
}

// pinned returns the checkpoints that stay although newer ones are there: that of the
// ground, without which nothing above it could be made again, and those of labels whose
// commits are gone.
func (d *Database) pinned() (ids []block.ID, err error) {
	if d.floor != nil && !planted.Bug("ledger-ground-not-pinned") {
		ids = append(ids, d.floor.Checkpoint)
	}
	labels, err := d.Labels()
	for _, l := range labels {
		if !l.State.IsZero() {
			ids = append(ids, l.State)
		}
	}
	return ids, err
}

// sweep takes away the listed nodes that no kept checkpoint reaches.
func (d *Database) sweep(ctx context.Context, kept []block.ID) error {
	live := map[block.ID]struct{}{}
	for _, id := range kept {
		c, err := d.openCheckpoint(id)
		if err != nil {
			return err
		}
		if c.Root.IsZero() {
			continue
		}
		for ref, err := range d.replica.Nodes(ctx, tree.Ref{Hash: c.RootHash, ID: c.Root}) {
			if err != nil {
				return err // better too much than one too few
			}
			live[ref.ID] = struct{}{}
		}
	}
	first := d.lists.Load()
	var dead []block.ID
	for e, err := range d.n.o.Store.Scan(d.derivedAll('n')) {
		if err != nil {
			return err
		}
		for raw := range slices.Chunk(e.Value, 32) {
			if id := block.ID(raw); len(raw) == 32 {
				if _, ok := live[id]; !ok {
					dead = append(dead, id)
				}
			}
		}
	}
	for ids := range slices.Chunk(dead, maxDeletes) {
		batch := d.n.o.Store.NewBatch()
		for _, id := range ids {
			batch.Delete(store.Block(id))
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return err
		}
	}
	batch := d.n.o.Store.NewBatch()
	for e, err := range d.n.o.Store.Scan(d.derivedAll('n')) {
		if err != nil {
			return err
		}
		if number(e.Key) < first {
			batch.Delete(e.Key)
		}
	}
	ids := make([]block.ID, 0, len(live))
	for id := range live {
		ids = append(ids, id)
	}
	d.listNodes(batch, ids)
	d.garbage = garbage{live: uint64(len(live))}
	return d.n.durable(ctx, batch)
}
