package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// MaxKey bounds a key in bytes.
	MaxKey = 4 << 10
	// MaxValue bounds a value in bytes.
	MaxValue = 16 << 20
	// MaxBatch bounds a batch in bytes, keys and values together.
	MaxBatch = 64 << 20
)

// Batch collects changes that become durable together. The last change of a
// key wins. A Batch belongs to one goroutine at a time; Commit leaves it as it
// is, so that it can be committed again or Reset; who commits often Resets one,
// which keeps its memory.
//
// It holds the changes in the engine's form: 12 bytes of head, then kind, key
// length, key and for some kinds value length, value, the lengths as varints.
type Batch struct {
	data  []byte
	count uint32
	bytes int
	err   error // the first change over a limit
	spans spans // deleted as a whole
}

const (
	batchHead = 12      // 8 bytes that the engine fills in, the count
	maxKept   = 1 << 20 // what Reset keeps
)

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{} }

// Set gives key a value. Both are copied.
func (b *Batch) Set(key, value []byte) {
	if b.fits(key, len(value)) {
		b.add(pebble.InternalKeyKindSet, key, value)
	}
}

// Delete removes key; a key that is not there is no error.
func (b *Batch) Delete(key []byte) {
	if b.fits(key, 0) {
		b.add(pebble.InternalKeyKindDelete, key, nil)
	}
}

// add writes a change.
func (b *Batch) add(kind pebble.InternalKeyKind, key, value []byte) {
	if len(b.data) == 0 {
		b.data = append(b.data, make([]byte, batchHead)...)
	}
	b.data = slices.Grow(b.data, 1+2*binary.MaxVarintLen32+len(key)+len(value))
	b.data = append(binary.AppendUvarint(append(b.data, byte(kind)), uint64(len(key))), key...)
	if kind == pebble.InternalKeyKindSet || kind == pebble.InternalKeyKindRangeDelete {
		b.data = append(binary.AppendUvarint(b.data, uint64(len(value))), value...)
	}
	if kind != pebble.InternalKeyKindLogData { // which is for the log only
		b.count++
	}
}

// DeleteSpan removes every key that begins with prefix, from a key on if one is given,
// also those that cannot be read or are lost.
func (b *Batch) DeleteSpan(prefix, from []byte) {
	gone := span{prefix, prefixEnd(prefix)}
	if len(from) > 0 {
		gone.from = from
	}
	if gone.to == nil || gone.empty() || !b.fits(gone.from, 0) {
		return
	}
	b.add(pebble.InternalKeyKindRangeDelete, gone.from, gone.to)
	b.spans = b.spans.with(span{bytes.Clone(gone.from), gone.to})
}

// fits keeps the first breach of a limit for Commit to report, so that callers
// need not look at every Set.
func (b *Batch) fits(key []byte, value int) bool {
	b.bytes += len(key) + value
	switch {
	case b.err != nil:
	case len(key) == 0:
		b.err = fmt.Errorf("%w: empty key", ErrTooLarge)
	case len(key) > MaxKey:
		b.err = fmt.Errorf("%w: key %q has %d bytes, at most %d", ErrTooLarge, printable(key), len(key), MaxKey)
	case value > MaxValue:
		b.err = fmt.Errorf("%w: value of %q has %d bytes, at most %d", ErrTooLarge, printable(key), value, MaxValue)
	case b.bytes > MaxBatch:
		b.err = fmt.Errorf("%w: batch of more than %d bytes", ErrTooLarge, MaxBatch)
	}
	return b.err == nil
}

// Len returns the number of changes.
func (b *Batch) Len() int { return int(b.count) }

// Bytes returns the size of all keys and values.
func (b *Batch) Bytes() int { return b.bytes }

// Reset empties the batch for new changes.
func (b *Batch) Reset() {
	if cap(b.data) > maxKept {
		b.data = nil
	}
	b.data, b.count, b.bytes, b.err, b.spans = b.data[:0], 0, 0, nil, nil
}

// Commit makes the batch durable: when it returns nil, all of it is on the
// disk and visible, and commits that run side by side have shared one fsync.
// An empty batch costs nothing.
//
// ctx is asked before anything is written, not after: a commit under way is
// seen through. An error that wraps ErrReadOnly, ErrTooLarge, ErrClosed or the
// context's error means that nothing was written. A bare *DiskFullError or
// *IOError means that the disk failed under this very batch: it is there whole
// or not at all, and the next Open or Recover decides.
func (s *Store) Commit(ctx context.Context, b *Batch) error {
	return s.commit(ctx, b, !s.opt.NoSync && !plantedNoSync)
}

func (s *Store) commit(ctx context.Context, b *Batch, durable bool) error {
	if b.err != nil {
		return b.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	eng, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	if len(b.data) == 0 {
		return nil
	}
	if err := eng.writable(); err != nil {
		return err
	}
	if err := eng.makeRoom(ctx, b.bytes); err != nil {
		return err
	}
	return s.applyAll(eng, b, durable)
}

// applyAll applies a batch, and with what it deletes as a whole forgets what was lost
// there, in the same instant.
func (s *Store) applyAll(eng *engine, b *Batch, durable bool) error {
	if len(b.spans) == 0 || len(s.lostNow()) == 0 {
		return eng.apply(b, durable)
	}
	s.losing.Lock()
	defer s.losing.Unlock()
	left := s.lostNow()
	for _, gone := range b.spans {
		left = left.without(gone)
	}
	all := Batch{data: slices.Clone(b.data), count: b.count}
	all.add(pebble.InternalKeyKindSet, lostKey, left.encode())
	err := eng.apply(&all, durable)
	if err == nil {
		s.lost.Store(&left)
	}
	return err
}

// apply copies the batch, because the engine takes what it is given, and
// believes the engine only while the fence is open: see fence.
func (e *engine) apply(b *Batch, durable bool) error {
	copied := e.db.NewBatchWithSize(len(b.data))
	err := b.copyTo(copied)
	if err == nil {
		err = e.db.Apply(copied, &pebble.WriteOptions{Sync: durable})
	}
	if failure := e.fence.failure(); failure != nil {
		return failure
	}
	if err != nil {
		return &IOError{Err: err}
	}
	_ = copied.Close() // gives memory back, cannot fail after Apply
	return nil
}

// copyTo adds the changes to one of the engine's batches.
func (b *Batch) copyTo(to *pebble.Batch) error {
	binary.LittleEndian.PutUint32(b.data[batchHead-4:], b.count)
	var given pebble.Batch
	if err := given.SetRepr(b.data); err != nil {
		return err
	}
	return to.Apply(&given, nil)
}

// DropDerived forgets everything under Derived, durably. What was there is
// rebuilt by whoever put it there.
func (s *Store) DropDerived(ctx context.Context) error {
	var b Batch
	b.DeleteSpan([]byte(prefixDerived), nil)
	return s.Commit(ctx, &b)
}

// Compact merges the tables, so that what was deleted gives its space back now and not
// by and by. It returns a *CorruptError if a table is rotten: see Mend.
func (s *Store) Compact(ctx context.Context) error {
	eng, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	if err := eng.writable(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the engine would wait for ever for a compaction that failed at the shut fence
	err = eng.unlessShut(func() error { return eng.db.Compact(ctx, []byte{0}, []byte{0xff}, false) })
	if pebble.IsCorruptionError(err) {
		return &CorruptError{Err: err}
	}
	return err
}
