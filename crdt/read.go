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
// there; Meta tells then whether it is deleted. Another error says that what is kept
// cannot be read.
func (r *Replica) Get(id string) (Doc, Meta, error) {
	k, err := r.load(id)
	switch {
	case err != nil:
		return nil, Meta{}, err
	case k.rec.entry == nil:
		return nil, Meta{}, notFound(id)
	}
	m := Meta{Rev: r.rev(id, &k), Deleted: !k.alive}
	if g := k.e.newest(); g != nil {
		m.Device, m.Time, m.Commit = g.dot.Actor.Device, g.time, r.standing(g.dot)
	}
	if !k.alive {
		return nil, m, notFound(id)
	}
	v := viewer{stores: r, keep: true}
	doc, err := v.show(id, m.Rev, k.e)
	m.Conflicts = len(v.conflicts)
	return doc, m, err
}

func notFound(id string) error { return fmt.Errorf("%w: %.80q", ErrNotFound, id) }

// present loads a document that is there.
func (r *Replica) present(id string) (kept, error) {
	k, err := r.load(id)
	if err == nil && !k.alive {
		err = notFound(id)
	}
	return k, err
}

// show returns the document of an entry that is alive.
func (v *viewer) show(id, rev string, e *entry) (Doc, error) {
	doc := Doc(v.document(e))
	doc[keyID], doc[keyRev] = id, rev
	if v.missing != nil {
		return nil, fmt.Errorf("document %.80q: %w", id, v.missing)
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
// replica must not change meanwhile. An error about one document does not end it; an
// error without a document does.
func (r *Replica) All(q Range) iter.Seq2[Doc, error] {
	return func(yield func(Doc, error) bool) {
		from, to := q.bounds()
		n := 0
		err := r.docs.each(from, to, q.Desc, func(id string, rec record) (bool, error) {
			k, err := rec.open(id)
			if err != nil || !k.alive {
				return err == nil, err
			}
			v := viewer{stores: r}
			n++
			return yield(v.show(id, r.rev(id, &k), k.e)) && n != q.Limit, nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// Count returns the number of documents that are there.
func (r *Replica) Count() int { return r.docs.visible }

// Conflicts returns, by path, what a document keeps beside what it shows, and
// [ErrNotFound] if it is not there.
func (r *Replica) Conflicts(id string) ([]Conflict, error) {
	k, err := r.present(id)
	if err != nil {
		return nil, err
	}
	v := viewer{stores: r, keep: true}
	v.document(k.e)
	if v.missing != nil {
		return nil, fmt.Errorf("document %.80q: %w", id, v.missing)
	}
	slices.SortFunc(v.conflicts, func(a, b Conflict) int { return slices.Compare(a.Path, b.Path) })
	return v.conflicts, nil
}

// Conflicted returns the ids of the documents that keep more than they show, in
// order.
func (r *Replica) Conflicted() (ids []string, err error) {
	err = r.docs.each("", "", false, func(id string, rec record) (bool, error) {
		k, err := rec.open(id)
		if err != nil || !k.alive {
			return err == nil, err
		}
		v := viewer{stores: r, keep: true}
		// One dot and no increments: nothing can be in conflict.
		if g := k.e.groups; len(g) > 1 || len(g) == 1 && !k.e.root.settled() {
			v.document(k.e)
		}
		if len(v.conflicts) > 0 {
			ids = append(ids, id)
		}
		return true, nil
	})
	return ids, err
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
	k, err := r.present(id)
	if err != nil {
		return File{}, err
	}
	if n := k.e.at([]string{keyFiles, name}); n != nil {
		if win := winner(n); win != nil && win.val.file() {
			f := win.val.parseRef()
			root, _ := r.root(f, win.link)
			return File{Root: root, Hash: f.hash, Size: f.size, Type: f.mime, Modified: f.modified}, nil
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
