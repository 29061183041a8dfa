package crdt

import (
	"bytes"
	"strings"

	"github.com/toftdb/toft/internal/wire"
)

// cell is what an assignment assigns, as canonical bytes, so that equal cells are
// equal values:
//
//	a0                              here is an object; its keys are further paths
//	{1: hash, 2: size}              a value of more than 16 KiB, by its keyed hash
//	{1: hash, 2: size, 3: type, 4: modified}    a file, by the keyed hash of its root
//	anything else                   the value itself; never a map
//
// In an operation a reference has field 0 too, the index of the block in links.
type cell []byte

const cellObject = 0xa0

func (c cell) object() bool   { return c[0] == cellObject }
func (c cell) ref() bool      { return c[0]>>5 == majorMap && c[0] != cellObject }
func (c cell) number() bool   { return c[0]>>5 <= majorNeg || c[0] >= cborF16 && c[0] <= cborF64 }
func (c cell) file() bool     { return c.ref() && c[0]&31 == 4 }
func (c cell) is(o cell) bool { return bytes.Equal(c, o) }

// noLink is the link of a cell that names no block.
const noLink = -1

// ref is a cell that names a block.
type ref struct {
	hash     [32]byte
	size     uint64
	file     bool
	mime     string
	modified wire.Time
	link     int
}

// append writes the reference, with its link index if it has one.
func (f ref) append(b []byte) []byte {
	n := uint64(2)
	if f.file {
		n += 2
	}
	if f.link != noLink {
		b = appendUint(append(appendHead(b, majorMap, n+1), 0), uint64(f.link))
	} else {
		b = appendHead(b, majorMap, n)
	}
	b = appendUint(append(appendBytes(append(b, 1), f.hash[:]), 2), f.size)
	if f.file {
		b = appendUint(append(appendText(append(b, 3), f.mime), 4), uint64(f.modified))
	}
	return b
}

// ref reads a reference; linked says whether it must have a link index.
func (r *reader) ref(linked bool) (f ref) {
	n := r.pairs(5)
	f.link = noLink
	if linked {
		if n--; r.uint(4) != 0 {
			r.fail("reference without a link")
		}
		f.link = int(r.uint(maxPlain))
	}
	if r.err == nil && n != 2 && n != 4 {
		r.fail("reference of %d fields", n)
	}
	r.field(1)
	f.hash = [32]byte(r.bytes(32))
	r.field(2)
	f.size = r.uint(maxSeq)
	if f.file = n == 4; f.file {
		r.field(3)
		f.mime = r.text(maxFileText)
		r.field(4)
		f.modified = wire.Time(r.uint(uint64(wire.MaxTime) - 1))
		if strings.ContainsFunc(f.mime, isControl) {
			r.fail("media type with a control character")
		}
		return f
	}
	if r.err == nil && (f.size <= MaxInline || f.size > MaxDocument) {
		r.fail("value of %d bytes out of line", f.size)
	}
	return f
}

// field reads the key of a map field that must come next.
func (r *reader) field(k uint64) {
	if got := r.uint(1 << 16); r.err == nil && got != k {
		r.fail("field %d where %d belongs", got, k)
	}
}

// cell reads a cell at a row of a path table. In an operation (linked) references
// carry their link, which is returned beside the cell.
func (r *reader) cell(rows []row, i int, linked bool) (c cell, link int) {
	link = noLink
	if len(r.b) == 0 {
		r.fail("bytes end early")
		return nil, link
	}
	start, depth := r.b, rows[i].depth
	switch {
	case start[0] == cellObject:
		if r.take(1); depth+1 > MaxDepth {
			r.fail("nested deeper than %d", MaxDepth)
		}
	case start[0]>>5 == majorMap:
		f := r.ref(linked)
		if r.err == nil && linked {
			link, f.link = f.link, noLink
			c = f.append(nil)
		}
	default:
		if r.skipValue(depth + 1); len(start)-len(r.b) > MaxInline {
			r.fail("value of %d bytes in line", len(start)-len(r.b))
		}
	}
	if r.err != nil {
		return nil, link
	}
	if c == nil {
		n := len(start) - len(r.b)
		c = cell(start[:n:n])
	}
	if c.file() != rows[i].file(rows) || rows[i].reserved() {
		r.fail("a file belongs under %s and nothing else does", keyFiles)
	}
	return c, link
}

// parseRef takes apart a cell that is a reference.
func (c cell) parseRef() ref {
	r := reader{b: c}
	return r.ref(false)
}
