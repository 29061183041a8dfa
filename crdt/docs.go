package crdt

import (
	"encoding/hex"
	"slices"
	"strconv"
)

// record is a document as it is kept: its canonical entry, and what reads need
// most often.
type record struct {
	entry []byte // nil: nothing is kept
	hash  [8]byte
	n     int64
	alive bool
}

// rev returns <n>-<16 hex>, the same on every replica in the same state.
func (r *record) rev() string {
	if r.entry == nil {
		return ""
	}
	b := make([]byte, 0, 36)
	b = append(strconv.AppendInt(b, r.n, 10), '-')
	return string(hex.AppendEncode(b, r.hash[:]))
}

// documents keeps the records by id, in memory. It is the seam at which the search
// tree takes over: everything else reads and writes records through it.
type documents struct {
	records map[string]record
	ids     orderedIDs
	visible int
}

func newDocuments() documents { return documents{records: map[string]record{}} }

func (d *documents) get(id string) record { return d.records[id] }

// set stores a record, or forgets the document if it holds nothing.
func (d *documents) set(id string, r record) {
	old, had := d.records[id]
	if old.alive {
		d.visible--
	}
	if r.alive {
		d.visible++
	}
	if r.entry == nil {
		delete(d.records, id)
		if had {
			d.ids.remove(id)
		}
		return
	}
	if !had {
		d.ids.insert(id)
	}
	d.records[id] = r
}

// orderedIDs is a sorted set of ids in chunks, so that an insertion moves a few
// hundred strings at most.
type orderedIDs struct{ chunks [][]string }

const chunkSize = 256

// chunk returns the index of the chunk that id belongs to.
func (o *orderedIDs) chunk(id string) int {
	i, ok := slices.BinarySearchFunc(o.chunks, id, func(c []string, id string) int {
		switch {
		case c[0] < id:
			return -1
		case c[0] > id:
			return 1
		}
		return 0
	})
	if !ok && i > 0 {
		i--
	}
	return i
}

func (o *orderedIDs) insert(id string) {
	if len(o.chunks) == 0 {
		o.chunks = [][]string{{id}}
		return
	}
	i := o.chunk(id)
	c := o.chunks[i]
	at, ok := slices.BinarySearch(c, id)
	if ok {
		return
	}
	c = slices.Insert(c, at, id)
	o.chunks[i] = c
	if len(c) <= 2*chunkSize {
		return
	}
	cut := chunkSize
	if at == len(c)-1 && i == len(o.chunks)-1 {
		cut = len(c) - 1 // ids arrive in order: leave full chunks behind
	}
	tail := slices.Clone(c[cut:])
	clear(c[cut:])
	o.chunks[i] = c[:cut]
	o.chunks = slices.Insert(o.chunks, i+1, tail)
}

func (o *orderedIDs) remove(id string) {
	if len(o.chunks) == 0 {
		return
	}
	i := o.chunk(id)
	at, ok := slices.BinarySearch(o.chunks[i], id)
	if !ok {
		return
	}
	if o.chunks[i] = slices.Delete(o.chunks[i], at, at+1); len(o.chunks[i]) == 0 {
		o.chunks = slices.Delete(o.chunks, i, i+1)
	}
}

// walk yields the ids from…to in order; an empty to has no end. from and to are
// inclusive and exclusive. desc goes from the end to the front.
func (o *orderedIDs) walk(from, to string, desc bool, yield func(id string) bool) {
	inside := func(id string) bool { return id >= from && (to == "" || id < to) }
	if !desc {
		for i := o.chunk(from); i < len(o.chunks); i++ {
			for _, id := range o.chunks[i] {
				if to != "" && id >= to {
					return
				}
				if inside(id) && !yield(id) {
					return
				}
			}
		}
		return
	}
	last := len(o.chunks) - 1
	if to != "" {
		last = min(last, o.chunk(to))
	}
	for i := last; i >= 0; i-- {
		for j := len(o.chunks[i]) - 1; j >= 0; j-- {
			id := o.chunks[i][j]
			if id < from {
				return
			}
			if inside(id) && !yield(id) {
				return
			}
		}
	}
}
