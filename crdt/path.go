package crdt

import (
	"crypto/sha256"
	"strings"
)

// place is a path, as what stands above its last key: the paths of an operation share
// their fronts. Written out, those of one of a megabyte can take gigabytes.
type place struct {
	above *place // nil: below the root
	key   string
	depth int
	sum   [16]byte // of all keys: equal paths have equal sums
}

// child returns the place of a key below p; a nil p is the root.
func (p *place) child(key string) *place {
	c := &place{above: p, key: key, depth: 1}
	text := make([]byte, len(c.sum), 64)
	if p != nil {
		c.depth = p.depth + 1
		copy(text, p.sum[:])
	}
	sum := sha256.Sum256(append(text, key...))
	copy(c.sum[:], sum[:])
	return c
}

// keys returns the list of keys.
func (p *place) keys() []string {
	list := make([]string, p.depth)
	for ; p != nil; p = p.above {
		list[p.depth-1] = p.key
	}
	return list
}

// cover is a set of slots and of all that is below them.
type cover struct {
	life   bool // the two life slots are one place
	places map[[16]byte]struct{}
}

// over returns the cover of some slots of an operation.
func over(slots []int, places []*place) cover {
	c := cover{places: make(map[[16]byte]struct{}, len(slots))}
	for _, s := range slots {
		if s < slotPath {
			c.life = true
		} else {
			c.places[places[s-slotPath].sum] = struct{}{}
		}
	}
	return c
}

// has reports whether a slot is one of the cover or below one.
func (c cover) has(s slot) bool {
	if s.kind != slotPath {
		return c.life
	}
	for p := s.place; p != nil; p = p.above {
		if _, ok := c.places[p.sum]; ok {
			return true
		}
	}
	return false
}

// row is one line of a path table: a key below another row, or below the root
// (parent −1). Tables are sorted by path, so a parent stands before its children
// and each line costs its own key only.
type row struct {
	parent int
	depth  int // number of keys
	key    string
}

// file reports that the row is a file's: the only place where a cell is one.
func (w row) file(rows []row) bool {
	return w.depth == 2 && rows[w.parent].key == keyFiles
}

// reserved reports that the row holds files and no value itself.
func (w row) reserved() bool { return w.depth == 1 && w.key == keyFiles }

func appendRows(b []byte, rows []row) []byte {
	b = appendHead(b, majorArray, uint64(len(rows)))
	for _, w := range rows {
		if w.parent >= 0 {
			b = appendUint(appendHead(b, majorArray, 2), uint64(w.parent))
		}
		b = appendText(b, w.key)
	}
	return b
}

// rows reads a path table of at most limit rows. It refuses one that is empty, not
// sorted, deeper than a document may be, or holds a reserved key.
func (r *reader) rows(limit int) []row {
	n := r.array(limit)
	if r.err == nil && n == 0 {
		r.fail("empty path table")
	}
	size := len(r.b)
	skip := reader{b: r.b}
	for range n {
		if skip.row(); skip.err != nil {
			r.err, r.b = skip.err, nil
			return nil
		}
	}
	keys := string(r.b[:size-len(skip.b)]) // one allocation for all keys
	rows := make([]row, 0, n)
	for range n {
		w := row{parent: -1, depth: 1}
		parent, key := r.row()
		if r.err != nil {
			return nil
		}
		end := size - len(r.b)
		w.key = keys[end-len(key) : end]
		if parent >= 0 {
			if parent >= len(rows) {
				r.fail("row %d of a path table is below row %d", len(rows), parent)
				return nil
			}
			w.parent, w.depth = parent, rows[parent].depth+1
		}
		if r.checkRow(rows, w); r.err != nil {
			return nil
		}
		rows = append(rows, w)
	}
	return rows
}

// row reads one line: its parent, −1 for the root, and the bytes of its key.
func (r *reader) row() (parent int, key []byte) {
	parent = -1
	if len(r.b) > 0 && r.b[0]>>5 == majorArray {
		if r.array(2) != 2 {
			r.fail("row of a path table")
		}
		parent = int(r.uint(maxEntry))
	}
	return parent, r.textBytes(MaxKey)
}

func (r *reader) checkRow(rows []row, w row) {
	// Sorted by path means: below the row before it or one of that row's
	// ancestors, behind the last child there.
	at, before := len(rows)-1, -1
	for at >= 0 && rows[at].depth >= w.depth {
		at, before = rows[at].parent, at
	}
	switch {
	case at != w.parent, before >= 0 && rows[before].key >= w.key:
		r.fail("path table is not sorted")
	case w.depth > MaxDepth:
		r.fail("path deeper than %d", MaxDepth)
	case w.depth == 1 && strings.HasPrefix(w.key, "_") && w.key != keyFiles:
		r.fail("reserved key %q", w.key)
	case w.depth > 2 && inFiles(rows, w):
		r.fail("path inside a file")
	}
}

// inFiles reports whether w lies below _files.
func inFiles(rows []row, w row) bool {
	for w.parent >= 0 {
		w = rows[w.parent]
	}
	return w.key == keyFiles
}
