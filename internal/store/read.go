package store

import (
	"bytes"
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// Entry is one key and its value.
type Entry struct {
	Key, Value []byte // valid until the next step of the scan; copy to keep
}

// Get returns a copy of key's value, or ErrNotFound, or a *CorruptError if the
// disk holds other bytes than were written.
func (s *Store) Get(key []byte) ([]byte, error) {
	var value []byte
	err := s.look(key, func(v []byte) { value = append(make([]byte, 0, len(v)), v...) })
	return value, err
}

// Has reports whether key has a value.
func (s *Store) Has(key []byte) (bool, error) {
	err := s.look(key, func([]byte) {})
	if errors.Is(err, ErrNotFound) || errors.Is(err, errLost) && bytes.HasPrefix(key, Blocks()) {
		return false, nil // a block that is lost is not here
	}
	return err == nil, err
}

// Size returns the length of key's value in bytes, or ErrNotFound.
func (s *Store) Size(key []byte) (int, error) {
	size := 0
	err := s.look(key, func(v []byte) { size = len(v) })
	return size, err
}

// look shows the value to see while the engine keeps it in place.
func (s *Store) look(key []byte, see func(value []byte)) error {
	eng, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	if len(key) == 0 {
		return ErrNotFound // the engine has no such key, see Batch.Set
	}
	value, done, err := eng.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) && s.lostNow().holds(key) {
		return &CorruptError{Key: bytes.Clone(key), Err: errLost}
	}
	if err != nil {
		return readError(key, err)
	}
	see(value)
	if err := done.Close(); err != nil {
		return readError(key, err)
	}
	return nil
}

// Span chooses what a scan shows: the keys that begin with Prefix, in byte
// order.
type Span struct {
	Prefix  []byte
	From    []byte // first key to show, whether it exists or not; empty: the end the scan starts at
	Reverse bool   // from the last key to the first; From is then the highest
}

// Scan shows every entry whose key begins with prefix, in order. It sees the
// store as it was when the loop began, whatever is committed meanwhile. An
// error is the last thing it shows.
func (s *Store) Scan(prefix []byte) iter.Seq2[Entry, error] {
	return s.ScanSpan(Span{Prefix: prefix})
}

// ScanSpan is Scan with a place to begin and a direction.
func (s *Store) ScanSpan(span Span) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		eng, err := s.enter()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer s.leave()
		it, err := eng.db.NewIter(span.bounds())
		if err != nil {
			yield(Entry{}, readError(span.Prefix, err))
			return
		}
		defer func() { _ = it.Close() }() // its errors are those of it.Error below
		last := bytes.Clone(span.Prefix)
		over := s.passing(span)
		for ok := span.first(it); ok; ok = span.next(it) {
			if s.isClosed() {
				yield(Entry{}, ErrClosed)
				return
			}
			if over(it.Key()) {
				yield(Entry{}, &CorruptError{Key: last, Err: errLost})
				return
			}
			value, err := it.ValueAndErr()
			if err != nil {
				yield(Entry{}, readError(it.Key(), err))
				return
			}
			if !yield(Entry{Key: it.Key(), Value: value}, nil) {
				return
			}
			last = append(last[:0], it.Key()...)
		}
		if err := it.Error(); err != nil {
			yield(Entry{}, readError(last, err))
		} else if over(nil) {
			yield(Entry{}, &CorruptError{Key: last, Err: errLost})
		}
	}
}

// passing returns a function that is told every key of a scan, and nil at its end,
// and reports whether the scan has passed over a lost span to get there.
func (s *Store) passing(w Span) func(key []byte) bool {
	gaps := s.gaps()
	if len(gaps) == 0 {
		return func([]byte) bool { return false }
	}
	left := span{w.Prefix, prefixEnd(w.Prefix)} // what is not seen yet
	if left.to == nil {
		left.to = bytes.Repeat([]byte{0xff}, MaxKey+1)
	}
	switch {
	case w.Reverse && len(w.From) > 0:
		left = left.and(span{left.from, after(w.From)})
	case len(w.From) > 0:
		left = left.and(span{w.From, left.to})
	}
	return func(key []byte) bool {
		passed := left
		switch {
		case key == nil:
		case w.Reverse:
			passed.from, left.to = after(key), bytes.Clone(key)
		default:
			passed.to, left.from = bytes.Clone(key), after(key)
		}
		return gaps.meets(passed)
	}
}

func (span Span) bounds() *pebble.IterOptions {
	if len(span.Prefix) == 0 {
		return nil
	}
	return &pebble.IterOptions{LowerBound: span.Prefix, UpperBound: prefixEnd(span.Prefix)}
}

func (span Span) first(it *pebble.Iterator) bool {
	switch {
	case span.Reverse && len(span.From) > 0:
		// The key after From in byte order is From with a zero byte.
		return it.SeekLT(append(bytes.Clone(span.From), 0))
	case span.Reverse:
		return it.Last()
	case len(span.From) > 0:
		return it.SeekGE(span.From)
	default:
		return it.First()
	}
}

func (span Span) next(it *pebble.Iterator) bool {
	if span.Reverse {
		return it.Prev()
	}
	return it.Next()
}

// prefixEnd returns the first key after all keys that begin with prefix, or
// nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
