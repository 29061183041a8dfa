package crdt

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// staged is what some operations lead to: the records that change and the
// accumulator after them. It is computed apart from the state, so that a draft can
// tell its digest before it is written and nothing is computed twice.
type staged struct {
	updates  []update
	acc      accumulator
	drafted  *drafted // set if this is what a draft leads to
	unsealed bool     // a record refers to a block that has no name yet
}

// drafted tells a commit that was drafted here.
type drafted struct {
	ctx     opContext
	parents []block.ID
	ops     []byte
}

// update is what becomes of a document, and what was kept of it before.
type update struct {
	id       string
	rec      record
	alive    bool
	rev      string // after it; empty if nothing is kept
	had, was bool   // something was kept; it was alive
}

// stage applies the operations of a commit.
func (r *Replica) stage(h *held, ctx *opContext, ops []op) (*staged, error) {
	s := &staged{acc: r.acc, updates: make([]update, 0, len(ops))}
	for i := range ops {
		o := &ops[i]
		k, err := r.load(o.id)
		if err == nil {
			if k.e == nil {
				k.e = &entry{}
			}
			err = r.apply(k.e, h, ctx, o)
		}
		if err != nil {
			return nil, err
		}
		r.stageEntry(s, o.id, &k, k.e)
	}
	return s, nil
}

// apply does to an entry what an operation of a commit stands for.
func (r *Replica) apply(e *entry, h *held, ctx *opContext, o *op) error {
	drops := r.resolve(h, ctx, o)
	o, err := r.settled(h, ctx, o)
	if err == nil {
		e.apply(o, ctx, drops)
	}
	return err
}

// kept is a record taken apart. What is done to the entry does not change the rest.
type kept struct {
	rec   record
	e     *entry // nil: nothing is kept
	n     int64
	alive bool
}

// load reads a document and takes it apart.
func (r *Replica) load(id string) (kept, error) {
	rec, err := r.docs.get(id)
	if err != nil {
		return kept{}, fmt.Errorf("document %.80q: %w", id, err)
	}
	return rec.open(id)
}

func (rec record) open(id string) (kept, error) {
	if rec.entry == nil {
		return kept{}, nil
	}
	e, err := rec.decode()
	if err != nil {
		return kept{}, fmt.Errorf("document %.80q: %w", id, err)
	}
	return kept{rec, e, e.revision(), e.alive()}, nil
}

// rev returns the revision of a document as it is kept, "" if nothing is.
func (r *Replica) rev(id string, k *kept) string {
	if k.rec.entry == nil {
		return ""
	}
	x := r.keys.Expand(digestInput(nil, id, k.rec.entry))
	return revision(k.n, x[:])
}

// stageFresh notes the entry of a document of which nothing was kept.
func (r *Replica) stageFresh(s *staged, id string, entry []byte) {
	x := r.keys.Expand(digestInput(make([]byte, 0, len(entry)+len(id)+8), id, entry))
	s.acc.add(&x)
	s.updates = append(s.updates, update{id: id, rec: record{entry: entry}, alive: true, rev: revision(1, x[:])})
}

// stageEntry notes the new entry of a document, if it differs from what was kept.
func (r *Replica) stageEntry(s *staged, id string, old *kept, e *entry) {
	u := update{id: id, rec: record{entry: e.encode()}, had: old.rec.entry != nil, was: old.alive}
	if bytes.Equal(u.rec.entry, old.rec.entry) {
		return
	}
	buf := make([]byte, 0, max(len(old.rec.entry), len(u.rec.entry))+len(id)+8)
	if u.had {
		x := r.keys.Expand(digestInput(buf, id, old.rec.entry))
		if !planted.Bug("crdt-digest-keeps-the-old") {
			s.acc.sub(&x)
		}
	}
	if u.rec.entry != nil {
		x := r.keys.Expand(digestInput(buf, id, u.rec.entry))
		s.acc.add(&x)
		var all bool
		u.rec.links, all = e.refs()
		u.rev, u.alive = revision(e.revision(), x[:]), e.alive()
		s.unsealed = s.unsealed || !all
	}
	s.updates = append(s.updates, u)
}

// digestInput is what stands for a document in the digest: the array [id, entry].
func digestInput(b []byte, id string, entry []byte) []byte {
	return append(appendText(appendHead(b, majorArray, 2), id), entry...)
}

// of reports whether a commit is the one that was drafted here. Equal parents mean the
// same past.
func (s *staged) of(c *Commit) bool {
	if s == nil || len(c.blocks)+len(c.cells) > 0 {
		return false
	}
	d := s.drafted
	return slices.Equal(d.parents, c.Parents) && d.ctx.dot == c.ctx.dot && d.ctx.time == c.Time &&
		slices.Equal(d.ctx.actors, c.ctx.actors) && (bytes.Equal(d.ops, c.inline) || planted.Bug("crdt-another-for-the-draft"))
}

// fits reports whether a commit, already in the graph, is the one that was drafted
// here, and leads to what is staged. A draft is forgotten as soon as the state changes.
func (s *staged) fits(r *Replica, h *held) bool {
	return s.of(&h.Commit) && h.void == "" && slices.Equal(r.heads, []block.ID{h.ID})
}

// install makes staged records the state and tells what changed. h is the commit
// that led to them, nil if it was a new judgement of old ones.
func (r *Replica) install(s *staged, h *held) []Change {
	r.acc, r.pending = s.acc, nil
	changes := make([]Change, 0, len(s.updates))
	at := 0
	if h != nil {
		at = h.index + 1
	}
	for i := range s.updates {
		u := &s.updates[i]
		r.docs.set(u)
		row := feedRow{id: u.id, rev: u.rev, deleted: !u.alive, at: at}
		row.pos = r.feed.push(row)
		changes = append(changes, r.change(&row))
	}
	return changes
}
