package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
)

// A history may begin at a floor ([crdt.Replica.SetFloor]): what lies below was
// compacted away, or never came. On disk it is
//
//	record     where, the checkpoint of the state there (the ground), what does not count
//	rows       of the graph, from the first commit to the floor
//	ground     the checkpoint's block and the nodes of its tree
//
// None of it is derived: the blocks it was made from may be gone. Everything above
// can be made again from the ground and the commits that follow in the index.
//
// The record is what counts. Rows and ground are on disk before it is, and blocks
// below go after; so a crash leaves a history that is longer than it need be.

// floor is the record of where the history of a database begins.
type floor struct {
	Place      uint64        `cbor:"1,keyasint"`           // that many commits lie below
	Arrival    uint64        `cbor:"2,keyasint"`           // from this number on commits are in the index
	Checkpoint block.ID      `cbor:"3,keyasint"`           // of the state there
	Set        wire.Time     `cbor:"4,keyasint"`           // when; grace counts from it
	Time       wire.Time     `cbor:"5,keyasint"`           // the latest of the commits below
	Rest       []byte        `cbor:"6,keyasint"`           // what else a replica must know of it, see [crdt.Flush.Rest]
	By         *block.Device `cbor:"7,keyasint,omitempty"` // who vouches for the ground; nil: this device

	ground   *crdt.Checkpoint
	replaces bool // what the history here was, see [Database.Surrender]
}

// maxFloor bounds the record; the verdicts of void commits take nearly all of it.
const maxFloor = maxPieces * derivedPiece

// openFloor reads where the history begins. A record that is there and cannot be read
// keeps the database shut: without it the commits in the index build on nothing.
func (d *Database) openFloor() error {
	d.putFloor(nil)
	var raw []byte
	for piece, err := range d.eachDerived(store.Floors(d.id)) {
		if err != nil {
			return fmt.Errorf("record of the floor: %w", err)
		}
		raw = append(raw, piece...)
	}
	if raw == nil {
		return nil
	}
	f, err := wire.Decode[floor](raw, maxFloor)
	if err != nil {
		return fmt.Errorf("record of the floor: %w", err)
	}
	if f.ground, err = d.openCheckpoint(f.Checkpoint); err != nil {
		return fmt.Errorf("the ground of the history: %w", err)
	}
	d.putFloor(&f)
	return nil
}

// putFloor changes where the history begins, for a replica that is about to be made
// anew; nil is with the first commit. The caller holds writing.
func (d *Database) putFloor(f *floor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.floor = f
}

// graph yields the rows of the graph that are on disk: those below the floor, then
// what flushes wrote, which may repeat some.
func (d *Database) graph() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, prefix := range [][]byte{store.Graphs(d.id), d.derivedAll('g')} {
			for plain, err := range d.eachDerived(prefix) {
				if !yield(plain, err) {
					return
				}
			}
		}
	}
}

// standOn takes up an empty replica at the ground; fresh begins a feed there.
func (d *Database) standOn(r *crdt.Replica, f *floor, fresh bool) error {
	return r.Restore(context.Background(), crdt.Saved{
		Checkpoint: f.ground, Graph: d.eachDerived(store.Graphs(d.id)), Rest: f.Rest,
		Floor: int(f.Place), Ground: f.ground, Vouched: f.By != nil, Fresh: fresh,
	})
}

// setFloor lets the history begin at f; its ground is on disk. The caller holds writing,
// and no flush is under way.
func (d *Database) setFloor(ctx context.Context, f *floor) error {
	was := d.floor
	if err := d.standAt(ctx, f); err != nil {
		return err
	}
	if err := d.saveFloor(ctx, d.replica, f, was, d.n.o.Store.NewBatch()); err != nil {
		return errors.Join(err, d.standAt(ctx, was))
	}
	// States of the past that began with the first commit cannot be played on.
	return d.n.past.use(ctx, func(s *pastStates) error { s.drop(d.id); return nil })
}

// standAt sets the floor in memory; nil is none.
func (d *Database) standAt(ctx context.Context, f *floor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if f == nil {
		err = d.replica.SetFloor(ctx, 0, nil)
	} else {
		err = d.replica.SetFloor(ctx, int(f.Place), f.ground)
	}
	if err == nil {
		d.floor = f
	}
	return err
}

// saveFloor writes f down for a replica that holds at least the commits below it. Its
// ground is on disk; below the floor that was, so are the rows. What a batch has
// already becomes durable together with the record.
func (d *Database) saveFloor(ctx context.Context, r *crdt.Replica, f, was *floor, batch *store.Batch) error {
	gen, ok := d.team.writable()
	if !ok {
		return ErrNoKey
	}
	var err error
	switch {
	case f.replaces: // rows in another order: nothing of the old ones may stay, nor go before
		if err = d.deleteInto(batch, store.Graphs(d.id), nil); err == nil {
			err = d.rowsInto(ctx, batch, 0, gen, r, 0, int(f.Place))
		}
	case was != nil:
		err = d.saveRows(ctx, gen, r, int(was.Place), int(f.Place))
	default:
		err = d.saveRows(ctx, gen, r, 0, int(f.Place))
	}
	if err != nil {
		return err
	}
	raw, err := wire.Encode(*f)
	if err != nil {
		return err
	}
	if err := d.deleteInto(batch, store.Floors(d.id), nil); err != nil {
		return err
	}
	n := uint64(0)
	for piece := range slices.Chunk(raw, derivedPiece) {
		b, err := d.sealed(gen, block.KindValue, piece, nil)
		if err != nil {
			return err
		}
		batch.Set(store.Floor(d.id, n), b.Data)
		n++
	}
	if n > maxPieces {
		return fmt.Errorf("record of the floor of %d bytes", len(raw))
	}
	// Rows that a compaction left which broke off.
	if err := d.deleteInto(batch, store.Graphs(d.id), store.Graph(d.id, f.Place)); err != nil {
		return err
	}
	if err := d.dropStale(batch, r, f, was); err != nil {
		return err
	}
	if planted.Bug("ledger-floor-only-in-memory") {
		return nil
	}
	if err := d.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("store the floor of %s: %w", d.id, err)
	}
	return nil
}

// dropStale adds the deletion of what the record makes superfluous: rows that are kept
// below the floor now, and the checkpoint of the ground before.
func (d *Database) dropStale(batch *store.Batch, r *crdt.Replica, f, was *floor) error {
	for e, err := range d.n.o.Store.Scan(d.derivedAll('g')) {
		if err != nil {
			return err
		}
		plain, err := d.openDerived(e.Value)
		if err != nil {
			return err
		}
		d.mu.RLock()
		end := r.ChunkEnd(plain)
		d.mu.RUnlock()
		if end > int(f.Place) {
			break
		}
		batch.Delete(e.Key)
	}
	if was == nil || was.Checkpoint == f.Checkpoint {
		return nil
	}
	list, err := d.checkpoints()
	if err != nil {
		return err
	}
	labels, err := d.Labels()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(s saved) bool { return s.id == was.Checkpoint }) &&
		!slices.ContainsFunc(labels, func(l Label) bool { return l.State == was.Checkpoint }) {
		batch.Delete(store.Block(was.Checkpoint))
	}
	return nil
}

// floorNow writes a checkpoint of the present and lets the history begin there, if the
// present is so many commits; it reports whether it was.
func (d *Database) floorNow(ctx context.Context, place int) (bool, error) {
	if err := d.Flush(ctx); err != nil { // most of the work, while others write
		return false, err
	}
	d.lockQuiet()
	defer d.writing.Unlock()
	d.mu.Lock()
	if d.replica.Len() != place {
		d.mu.Unlock()
		return false, nil
	}
	p := d.freezeAny()
	d.mu.Unlock()
	if p == nil {
		return false, errNoCheckpoint
	}
	if d.finish(ctx, p); p.err != nil {
		return false, p.err
	}
	return true, d.setFloor(ctx, d.floorOf(p.f, p.position.Checkpoint, p.position.Arrival))
}

// errNoCheckpoint: the state cannot be written down now.
var errNoCheckpoint = errors.New("no checkpoint can be written now: nothing is here yet, this device may not seal, or there are too many heads")

// floorOf is the floor where a flush stands, whose checkpoint is on disk.
func (d *Database) floorOf(f *crdt.Flush, checkpoint block.ID, arrival uint64) *floor {
	out := &floor{Place: uint64(f.To()), Arrival: arrival, Checkpoint: checkpoint, Set: d.n.Now(), Rest: f.Rest, ground: f.Checkpoint}
	if d.floor != nil {
		out.By = d.floor.By // what stands on somebody's word is no more than that
	}
	for c := range d.replica.Commits() {
		if i, _ := d.replica.Place(c.ID); i >= f.To() {
			break
		}
		out.Time = max(out.Time, c.Time)
	}
	return out
}

// lockQuiet takes writing at a moment when no flush is under way.
func (d *Database) lockQuiet() {
	for {
		d.await()
		d.writing.Lock()
		if d.flushing.Load() == nil {
			return
		}
		d.writing.Unlock()
	}
}

// saveRows writes down the rows of the graph between two places. They count for
// nothing before the record does.
func (d *Database) saveRows(ctx context.Context, gen block.Generation, r *crdt.Replica, from, to int) error {
	return d.rowsInto(ctx, d.n.o.Store.NewBatch(), maxSinkBatch, gen, r, from, to)
}

// rowsInto is saveRows with a batch that goes to the disk whenever it has so many bytes;
// 0: not at all.
func (d *Database) rowsInto(ctx context.Context, batch *store.Batch, most int, gen block.Generation, r *crdt.Replica, from, to int) error {
	for from < to {
		next := min(from+crdt.GraphChunk, to)
		d.mu.RLock()
		chunks := r.Graph(from, next)
		d.mu.RUnlock()
		b, err := d.sealed(gen, block.KindValue, chunks[0], nil)
		if err != nil {
			return err
		}
		batch.Set(store.Graph(d.id, uint64(from)), b.Data)
		if from = next; most == 0 || batch.Bytes() < most && from < to {
			continue
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return fmt.Errorf("store rows of %s: %w", d.id, err)
		}
		batch.Reset()
	}
	return nil
}

// deleteInto adds the deletion of what begins with a prefix, from a key on if one is
// given, to a batch. It is for what is never much.
func (d *Database) deleteInto(batch *store.Batch, prefix, from []byte) error {
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: prefix, From: from}) {
		if err != nil {
			return err
		}
		batch.Delete(e.Key)
	}
	return nil
}
