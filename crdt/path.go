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
	key    string
}

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

// rows reads a path table. It refuses one that is not sorted, goes deeper than a
// document may, or holds a reserved key.
func (r *reader) rows() []row {
	n := r.array(maxPlain)
	if r.err != nil {
		return nil
	}
	rows := make([]row, 0, n)
	depth := make([]uint8, 0, n)
	last := make([]string, n+1) // the last key below row i−1, at i
	for i := range n {
		w, d := row{parent: -1}, uint8(1)
		if len(r.b) > 0 && r.b[0]>>5 == majorArray {
			if r.array(2) != 2 {
				r.fail("row of a path table")
			}
			w.parent = int(r.uint(maxPlain))
			if w.parent >= i {
				r.fail("row %d of a path table is below row %d", i, w.parent)
				return nil
			}
			d = depth[w.parent] + 1
		}
		w.key = r.text(MaxKey)
		if r.err != nil || !r.checkRow(rows, depth, w, d, last) {
			return nil
		}
		last[w.parent+1] = w.key + "\x00"
		rows, depth = append(rows, w), append(depth, d)
	}
	return rows
}

func (r *reader) checkRow(rows []row, depth []uint8, w row, d uint8, last []string) bool {
	i := len(rows)
	// Sorted by path means: below the row before it or one of that row's
	// ancestors, after the last child there.
	at := i - 1
	for at >= 0 && depth[at] >= d {
		at = rows[at].parent
	}
	switch {
	case at != w.parent:
		r.fail("path table is not sorted")
	case last[w.parent+1] >= w.key+"\x00" && last[w.parent+1] != "":
		r.fail("path table is not sorted")
	case d > MaxDepth:
		r.fail("path deeper than %d", MaxDepth)
	case d == 1 && strings.HasPrefix(w.key, "_") && w.key != keyFiles:
		r.fail("reserved key %q", w.key)
	case d > 2 && inFiles(rows, w):
		r.fail("path inside a file")
	}
	return r.err == nil
}

// inFiles reports whether w lies below _files.
func inFiles(rows []row, w row) bool {
	for w.parent >= 0 {
		w = rows[w.parent]
	}
	return w.key == keyFiles
}
