package crdt

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Change says that a document reads differently: one row per document, at its last
// change.
type Change struct {
	Cursor  Cursor // resume behind this row
	ID      string
	Rev     string // empty if nothing is kept of the document
	Deleted bool
	// Commit that changed it, its device and time; zero if a commit that was known
	// before came to count, or no longer counts.
	Commit block.ID
	Device block.Device
	Time   wire.Time
}

// Cursor is a position in the feed of one replica. It stays good as long as the
// feed does: over restarts, merges and verdicts that change late. A feed that had to
// be made anew has another epoch, and knows none of the old cursors.
type Cursor struct{ epoch, pos uint64 }

// String returns the cursor as text, "c0" for the beginning.
func (c Cursor) String() string {
	s := "c" + strconv.FormatUint(c.pos, 36)
	if c.epoch != 0 && c.pos != 0 {
		s += "." + strconv.FormatUint(c.epoch, 36)
	}
	return s
}

// Pos returns the number of rows that were ever made up to the cursor.
func (c Cursor) Pos() uint64 { return c.pos }

// ParseCursor reads the text of a cursor; the empty text is the beginning.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	digits, ok := strings.CutPrefix(s, "c")
	digits, epoch, long := strings.Cut(digits, ".")
	pos, err := strconv.ParseUint(digits, 36, 64)
	c := Cursor{pos: pos}
	if err == nil && long {
		c.epoch, err = strconv.ParseUint(epoch, 36, 64)
	}
	if ok && err == nil && c.String() == s {
		return c, nil
	}
	return Cursor{}, fmt.Errorf("%w: %.40q", ErrCursor, s)
}

// Rows are rows of the feed that a flush has written down, see [Flush.Rows].
type Rows interface {
	// Chunks yields in order the chunks whose last row stands behind a position.
	Chunks(pos uint64) iter.Seq2[[]byte, error]
	// Last returns the position of the newest row of a document, 0 if there is none.
	Last(id string) (uint64, error)
}

// feed keeps the last change of every document in the order they happened: the
// newest rows in memory, the others where a flush has put them. Rows that a later
// change of the same document replaces are skipped; in memory they are swept when
// they are the majority.
//
//	stored: … 7 b  8 a  9 c ┃ 10 a  11 d : in memory        a at 8 is skipped
//	                        └ cold = 9            └ pos = 11
type feed struct {
	rows  []feedRow
	last  map[string]uint64 // of rows
	pos   uint64
	cold  uint64 // rows up to here are stored
	epoch uint64
	store Rows
	// doubt: rows.Last may name rows of a later feed that was given up.
	doubt bool
	fresh bool // begun anew, and nothing of it is stored
}

// feedRow is a change as it is kept; at is 1 + the place of its commit in the order
// of arrival, 0 if there is none.
type feedRow struct {
	pos     uint64
	id, rev string
	deleted bool
	at      int
}

func newFeed(store Rows, epoch uint64) feed {
	return feed{last: map[string]uint64{}, store: store, epoch: epoch}
}

func (f *feed) push(row feedRow) uint64 {
	f.pos++
	row.pos = f.pos
	f.last[row.id] = f.pos
	f.rows = append(f.rows, row)
	if len(f.rows) > 64 && len(f.rows) > 2*len(f.last) {
		f.sweep(func(row *feedRow) bool { return f.last[row.id] == row.pos })
	}
	return f.pos
}

// sweep keeps some of the rows, in a new slice: a reader may be walking the old one.
func (f *feed) sweep(keep func(*feedRow) bool) {
	kept := make([]feedRow, 0, len(f.last)+len(f.last)/4)
	for i := range f.rows {
		if keep(&f.rows[i]) {
			kept = append(kept, f.rows[i])
		}
	}
	f.rows = kept
}

// cool forgets the rows that are stored now.
func (f *feed) cool(pos uint64) {
	f.cold, f.fresh = pos, false
	f.sweep(func(row *feedRow) bool { return row.pos > pos })
	f.last = make(map[string]uint64, len(f.rows))
	for i := range f.rows {
		f.last[f.rows[i].id] = f.rows[i].pos
	}
}

// change tells what a row says.
func (r *Replica) change(row *feedRow) Change {
	c := Change{Cursor: Cursor{r.feed.epoch, row.pos}, ID: row.id, Rev: row.rev, Deleted: row.deleted}
	if row.at > 0 {
		h := r.order[row.at-1]
		c.Commit, c.Device, c.Time = h.ID, h.Actor.Device, h.Time
	}
	return c
}

// SetEpoch gives the feed another name, where it cannot be told again as it was: who
// holds a cursor begins anew.
func (r *Replica) SetEpoch(epoch uint64) { r.feed.epoch = epoch }

// Now returns the cursor behind the last change.
func (r *Replica) Now() Cursor { return Cursor{r.feed.epoch, r.feed.pos} }

// Changes yields what changed behind a cursor, in the order it happened here, each
// document once, deletions included. A cursor from the future of this replica, or of
// another feed, yields [ErrCursor].
func (r *Replica) Changes(since Cursor) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		f := &r.feed
		switch {
		case since.pos > f.pos:
			yield(Change{}, fmt.Errorf("%w: %s lies behind the last change %s", ErrCursor, since, r.Now()))
			return
		case since.pos > 0 && since.epoch != f.epoch:
			yield(Change{}, fmt.Errorf("%w: %s is of a feed that was made anew since: begin again", ErrCursor, since))
			return
		case since.pos < f.cold && !r.coldRows(since.pos, yield):
			return
		}
		i, _ := slices.BinarySearchFunc(f.rows, since.pos+1, func(row feedRow, pos uint64) int { return cmp.Compare(row.pos, pos) })
		rows := f.rows[i:]
		for i := range rows {
			if row := &rows[i]; f.last[row.id] == row.pos && !yield(r.change(row), nil) {
				return
			}
		}
	}
}

// coldRows yields the stored rows behind a position, and reports whether to go on.
func (r *Replica) coldRows(since uint64, yield func(Change, error) bool) bool {
	last := r.feed.store.Last
	if r.feed.doubt {
		at := map[string]uint64{}
		if !r.eachCold(since, func(row *feedRow) (bool, error) { at[row.id] = row.pos; return true, nil }, yield) {
			return false
		}
		last = func(id string) (uint64, error) { return at[id], nil }
	}
	return r.eachCold(since, func(row *feedRow) (bool, error) {
		if _, newer := r.feed.last[row.id]; newer {
			return true, nil
		}
		pos, err := last(row.id)
		return err == nil && (pos != row.pos || yield(r.change(row), nil)), err
	}, yield)
}

// eachCold calls f for all stored rows behind a position; an error is yielded.
func (r *Replica) eachCold(since uint64, f func(*feedRow) (bool, error), yield func(Change, error) bool) bool {
	for plain, err := range r.feed.store.Chunks(since) {
		var rows []feedRow
		if err == nil {
			rows, err = parseRows(plain, len(r.order))
		}
		for i := 0; i < len(rows) && err == nil; i++ {
			if rows[i].pos <= since || rows[i].pos > r.feed.cold {
				continue
			}
			on := false
			if on, err = f(&rows[i]); err == nil && !on {
				return false
			}
		}
		if err != nil {
			yield(Change{}, fmt.Errorf("feed: %w", err))
			return false
		}
	}
	return true
}

// A chunk of rows as bytes, canonical CBOR: [position, id, revision, deleted 0 or 1,
// 1 + place of the commit in the order of arrival (0: none), … flat].
const (
	maxChunkRows  = 512
	maxChunkBytes = 64 << 10
	maxRev        = 40
)

// RowChunk is some rows of the feed, to be stored together.
type RowChunk struct {
	Last  uint64 // position of the last of them
	Plain []byte
	IDs   []string // whose rows they are
	At    []uint64 // and their positions
}

// chunkRows writes rows down.
func chunkRows(rows []feedRow) (chunks []RowChunk) {
	var body []byte
	var c RowChunk
	flush := func() {
		if len(c.IDs) > 0 {
			c.Plain = append(appendHead(nil, majorArray, 5*uint64(len(c.IDs))), body...)
			chunks = append(chunks, c)
			c, body = RowChunk{}, nil
		}
	}
	for i := range rows {
		row := &rows[i]
		body = appendText(appendText(appendUint(body, row.pos), row.id), row.rev)
		body = appendUint(appendUint(body, uint64(one(row.deleted))), uint64(row.at))
		c.Last, c.IDs, c.At = row.pos, append(c.IDs, row.id), append(c.At, row.pos)
		if len(c.IDs) == maxChunkRows || len(body) > maxChunkBytes {
			flush()
		}
	}
	flush()
	return chunks
}

// parseRows reads a chunk; there are so many commits.
func parseRows(plain []byte, commits int) ([]feedRow, error) {
	in := reader{b: plain}
	n := in.array(5 * maxChunkRows)
	rows := make([]feedRow, 0, n/5)
	for range n / 5 {
		row := feedRow{pos: in.uint(maxSeq), id: in.text(MaxID), rev: in.text(maxRev), deleted: in.uint(1) == 1, at: int(in.uint(uint64(commits)))}
		if in.err != nil {
			return nil, in.err
		}
		rows = append(rows, row)
	}
	if n%5 != 0 {
		in.fail("rows of a feed")
	}
	return rows, in.end()
}
