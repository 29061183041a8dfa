package crdt

import "strings"

// path is a list of keys as one string that sorts as the list does, and is a
// prefix of another path exactly if its list is: each key, with 0x00 and 0x01
// written as 0x01 0x01 and 0x01 0x02, then 0x00.
type path string

func (p path) child(key string) path {
	if strings.IndexByte(key, 0) < 0 && strings.IndexByte(key, 1) < 0 {
		return p + path(key) + "\x00"
	}
	return p + path(strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02").Replace(key)) + "\x00"
}

// within reports whether p is q or below it.
func (p path) within(q path) bool { return strings.HasPrefix(string(p), string(q)) }

// keys returns the list of keys.
func (p path) keys() []string {
	if p == "" {
		return nil
	}
	list := strings.Split(string(p[:len(p)-1]), "\x00")
	for i, k := range list {
		if strings.IndexByte(k, 1) >= 0 {
			list[i] = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01").Replace(k)
		}
	}
	return list
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

// rows reads a path table. It refuses one that is empty, not sorted, deeper than a
// document may be, or holds a reserved key.
func (r *reader) rows() []row {
	n := r.array(maxPlain)
	if r.err == nil && n == 0 {
		r.fail("empty path table")
	}
	size := len(r.b)
	skip := reader{b: r.b}
	for range n {
		skip.row()
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
		parent = int(r.uint(maxPlain))
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
