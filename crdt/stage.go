package crdt

import (
	"bytes"
	"slices"

	"github.com/toftdb/toft/block"
)

// staged is what some operations lead to: the records that change and the
// accumulator after them. It is computed apart from the state, so that a draft can
// tell its digest before it is written and nothing is computed twice.
type staged struct {
	updates []update
	acc     accumulator
	drafted *drafted // set if this is what a draft leads to
}

// drafted tells a commit that was drafted here.
type drafted struct {
	ctx     opContext
	parents []block.ID
	ops     []byte
}

type update struct {
	id  string
	rec record
}

// stage applies operations. drops resolves what each drops, see [Replica.resolve].
func (r *Replica) stage(ctx *opContext, ops []op, drops func(*op) []named) *staged {
	s := &staged{acc: r.acc, updates: make([]update, 0, len(ops))}
	for i := range ops {
		o := &ops[i]
		e := r.entry(o.id)
		e.apply(o, ctx, drops(o))
		r.stageEntry(s, o.id, e)
	}
	return s
}

// entry decodes the kept entry of a document.
func (r *Replica) entry(id string) *entry {
	e, err := decodeEntry(r.docs.get(id).entry)
	if err != nil {
		panic("crdt: kept entry does not decode: " + err.Error())
	}
	return e
}

// stageEntry notes the new entry of a document, if it differs.
func (r *Replica) stageEntry(s *staged, id string, e *entry) {
	old := r.docs.get(id)
	rec := record{entry: e.encode()}
	if bytes.Equal(rec.entry, old.entry) {
		return
	}
	buf := make([]byte, 0, max(len(old.entry), len(rec.entry))+len(id)+8)
	if old.entry != nil {
		x := r.keys.Expand(digestInput(buf, id, old.entry))
		s.acc.sub(&x)
	}
	if rec.entry != nil {
		x := r.keys.Expand(digestInput(buf, id, rec.entry))
		s.acc.add(&x)
		rec.hash, rec.n, rec.alive = [8]byte(x[:8]), e.revision(), e.alive()
	}
	s.updates = append(s.updates, update{id, rec})
}

// digestInput is what stands for a document in the digest: the array [id, entry].
func digestInput(b []byte, id string, entry []byte) []byte {
	return append(appendText(appendHead(b, majorArray, 2), id), entry...)
}

// fits reports whether a commit, already in the graph, is the one that was drafted
// here. A draft is forgotten as soon as the state changes, and equal parents mean
// the same past.
func (s *staged) fits(r *Replica, h *held) bool {
	if s == nil || h.void != "" || len(h.blocks) > 0 {
		return false
	}
	d := s.drafted
	return slices.Equal(r.heads, []block.ID{h.ID}) && slices.Equal(d.parents, h.Parents) && d.ctx.dot == h.ctx.dot &&
		d.ctx.time == h.Time && slices.Equal(d.ctx.actors, h.ctx.actors) && bytes.Equal(d.ops, h.inline)
}

// install makes staged records the state and tells what changed. h is the commit
// that led to them, nil if it was a new judgement of old ones.
func (r *Replica) install(s *staged, h *held) []Change {
	r.acc, r.pending = s.acc, nil
	changes := make([]Change, 0, len(s.updates))
	for _, u := range s.updates {
		r.docs.set(u.id, u.rec)
		c := Change{ID: u.id, Rev: u.rec.rev(), Deleted: !u.rec.alive}
		if h != nil {
			c.Commit, c.Device, c.Time = h.ID, h.Actor.Device, h.Time
		}
		c.Cursor = r.feed.push(c)
		changes = append(changes, c)
	}
	return changes
}
