package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// A verdict that reaches below the floor (a member is removed as of long ago, a
// twin of an old commit turns up) needs what was compacted away:
//
//	verdict ─▶ blocks below not all here: nothing changes, status says repairing
//	        ─▶ members are asked ([Ledger.Heal]) ─▶ they came: judged again
//	        ─▶ the state is made anew from the first commit, and the floor is lowered
//
// The next compaction raises it again. Until the blocks came the state is what it was:
// others who have them are ahead, and what is written meanwhile merges as ever.

// needs are the blocks below the floor that a verdict waits for.
type needs struct {
	ids []block.ID
	why error
}

// Repairing returns why a verdict waits for blocks below the floor, nil if none does.
func (d *Database) Repairing() error {
	if n := d.needs.Load(); n != nil {
		return fmt.Errorf("a change in the team or an old fork reaches below the oldest kept commit: %d or more blocks are asked from members, until then the state is that of before: %w", len(n.ids), n.why)
	}
	return nil
}

// lacks notes what a verdict needs, and reports whether that is what an error says.
// The caller holds writing.
func (d *Database) lacks(err error) bool {
	history, ok := errors.AsType[*crdt.HistoryError](err)
	if !ok {
		return false
	}
	n := &needs{why: history}
	for _, id := range history.Commits {
		_, err := d.read(id)
		if damage, ok := errors.AsType[*DamageError](err); ok {
			id = damage.Block // it may be the commit, or a block it links
		}
		n.ids = append(n.ids, id)
	}
	d.needs.Store(n)
	d.n.o.Log.Warn("a verdict reaches below the oldest kept commit; members are asked for what lies there", "db", d.id, "blocks", len(n.ids))
	d.n.o.Damaged()
	return true
}

// refetch asks members for what a verdict needs and judges again, as long as
// something comes.
func (d *Database) refetch(ctx context.Context, fetch Fetch) error {
	for {
		n := d.needs.Load()
		if n == nil {
			return nil
		}
		got, err := fetch(ctx, d.team, n.ids)
		healed, failed := d.n.heal(ctx, got)
		if err = errors.Join(err, failed); len(healed) == 0 {
			return errors.Join(err, fmt.Errorf("%s: no member has the blocks below the oldest kept commit", d.id))
		}
		d.rejudge()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lowered is called when the replica was made anew from below its floor: all blocks
// are here again, and the record goes. The rows stay: checkpoints are opened with them.
// The caller holds writing and mu.
func (d *Database) lowered(ctx context.Context) error {
	f := d.floor
	if f == nil || d.replica.Floor() > 0 {
		return nil
	}
	d.floor = nil
	d.needs.Store(nil)
	// The index first: with the record still there it begins behind these.
	batch := d.n.o.Store.NewBatch()
	n := f.Arrival - f.Place
	for e, err := range d.n.o.Store.Scan(store.Commits(d.id)) {
		if err != nil {
			return err
		}
		if number(e.Key) >= n { // the others are written anew
			break
		}
		batch.Delete(e.Key)
	}
	for c := range d.replica.Commits() {
		if i, _ := d.replica.Place(c.ID); i >= int(f.Place) {
			break
		}
		batch.Set(store.CommitIndex(d.id, n), c.ID[:])
		if n++; batch.Bytes() < maxSinkBatch {
			continue
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return err
		}
		batch.Reset()
	}
	if err := d.deleteInto(batch, store.Floors(d.id), nil); err != nil {
		return err
	}
	return d.n.durable(ctx, batch)
}
