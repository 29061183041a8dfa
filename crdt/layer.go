package crdt

import (
	"iter"
	"slices"
)

// layer is records in memory, by id and in order.
type layer struct {
	records map[string]record
	ids     orderedIDs
	bytes   int
}

func newLayer() *layer { return &layer{records: map[string]record{}} }

// recordMemory is about what a record takes beside its bytes.
const recordMemory = 160

func (r *record) memory(id string) int {
	return recordMemory + len(id) + len(r.entry) + 32*len(r.links)
}

func (l *layer) get(id string) (record, bool) {
	if l == nil {
		return record{}, false
	}
	r, ok := l.records[id]
	return r, ok
}

func (l *layer) set(id string, r record) {
	old, had := l.records[id]
	if had {
		l.bytes -= old.memory(id)
	} else {
		l.ids.insert(id)
	}
	l.bytes += r.memory(id)
	l.records[id] = r
}

func (l *layer) forget(id string) {
	if old, had := l.records[id]; had {
		l.bytes -= old.memory(id)
		delete(l.records, id)
		l.ids.remove(id)
	}
}

// walk yields the records from…to in order, see [documents.each].
func (l *layer) walk(from, to string, desc bool) iter.Seq2[string, record] {
	return func(yield func(string, record) bool) {
		if l != nil {
			l.ids.walk(from, to, desc, func(id string) bool { return yield(id, l.records[id]) })
		}
	}
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
