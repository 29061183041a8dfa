package crdt

import (
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
// replica is filled with the same commits in the same order of arrival.
type Cursor struct{ pos uint64 }

// String returns the cursor as text, "c0" for the beginning.
func (c Cursor) String() string { return "c" + strconv.FormatUint(c.pos, 36) }

// ParseCursor reads the text of a cursor; the empty text is the beginning.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	digits, ok := strings.CutPrefix(s, "c")
	pos, err := strconv.ParseUint(digits, 36, 64)
	if c := (Cursor{pos}); ok && err == nil && c.String() == s {
		return c, nil
	}
	return Cursor{}, fmt.Errorf("%w: %.40q", ErrCursor, s)
}

// feed keeps the last change of every document in the order they happened. Rows
// that a later change of the same document replaces are skipped, and swept when
// they are the majority.
type feed struct {
	rows []Change
	last map[string]uint64
	pos  uint64
}

func newFeed() feed { return feed{last: map[string]uint64{}} }

func (f *feed) push(c Change) Cursor {
	f.pos++
	c.Cursor = Cursor{f.pos}
	f.last[c.ID] = f.pos
	f.rows = append(f.rows, c)
	if len(f.rows) > 64 && len(f.rows) > 2*len(f.last) {
		// A new slice: a reader may be walking the old one.
		kept := make([]Change, 0, len(f.last)+len(f.last)/4)
		for _, row := range f.rows {
			if f.last[row.ID] == row.Cursor.pos {
				kept = append(kept, row)
			}
		}
		f.rows = kept
	}
	return c.Cursor
}

// Now returns the cursor behind the last change.
func (r *Replica) Now() Cursor { return Cursor{r.feed.pos} }

// Changes yields what changed behind a cursor, in the order it happened here, each
// document once, deletions included. A cursor from the future of this replica
// yields [ErrCursor].
func (r *Replica) Changes(since Cursor) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if since.pos > r.feed.pos {
			yield(Change{}, fmt.Errorf("%w: %s lies behind the last change %s", ErrCursor, since, r.Now()))
			return
		}
		rows := r.feed.rows
		i, _ := slices.BinarySearchFunc(rows, since.pos+1, func(c Change, pos uint64) int {
			return int(int64(c.Cursor.pos) - int64(pos))
		})
		for _, c := range rows[i:] {
			if r.feed.last[c.ID] == c.Cursor.pos && !yield(c, nil) {
				return
			}
		}
	}
}
