package crdt

import (
	"bytes"
	"context"
	"encoding/hex"
	"iter"
	"strconv"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
)

// record is a document as it is kept: its canonical entry, and the blocks that the
// references in it name, in their order there.
type record struct {
	entry []byte // nil: nothing is kept
	links []block.ID
}

// revision returns <n>-<16 hex>, the same on every replica in the same state; hash
// is the beginning of the entry's expansion.
func revision(n int64, hash []byte) string {
	b := make([]byte, 0, 36)
	b = append(strconv.AppendInt(b, n, 10), '-')
	return string(hex.AppendEncode(b, hash[:8]))
}

// documents keeps the records by id: what changed since the last flush in memory,
// the rest in a search tree whose nodes are loaded when they are needed. The first
// that knows an id tells:
//
//	live     what changed since a flush began
//	frozen   what that flush is writing; nil: there is none
//	base     everything older; nil: no place for nodes, everything stays live
//
// In live and frozen a record without an entry hides what is below.
type documents struct {
	live    *layer
	frozen  *layer
	base    *tree.Tree
	unpack  func(tree.Entry) (record, error)
	entries int
	visible int
}

func newDocuments() documents { return documents{live: newLayer()} }

func (d *documents) get(id string) (record, error) {
	if rec, ok := d.live.get(id); ok {
		return rec, nil
	}
	if rec, ok := d.frozen.get(id); ok {
		return rec, nil
	}
	if d.base == nil || d.base.Count() == 0 || id == "" {
		return record{}, nil
	}
	e, ok, err := d.base.Get(context.Background(), []byte(id))
	if err != nil || !ok {
		return record{}, err
	}
	return d.unpack(e)
}

// set makes a record the newest of its document.
func (d *documents) set(u *update) {
	d.entries += one(u.rec.entry != nil) - one(u.had)
	d.visible += one(u.alive) - one(u.was)
	if u.rec.entry == nil && d.frozen == nil && (d.base == nil || d.base.Count() == 0) {
		d.live.forget(u.id) // there is nothing to hide
		return
	}
	d.live.set(u.id, u.rec)
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// each calls f for what is kept from…to in order of the ids, until it returns
// false or an error. from is inclusive, to exclusive; an empty to has no end. desc
// goes from the end to the front.
func (d *documents) each(from, to string, desc bool, f func(id string, rec record) (bool, error)) error {
	next, stop := iter.Pull2(d.dirty(from, to, desc))
	defer stop()
	id, rec, more := next()
	// before does the dirty ones in front of a key.
	before := func(key string, end bool) (bool, error) {
		for ; more && (end || id != key && id < key != desc); id, rec, more = next() {
			if rec.entry == nil {
				continue
			}
			if on, err := f(id, rec); !on || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	for e, err := range d.stored(from, to, desc) {
		if err != nil {
			return err
		}
		key := string(e.Key)
		if on, err := before(key, false); !on || err != nil {
			return err
		}
		if more && id == key {
			continue // a newer one stands in front of the next
		}
		old, err := d.unpack(e)
		if err != nil {
			return err
		}
		if on, err := f(key, old); !on || err != nil {
			return err
		}
	}
	_, err := before("", true)
	return err
}

// dirty merges the layers in order, those without an entry included.
func (d *documents) dirty(from, to string, desc bool) iter.Seq2[string, record] {
	if d.frozen == nil {
		return d.live.walk(from, to, desc)
	}
	return func(yield func(string, record) bool) {
		next, stop := iter.Pull2(d.live.walk(from, to, desc))
		defer stop()
		id, rec, more := next()
		for older, old := range d.frozen.walk(from, to, desc) {
			for ; more && id != older && id < older != desc; id, rec, more = next() {
				if !yield(id, rec) {
					return
				}
			}
			if more && id == older {
				continue
			}
			if !yield(older, old) {
				return
			}
		}
		for ; more; id, rec, more = next() {
			if !yield(id, rec) {
				return
			}
		}
	}
}

// stored yields the entries of the base from…to.
func (d *documents) stored(from, to string, desc bool) iter.Seq2[tree.Entry, error] {
	s := tree.Span{From: []byte(from), Desc: desc}
	if to != "" {
		s.To = []byte(to)
	}
	if d.base == nil || to != "" && bytes.Compare(s.From, s.To) >= 0 {
		return func(func(tree.Entry, error) bool) {}
	}
	return d.base.Range(context.Background(), s)
}

// weighed is how many entries tell what all of them weigh.
const weighed = 256

// StateBytes estimates how many bytes of nodes hold the state, from some of the entries.
func (r *Replica) StateBytes() (int64, error) {
	n, sum := 0, 0
	err := r.docs.each("", "", false, func(id string, rec record) (bool, error) {
		sum += len(id) + min(len(rec.entry), MaxInlineEntry) + 32*len(rec.links) + entryOverhead
		n++
		return n < weighed, nil
	})
	if n == 0 {
		return 0, err
	}
	return int64(sum) / int64(n) * int64(r.docs.entries), err
}

// entryOverhead is about what an entry takes of its node's envelope, seal and padding,
// and of the nodes above.
const entryOverhead = 32
