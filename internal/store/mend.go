package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A table with a rotten block is read around: what else it holds, and what stands
// above it, is answered. But the engine can never merge it with anything. Every
// compaction over it fails and is tried again ten times a second; tables pile up on
// top of it, and what was deleted under it keeps its space. So it has to go:
//
//	keys of every table over its span ──▶ Get ──▶ a new table of what can be read
//	                                                    │ one atomic edit
//	rotten table, and all else in its span ◀── replaced ┘
//
// What could not be read is remembered as a lost span: a key in it that is absent
// now may not have been. To forget that would be worse than the rot: a lost actor
// record looks like a new database, a lost deletion brings back what lay under it.

const mendFile = "mend.sst"

// Damaged reports whether a table is known to be rotten. Mend takes it away.
func (s *Store) Damaged() bool { return s.opt.damaged.Load() }

// Mend replaces rotten tables by what can still be read of them, and returns how
// many. Keys that cannot be read stay a *CorruptError for Get and Scan, until they
// are set again or deleted by Batch.DeleteSpan. It is cheap when nothing is rotten;
// otherwise it waits until no call or scan is under way (ctx bounds the wait) and
// keeps others waiting for as long as it takes to write a table. Losing power at any
// moment leaves the store as it was, or mended.
func (s *Store) Mend(ctx context.Context) (tables int, err error) {
	if !s.Damaged() {
		return 0, nil
	}
	if err := s.alone(ctx); err != nil {
		return 0, fmt.Errorf("store %s: mend: %w", s.dir, err)
	}
	defer s.mu.Unlock()
	if s.eng == nil {
		return 0, nil
	}
	if err := s.eng.writable(); err != nil {
		return 0, err
	}
	for range maxMends { // reading one table may show that another is rotten
		done, err := s.mend(ctx)
		tables += done
		if err != nil {
			return tables, fmt.Errorf("store %s: mend: %w", s.dir, err)
		}
		if len(s.eng.rotten()) == 0 {
			s.opt.damaged.Store(false)
			break
		}
	}
	return tables, nil
}

// Lost reports whether something that began with prefix may have been on a table that
// is gone. Whoever can make it anew deletes the whole with [Batch.DeleteSpan] first.
func (s *Store) Lost(prefix []byte) bool {
	return s.lostNow().meets(span{prefix, prefixEnd(prefix)})
}

const maxMends = 100

// mend deals with the first rotten table and all that overlap it.
func (s *Store) mend(ctx context.Context) (int, error) {
	eng := s.eng
	if err := eng.flush(); err != nil {
		return 0, err
	}
	all, err := eng.tables()
	if err != nil {
		return 0, err
	}
	known := eng.rotten()
	cut, bad := rottenSpan(all, known)
	if len(bad) == 0 {
		eng.cured(known) // compacted away after all
		return 0, nil
	}
	keys, lost, err := eng.readable(all, cut, bad)
	if err != nil {
		return 0, err
	}
	if len(eng.rotten()) > len(known) {
		return 0, nil // more is rotten than was known: its span may belong to this
	}
	// The list first: if the power went behind the edit, what is lost would look as if
	// it had never been.
	if err := s.setLost(s.lostNow().plus(lost)); err != nil {
		return 0, err
	}
	if err := eng.flush(); err != nil { // the edit would wait for it, for ever on a bad disk
		return 0, err
	}
	if at, in := slices.BinarySearchFunc(keys, lostKey, bytes.Compare); !in && cut.holds(lostKey) {
		keys = slices.Insert(keys, at, lostKey)
	}
	if err := eng.unlessShut(func() error { return s.replace(ctx, cut, keys) }); err != nil {
		return 0, err
	}
	eng.cured(bad)
	s.opt.Logger.Warn("store: rotten tables replaced by what could be read of them", "tables", len(bad), "keys", len(keys))
	return len(bad), nil
}

// replace puts a table of what the keys show in the place of everything in a span.
func (s *Store) replace(ctx context.Context, cut span, keys [][]byte) error {
	where := pebble.KeyRange{Start: cut.from, End: cut.to}
	if len(keys) == 0 {
		return s.eng.db.Excise(ctx, where)
	}
	path := s.disk.PathJoin(s.dir, mendFile)
	file, err := s.eng.fence.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(file), s.eng.opt.MakeWriterOptions(0, s.eng.db.TableFormat()))
	for _, key := range keys {
		value, done, err := s.eng.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue // lostKey, if nothing was ever lost
		}
		if err == nil {
			err = errors.Join(w.Set(key, value), done.Close())
		}
		if err != nil {
			return errors.Join(readError(key, err), w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = s.eng.db.IngestAndExcise(ctx, []string{path}, nil, nil, where)
	return err
}

// table is one table of the engine.
type table struct {
	span
	name string // of its file; parts of one file share it
}

// tables returns every table that is alive.
func (e *engine) tables() (all []table, err error) {
	levels, err := e.db.SSTables()
	if err != nil {
		return nil, err
	}
	for _, level := range levels {
		for _, t := range level {
			all = append(all, table{
				span: span{bytes.Clone(t.Smallest.UserKey), after(t.Largest.UserKey)},
				name: t.BackingSSTNum.String() + ".sst",
			})
		}
	}
	return all, nil
}

// rottenSpan returns the span of the first rotten table, widened until no rotten
// table crosses its ends, and the files of the rotten tables in it.
func rottenSpan(all []table, rotten []string) (cut span, bad []string) {
	for grown := true; grown; {
		grown = false
		for _, t := range all {
			if !slices.Contains(rotten, t.name) || cut.from != nil && !t.meets(cut) {
				continue
			}
			if !slices.Contains(bad, t.name) {
				bad = append(bad, t.name)
			}
			if cut.from == nil || bytes.Compare(t.from, cut.from) < 0 {
				cut.from, grown = t.from, true
			}
			if cut.to == nil || bytes.Compare(t.to, cut.to) > 0 {
				cut.to, grown = t.to, true
			}
		}
	}
	return cut, bad
}

// readable returns every key in a span that has a value which can be read, in order,
// and what cannot be known any more.
func (e *engine) readable(all []table, cut span, bad []string) (keys [][]byte, lost spans, err error) {
	var named [][]byte
	for _, t := range all {
		if !t.meets(cut) {
			continue
		}
		found, gap := e.keysOf(t, cut)
		if gap.from != nil && !slices.Contains(bad, t.name) {
			e.noteRotten(t.name)
		}
		named, lost = append(named, found...), lost.with(gap)
	}
	slices.SortFunc(named, bytes.Compare)
	for _, key := range slices.CompactFunc(named, bytes.Equal) {
		_, done, err := e.db.Get(key)
		switch {
		case errors.Is(err, pebble.ErrNotFound):
		case pebble.IsCorruptionError(err):
			lost = lost.with(span{key, after(key)})
		case err != nil:
			return nil, nil, readError(key, err)
		default:
			keys = append(keys, key)
			if err := done.Close(); err != nil {
				return nil, nil, readError(key, err)
			}
		}
	}
	return keys, lost, nil
}

// keysOf returns the keys of a table within a span, read from both ends up to what
// is rotten, and the gap between: what stood in it cannot be known. Keys come as
// they lie there, whether they are deleted elsewhere or not.
func (e *engine) keysOf(t table, within span) (keys [][]byte, gap span) {
	gap = t.and(within)
	file, err := e.fence.Open(e.fence.PathJoin(e.dir, t.name))
	if err != nil {
		return nil, gap
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, gap
	}
	r, err := sstable.NewReader(context.Background(), readable, e.opt.MakeReaderOptions())
	if err != nil {
		return nil, gap
	}
	defer func() { _ = r.Close() }() // was only read
	all := gap
	for _, back := range []bool{false, true} {
		it, err := r.NewIter(sstable.NoTransforms, all.from, all.to, sstable.AssertNoBlobHandles)
		if err != nil {
			return keys, gap
		}
		kv, next := it.SeekGE(all.from, 0), it.Next
		if back {
			kv, next = it.SeekLT(all.to, 0), it.Prev
		}
		for ; kv != nil; kv = next() {
			key := bytes.Clone(kv.K.UserKey)
			keys = append(keys, key)
			if back {
				gap.to = key
			} else {
				gap.from = after(key)
			}
		}
		if err := errors.Join(it.Error(), it.Close()); err == nil {
			return keys, span{} // the whole of it
		}
	}
	return keys, gap
}
