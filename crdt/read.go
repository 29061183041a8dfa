package crdt

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Meta is what is known of a document beside its content.
type Meta struct {
	Rev     string
	Deleted bool
	// Device, Time and Commit of the last put, patch, restore or delete that stands.
	Device block.Device
	Time   wire.Time
	Commit block.ID
	// Conflicts is the number of paths that keep more than they show.
	Conflicts int
}

// Get returns a document with its "_id" and "_rev", and [ErrNotFound] if it is not
// there; Meta tells then whether it is deleted.
func (r *Replica) Get(id string) (Doc, Meta, error) {
	rec := r.docs.get(id)
	if rec.entry == nil {
		return nil, Meta{}, notFound(id)
	}
	e := r.entry(id)
	m := Meta{Rev: rec.rev(), Deleted: !rec.alive}
	if g := e.newest(); g != nil {
		m.Device, m.Time, m.Commit = g.dot.Actor.Device, g.time, r.standing(g.dot)
	}
	if !rec.alive {
		return nil, m, notFound(id)
	}
	v := viewer{stores: r, keep: true}
	doc, err := v.show(id, &rec, e)
	m.Conflicts = len(v.conflicts)
	return doc, m, err
}

func notFound(id string) error { return fmt.Errorf("%w: %.80q", ErrNotFound, id) }

// show returns the document of an entry that is alive.
func (v *viewer) show(id string, rec *record, e *entry) (Doc, error) {
	doc := Doc(v.document(e))
	doc[keyID], doc[keyRev] = id, rec.rev()
	if v.missing {
		return nil, fmt.Errorf("document %.80q: a value kept out of line is not at hand", id)
	}
	return doc, nil
}

// standing returns the commit of a dot that counts.
func (r *Replica) standing(d Dot) block.ID {
	if n, ok := r.actors[d.Actor]; ok {
		for _, h := range r.logs[n].at(d.Seq) {
			if h.void == "" {
				return h.ID
			}
		}
	}
	return block.ID{}
}

// Range selects documents by id. The zero value is all of them.
type Range struct {
	From, To string // inclusive; an empty To has no end
	After    string // exclusive: go on behind this id (before it, if Desc)
	Prefix   string
	Desc     bool
	Limit    int // 0: no limit
}

// bounds returns the half-open interval of a range; an empty to has no end.
func (q Range) bounds() (from, to string) {
	from = max(q.From, q.Prefix)
	if q.To != "" {
		to = q.To + "\x00"
	}
	lower := func(end string) {
		if end != "" && (to == "" || end < to) {
			to = end
		}
	}
	lower(successor(q.Prefix))
	if q.After != "" {
		if q.Desc {
			lower(q.After)
		} else {
			from = max(from, q.After+"\x00")
		}
	}
	return from, to
}

// successor is the first string behind all that start with p, "" if there is none.
func successor(p string) string {
	b := []byte(p)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return ""
	}
	b[len(b)-1]++
	return string(b)
}

// All yields the documents of a range in order of their ids (by code point). The
// replica must not change meanwhile.
func (r *Replica) All(q Range) iter.Seq2[Doc, error] {
	return func(yield func(Doc, error) bool) {
		from, to := q.bounds()
		n := 0
		r.docs.ids.walk(from, to, q.Desc, func(id string) bool {
			rec := r.docs.get(id)
			if !rec.alive {
				return true
			}
			v := viewer{stores: r}
			n++
			return yield(v.show(id, &rec, r.entry(id))) && n != q.Limit
		})
	}
}

// Count returns the number of documents that are there.
func (r *Replica) Count() int { return r.docs.visible }

// Conflicts returns, by path, what a document keeps beside what it shows, and
// [ErrNotFound] if it is not there.
func (r *Replica) Conflicts(id string) ([]Conflict, error) {
	if !r.docs.get(id).alive {
		return nil, notFound(id)
	}
	v := viewer{stores: r, keep: true}
	v.document(r.entry(id))
	if v.missing {
		return nil, fmt.Errorf("document %.80q: a value kept out of line is not at hand", id)
	}
	slices.SortFunc(v.conflicts, func(a, b Conflict) int { return slices.Compare(a.Path, b.Path) })
	return v.conflicts, nil
}

// Conflicted returns the ids of the documents that keep more than they show, in
// order.
func (r *Replica) Conflicted() (ids []string) {
	r.docs.ids.walk("", "", false, func(id string) bool {
		if rec := r.docs.get(id); rec.alive {
			e := r.entry(id)
			v := viewer{stores: r, keep: true}
			// One dot and no increments: nothing can be in conflict.
			if len(e.groups) > 1 || len(e.groups) == 1 && !e.root.settled() {
				v.document(e)
			}
			if len(v.conflicts) > 0 {
				ids = append(ids, id)
			}
		}
		return true
	})
	return ids
}

// settled reports that there are no increments at n or below.
func (n *node) settled() bool {
	for _, k := range n.kids {
		if !k.settled() {
			return false
		}
	}
	return len(n.ctrs) == 0
}

// File returns where the file of a document starts, and [ErrNotFound] if there is
// no such document or file.
func (r *Replica) File(id, name string) (File, error) {
	if !r.docs.get(id).alive {
		return File{}, notFound(id)
	}
	if n := r.entry(id).at(path("").child(keyFiles).child(name)); n != nil {
		if win := winner(n); win != nil && win.val.file() {
			f := win.val.parseRef()
			return File{Root: r.roots[f.hash], Hash: f.hash, Size: f.size, Type: f.mime, Modified: f.modified}, nil
		}
	}
	return File{}, fmt.Errorf("%w: %.80q has no file %.80q", ErrNotFound, id, name)
}

// Voids returns the commits that do not count and why.
func (r *Replica) Voids() map[block.ID]string {
	out := make(map[block.ID]string, len(r.voids))
	for id, h := range maps.All(r.voids) {
		out[id] = h.void
	}
	return out
}
