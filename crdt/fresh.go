package crdt

import "slices"

// A put of a document of which nothing is kept is most of what a load does, and
// needs no working copy: paths and what is set there are the same bytes in the
// operation and in the entry.
//
//	operation  {1: id, 2: paths, 3: sets, 4: 1}
//	entry      {1: [author], 2: paths, 3: [[0, seq, time, 1, sets]]}
type fresh struct {
	entry []byte
	paths []byte // part of entry, like sets; nil: none
	sets  []byte
}

// maxFresh bounds what is written this way: no value is out of line, no document
// too large.
const maxFresh = MaxInline

// freshWriter writes such documents one after another, in the same scratch.
type freshWriter struct {
	keys  []string // of the objects that are open
	path  []string
	paths []byte
	sets  []byte
	rows  int
}

// write returns the entry of a document, nil for one that must go the long way,
// which then says what is wrong with it.
func (f *freshWriter) write(doc map[string]any, c *opContext) *fresh {
	if _, ok := doc[keyFiles]; ok {
		return nil
	}
	f.keys, f.path, f.paths, f.sets, f.rows = f.keys[:0], f.path[:0], f.paths[:0], f.sets[:0], 0
	if !f.object(doc, -1) {
		return nil
	}
	b := make([]byte, 0, 96+len(f.paths)+len(f.sets))
	b = appendHead(b, majorMap, 2+uint64(one(f.rows > 0)))
	b = actorSet{c.dot.Actor}.append(append(b, 1))
	x := &fresh{}
	if f.rows > 0 {
		start := len(b) + 1
		b = append(appendHead(append(b, 2), majorArray, uint64(f.rows)), f.paths...)
		x.paths = b[start:len(b):len(b)]
	}
	b = append(b, 3, majorArray<<5|1, majorArray<<5|5, 0)
	b = append(appendUint(appendUint(b, c.dot.Seq), uint64(c.time)), 1)
	start := len(b)
	b = append(appendHead(b, majorMap, uint64(f.rows)), f.sets...)
	x.entry, x.sets = b, b[start:]
	return x
}

// object writes the keys of an object, which stands at a row (−1: the document), and
// all that is below.
func (f *freshWriter) object(m map[string]any, row int) bool {
	if len(f.path) > MaxDepth-one(row >= 0) {
		return false
	}
	start := len(f.keys)
	for k := range m {
		if row >= 0 || k != keyID && k != keyRev {
			f.keys = append(f.keys, k)
		}
	}
	keys := f.keys[start:]
	slices.Sort(keys)
	for _, k := range keys {
		f.path = append(f.path, k)
		if !f.set(m[k], row) {
			return false
		}
		f.path = f.path[:len(f.path)-1]
	}
	f.keys = f.keys[:start]
	return true
}

// set writes what stands at the present path, below a row.
func (f *freshWriter) set(v any, parent int) bool {
	k := f.path[len(f.path)-1]
	if checkKey(k, f.path) != nil || len(f.paths)+len(f.sets) > maxFresh {
		return false
	}
	if parent >= 0 {
		f.paths = appendUint(append(f.paths, majorArray<<5|2), uint64(parent))
	}
	f.paths = appendText(f.paths, k)
	row := f.rows
	f.rows++
	f.sets = appendUint(f.sets, uint64(row))
	if m, ok := object(v); ok {
		f.sets = append(f.sets, cellObject)
		return f.object(m, row)
	}
	b, err := appendValue(f.sets, v, f.path, len(f.path)+1)
	if err != nil {
		return false
	}
	f.sets = b
	return len(f.paths)+len(f.sets) <= maxFresh
}

// append writes the operation.
func (x *fresh) append(b []byte, id string) []byte {
	b = appendText(append(appendHead(b, majorMap, 2+2*uint64(one(x.paths != nil))), 1), id)
	if x.paths != nil {
		b = append(append(b, 2), x.paths...)
		b = append(append(b, 3), x.sets...)
	}
	return append(b, 4, 1)
}
