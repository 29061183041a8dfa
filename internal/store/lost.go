package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/toftdb/toft/internal/planted"
)

// lostKey holds the spans that Mend could not read.
var lostKey = Meta("lost")

// errLost is the reason of a *CorruptError for a key that may have stood in a table
// that is gone.
var errLost = errors.New("what stood here was on a rotten table")

// span is the keys from from up to, and without, to.
type span struct{ from, to []byte }

func (s span) holds(key []byte) bool {
	return bytes.Compare(s.from, key) <= 0 && bytes.Compare(key, s.to) < 0
}

func (s span) and(o span) span {
	if bytes.Compare(o.from, s.from) > 0 {
		s.from = o.from
	}
	if bytes.Compare(o.to, s.to) < 0 {
		s.to = o.to
	}
	return s
}

func (s span) empty() bool { return bytes.Compare(s.from, s.to) >= 0 }

func (s span) meets(o span) bool { return !s.and(o).empty() }

// after is the first key behind a key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }

// spans are disjoint, not touching, in order. They are never changed.
type spans []span

func (l spans) with(s span) spans {
	if s.empty() {
		return l
	}
	out := make(spans, 0, len(l)+1)
	for _, x := range l {
		if bytes.Compare(x.to, s.from) < 0 || bytes.Compare(s.to, x.from) < 0 {
			out = append(out, x)
			continue
		}
		if bytes.Compare(x.from, s.from) < 0 {
			s.from = x.from
		}
		if bytes.Compare(x.to, s.to) > 0 {
			s.to = x.to
		}
	}
	out = append(out, s)
	slices.SortFunc(out, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	return out
}

func (l spans) plus(o spans) spans {
	for _, s := range o {
		l = l.with(s)
	}
	return l
}

func (l spans) without(s span) spans {
	var out spans
	for _, x := range l {
		if !x.meets(s) {
			out = append(out, x)
			continue
		}
		for _, rest := range []span{{x.from, s.from}, {s.to, x.to}} {
			if rest = rest.and(x); !rest.empty() {
				out = append(out, rest)
			}
		}
	}
	return out
}

func (l spans) holds(key []byte) bool {
	return slices.ContainsFunc(l, func(s span) bool { return s.holds(key) })
}

func (l spans) meets(o span) bool {
	return slices.ContainsFunc(l, func(s span) bool { return s.meets(o) })
}

// encode writes every end with its length before it.
func (l spans) encode() (b []byte) {
	for _, s := range l {
		for _, end := range [][]byte{s.from, s.to} {
			b = append(binary.AppendUvarint(b, uint64(len(end))), end...)
		}
	}
	return b
}

func decodeSpans(b []byte) (spans, error) {
	var ends [][]byte
	for len(b) > 0 {
		n, head := binary.Uvarint(b)
		if head <= 0 || n > uint64(len(b)-head) {
			return nil, errBadLost
		}
		ends = append(ends, bytes.Clone(b[head:head+int(n)]))
		b = b[head+int(n):]
	}
	if len(ends)%2 != 0 {
		return nil, errBadLost
	}
	var out spans
	for pair := range slices.Chunk(ends, 2) {
		out = out.with(span{pair[0], pair[1]})
	}
	return out, nil
}

var errBadLost = errors.New("store: the list of lost keys is malformed")

// lostNow returns the spans that are lost.
func (s *Store) lostNow() spans { return *s.lost.Load() }

// loadLost reads the list of lost spans.
func (s *Store) loadLost() error {
	none := spans(nil)
	s.lost.Store(&none)
	b, done, err := s.eng.db.Get(lostKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if pebble.IsCorruptionError(err) {
		// The list itself has rotted: what can be read must not depend on it.
		s.opt.Logger.Error("store: what was lost to rot earlier is not known any more", "err", err)
		return nil
	}
	if err != nil {
		return readError(lostKey, err)
	}
	list, err := decodeSpans(b)
	if err = errors.Join(err, done.Close()); err == nil {
		s.lost.Store(&list)
	}
	return err
}

// setLost makes another list durable.
func (s *Store) setLost(list spans) error {
	if planted.Bug("store-mend-forgets") {
		list = nil
	}
	var b Batch
	b.Set(lostKey, list.encode())
	if b.err != nil {
		return b.err
	}
	if err := s.eng.apply(&b, true); err != nil {
		return err
	}
	s.lost.Store(&list)
	return nil
}

// gaps returns the lost spans in which a scan must not pass over what it does not
// see. Blocks are not among them: nobody reads a meaning into their order, and who
// needs one asks for it by name.
func (s *Store) gaps() spans {
	return s.lostNow().without(span{Blocks(), prefixEnd(Blocks())})
}
