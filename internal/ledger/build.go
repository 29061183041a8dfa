package ledger

import (
	"context"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// built is a state of the past as a checkpoint on disk.
type built struct {
	f          *crdt.Flush
	checkpoint block.ID
}

// build makes a checkpoint of a set of commits in the order of arrival, or, without
// one, of those in front of a place. They are played from the ground on, in a replica
// of its own that saves its tree: nodes that it has in common with others are the same
// blocks. Writers go on meanwhile. The caller keeps nodes from being collected.
func (d *Database) build(ctx context.Context, set []block.ID, place int) (b built, err error) {
	var voids map[block.ID]string
	if err := d.View(func(r *crdt.Replica) error {
		voids = r.Voids()
		for c := range r.Commits() {
			if set == nil && place > 0 {
				set = make([]block.ID, 0, place)
			}
			if len(set) >= place {
				break
			}
			set = append(set, c.ID)
		}
		return nil
	}); err != nil {
		return b, err
	}
	gen, ok := d.team.writable()
	if !ok {
		return b, ErrNoKey
	}
	k := &disk{d: d}
	r, err := d.replicaOn(k, 0)
	if err != nil {
		return b, err
	}
	if f := d.begins(); f != nil {
		if err := d.standOn(r, f, false); err != nil {
			return b, err
		}
	}
	s := &sink{d: d, gen: gen, batch: d.n.o.Store.NewBatch(), waiting: map[block.ID][]byte{}}
	k.sink.Store(s)
	for from := 0; from < len(set); {
		to := min(from+buildSlice, len(set))
		if err := d.play(ctx, r, set[from:to], voids); err != nil {
			return b, err
		}
		from = to
		if dirty, _ := r.Dirty(); from < len(set) && d.n.o.FlushAt.reached(crdt.Dirty{Documents: dirty.Documents, Bytes: dirty.Bytes}, r.Count()) {
			if _, err := saveTree(ctx, r); err != nil {
				return b, err
			}
		}
	}
	if b.f, err = saveTree(ctx, r); err != nil {
		return b, err
	}
	b.f.Checkpoint.TeamHeads, b.f.Checkpoint.Time = d.team.State().Heads(), d.n.Now()
	block, err := d.signCheckpoint(b.f.Checkpoint, s)
	if err != nil {
		return b, err
	}
	b.checkpoint = block.ID
	return b, s.flush(ctx)
}

// buildSlice is how many commits are played before it is looked how much they left in
// memory.
const buildSlice = 256

// saveTree writes the tree of a replica that nobody else uses.
func saveTree(ctx context.Context, r *crdt.Replica) (*crdt.Flush, error) {
	f, err := r.Freeze()
	if err != nil {
		return nil, err
	}
	err = f.Run(ctx)
	r.Thaw(f, err == nil)
	return f, err
}
