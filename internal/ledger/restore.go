package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
)

// load opens what is on disk: the newest checkpoint that can be read, and the commits
// that came after it, as they were judged then.
func (d *Database) load() error {
	if err := errors.Join(d.openFloor(), d.recall()); err != nil {
		return err
	}
	from, restored, err := d.restore()
	if err != nil {
		return err
	}
	if !restored {
		return d.begin()
	}
	err = d.replay(from, true)
	if err != nil && d.replica.Failed() != nil {
		// Not the commits: something of the checkpoint that only they asked for.
		d.n.o.Log.Warn("checkpoint given up", "db", d.id, "err", err)
		return d.begin()
	}
	return err
}

// begin makes the replica anew from what is on disk: from the commits, or from the
// ground and the commits above it.
func (d *Database) begin() error {
	if err := d.anew(); err != nil {
		return err
	}
	if err := d.replay(d.arrival, false); err != nil || d.floor == nil {
		return err
	}
	// A ground tells no feed: the new one is written down, or it would begin anew with
	// every start.
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.freezeAny(); p != nil {
		d.finishLocked(context.Background(), p)
	}
	return nil
}

// putReplica puts another replica in the place of the one that was: readers may be in
// it. The caller holds writing.
func (d *Database) putReplica(r *crdt.Replica, arrival uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replica, d.arrival = r, arrival
}

// newReplica returns an empty replica over the store.
func (d *Database) newReplica(epoch uint64) (*crdt.Replica, error) {
	return d.replicaOn(d.disk, epoch)
}

func (d *Database) replicaOn(k *disk, epoch uint64) (*crdt.Replica, error) {
	f := d.functions
	return crdt.New(crdt.Config{
		DB:     d.id,
		Keys:   crdt.Keys{Expand: f.Expand, ValueHash: f.ValueHash, Shape: f.Shape, NodeHash: f.NodeHash},
		Source: k, Nodes: k, Rows: k, Epoch: epoch, CacheBytes: d.n.o.CacheBytes,
	})
}

// saved is a checkpoint on disk.
type saved struct {
	n  uint64
	id block.ID
}

// checkpoints lists the checkpoints on disk, newest first.
func (d *Database) checkpoints() (list []saved, err error) {
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: store.Checkpoints(d.id), Reverse: true}) {
		if err != nil {
			return nil, err
		}
		n, err := store.Arrival(e.Key)
		if err != nil {
			return nil, err
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, saved{n, id})
	}
	return list, nil
}

// restore takes up where a checkpoint left off. One that cannot be used, whatever
// the reason, is passed over: everything can be made from the commits.
func (d *Database) restore() (from uint64, ok bool, err error) {
	list, err := d.checkpoints()
	if err != nil {
		return 0, false, err
	}
	raw, err := d.n.o.Store.Get(d.derivedAll('e'))
	if errors.Is(err, store.ErrNotFound) || err == nil && len(raw) != 8 {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	epoch := binary.BigEndian.Uint64(raw)
	for i, s := range list {
		if i > 0 {
			if epoch, err = d.newEpoch(); err != nil {
				return 0, false, err
			}
		}
		pos, err := d.restoreFrom(s, epoch, i > 0)
		if err != nil {
			d.n.o.Log.Warn("checkpoint passed over", "db", d.id, "checkpoint", s.id, "err", err)
			continue
		}
		if i > 0 {
			if err := d.cutBehind(s, epoch); err != nil {
				return 0, false, err
			}
		}
		return pos.Arrival, true, nil
	}
	if len(list) > 0 || d.floor != nil {
		return 0, false, nil
	}
	r, err := d.newReplica(epoch)
	if err != nil {
		return 0, false, err
	}
	d.putReplica(r, d.arrival)
	return 0, true, nil // a database that never wrote a checkpoint has its feed from the beginning
}

func (d *Database) newEpoch() (uint64, error) {
	var b [8]byte
	_, err := d.n.o.Rand.Read(b[:])
	return max(binary.BigEndian.Uint64(b[:])>>16, 1), err
}

// restoreFrom opens one checkpoint; later means that there was a later one.
func (d *Database) restoreFrom(s saved, epoch uint64, later bool) (p position, err error) {
	r, err := d.newReplica(epoch)
	if err != nil {
		return p, err
	}
	c, err := d.openCheckpoint(s.id)
	if err != nil {
		return p, err
	}
	raw, err := d.getDerived(d.derived('r', s.n))
	if err != nil {
		return p, err
	}
	if p, err = wire.Decode[position](raw, derivedPiece); err != nil {
		return p, err
	}
	if p.Checkpoint != s.id {
		return p, errors.New("its record is of another checkpoint")
	}
	var rest []byte
	for plain, err := range d.eachDerived(append(d.derivedAll('s'), wire8(s.n)...)) {
		if err != nil {
			return p, err
		}
		rest = append(rest, plain...)
	}
	saved := crdt.Saved{Checkpoint: c, Graph: d.graph(), Rest: rest, Doubt: later}
	if f := d.floor; f != nil {
		saved.Floor, saved.Ground, saved.Vouched = int(f.Place), f.ground, f.By != nil
	}
	if err := r.Restore(context.Background(), saved); err != nil {
		return p, err
	}
	d.putReplica(r, p.Arrival)
	d.bytes.Store(p.Bytes)
	for _, id := range p.Awaited {
		d.awaited[id] = struct{}{}
	}
	if seq, tip := r.Seq(d.actor); seq > 0 {
		own, _ := r.Commit(tip)
		d.lastTime = own.Time
	}
	d.garbage.written, d.garbage.live = p.Written, p.Live
	d.chainThen, d.behind = c.TeamHeads, p.Again
	return p, nil
}

func (d *Database) getDerived(key []byte) ([]byte, error) {
	v, err := d.n.o.Store.Get(key)
	if err != nil {
		return nil, err
	}
	return d.openDerived(v)
}

func (d *Database) eachDerived(prefix []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for e, err := range d.n.o.Store.Scan(prefix) {
			var plain []byte
			if err == nil {
				plain, err = d.openDerived(e.Value)
			}
			if !yield(plain, err) || err != nil {
				return
			}
		}
	}
}

// openCheckpoint reads a checkpoint from disk and checks its signature.
func (d *Database) openCheckpoint(id block.ID) (*crdt.Checkpoint, error) {
	u, err := d.n.Stored(id)
	if err != nil {
		return nil, err
	}
	_, c, err := d.parseCheckpoint(u, func(id block.ID) ([]byte, error) {
		part, err := d.n.Stored(id)
		if err != nil {
			return nil, err
		}
		return part.Data(), nil
	})
	return c, err
}

// parseCheckpoint verifies and opens a checkpoint; get brings its parts.
func (d *Database) parseCheckpoint(u *block.Unverified, get func(block.ID) ([]byte, error)) (*block.Block, *crdt.Checkpoint, error) {
	home, gen, ok := d.origin(u)
	if !ok || u.DB != d.id {
		return nil, nil, fmt.Errorf("%w: checkpoint %s", errTeamHeads, u.ID)
	}
	b, err := u.Verify(home, gen)
	if err != nil {
		return nil, nil, err
	}
	plain, err := d.n.keys.Open(vault.Data, b.Header, b.Body)
	if err != nil {
		return nil, nil, err
	}
	c, err := crdt.ParseCheckpoint(b, plain)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range c.Parts() {
		data, err := get(id)
		if err != nil {
			return nil, nil, err
		}
		_, part, err := d.openLinked(id, data)
		if err != nil {
			return nil, nil, err
		}
		if err := c.Fill(id, part); err != nil {
			return nil, nil, err
		}
	}
	return b, c, nil
}

// anew begins without a checkpoint, or with that of the ground, and with a feed of a
// new epoch: what may be left of an old one is taken away first.
func (d *Database) anew() error {
	epoch, err := d.newEpoch()
	if err != nil {
		return err
	}
	r, err := d.newReplica(epoch)
	if err != nil {
		return err
	}
	arrival := uint64(0)
	d.lastTime, d.chainThen, d.behind, d.garbage = 0, nil, false, garbage{}
	if f := d.floor; f != nil {
		if err := d.standOn(r, f, true); err != nil {
			return fmt.Errorf("the ground of the history: %w", err)
		}
		arrival, d.chainThen = f.Arrival, f.ground.TeamHeads
		if seq, tip := r.Seq(d.actor); seq > 0 {
			own, _ := r.Commit(tip)
			d.lastTime = own.Time
		}
	}
	d.putReplica(r, arrival)
	d.bytes.Store(0)
	clear(d.awaited)
	stale := [][]byte{d.derivedAll('e'), store.Checkpoints(d.id), d.derivedAll('f'), d.derivedAll('g'), d.derivedAll('p'), d.derivedAll('r'), d.derivedAll('s'), d.derivedAll('v')}
	if d.floor == nil {
		stale = append(stale, store.Graphs(d.id)) // of one that was lowered
	}
	for _, prefix := range stale {
		if err == nil {
			err = d.deleteAll(prefix, nil)
		}
	}
	if err == nil && d.patchy() { // then all that is derived goes, listed or not
		batch := d.n.o.Store.NewBatch()
		batch.DeleteSpan(d.derivedAll(), nil)
		d.lists.Store(0)
		err = d.n.durable(context.Background(), batch)
	}
	if err == nil {
		err = d.writeEpoch(d.n.o.Store.NewBatch(), epoch)
	}
	return d.readOnly(err)
}

func (d *Database) writeEpoch(b *store.Batch, epoch uint64) error {
	b.Set(d.derivedAll('e'), wire8(epoch))
	return d.n.durable(context.Background(), b)
}

// readOnly lets a database open on a disk that takes no writes: it can be read, and
// writes no checkpoint before it is opened again.
func (d *Database) readOnly(err error) error {
	if errors.Is(err, store.ErrReadOnly) {
		d.noFlush = true
		return nil
	}
	return err
}

// cutBehind takes away what flushes wrote after a checkpoint, which are lost.
func (d *Database) cutBehind(s saved, epoch uint64) error {
	var err error
	for _, x := range []struct {
		prefix []byte
		from   uint64
	}{
		{d.derivedAll('g'), uint64(d.replica.Len())}, {d.derivedAll('f'), d.replica.Now().Pos() + 1},
		{d.derivedAll('r'), s.n + 1}, {d.derivedAll('s'), s.n + 1}, {store.Checkpoints(d.id), s.n + 1},
	} {
		if err == nil {
			err = d.deleteAll(x.prefix, append(slices.Clone(x.prefix), wire8(x.from)...))
		}
	}
	if err == nil {
		err = d.writeEpoch(d.n.o.Store.NewBatch(), epoch)
	}
	return d.readOnly(err)
}

// deleteAll deletes what begins with prefix, from a key on if one is given.
func (d *Database) deleteAll(prefix, from []byte) error {
	for {
		batch := d.n.o.Store.NewBatch()
		for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: prefix, From: from}) {
			if _, rotten := errors.AsType[*store.CorruptError](err); rotten {
				// What cannot be listed goes with all the rest.
				batch.Reset()
				batch.DeleteSpan(prefix, from)
				break
			}
			if err != nil {
				return err
			}
			if batch.Delete(e.Key); batch.Len() == maxDeletes {
				break
			}
		}
		// Not inside the scan: a store that must recover waits for scans to end.
		if err := d.n.durable(context.Background(), batch); err != nil || batch.Len() < maxDeletes {
			return err
		}
	}
}

// maxDeletes bounds one batch of deletions.
const maxDeletes = 10_000
