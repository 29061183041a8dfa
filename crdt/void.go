package crdt

import (
	"maps"
	"slices"

	"github.com/toftdb/toft/internal/planted"
)

// Void commits stay in the graph and are skipped. Three things make a commit void:
// the team chain, naming what its author cannot have seen, and a fork that another
// twin wins. What its actor wrote on top of it is void too; what others did on top
// stays, and where they dropped something of a void commit, they drop what that
// commit had dropped: a cut never undoes honest work built on it.

// reason returns why h does not count by itself or by its siblings: twins with the
// same previous commit, of which the lowest ID stands. One that is void anyway
// does not compete.
func (r *Replica) reason(h *held) string {
	switch {
	case h.validity.why != "":
		return h.validity.why
	case h.bad != "":
		return h.bad
	case h.prev != nil && h.prev.void != "":
		return "built on a void commit of the same actor"
	}
	for _, x := range r.logs[h.actor].at(h.Seq) {
		if x.prev == h.prev && x.validity.why == "" && x.bad == "" && compareIDs(x.ID, h.ID) < 0 && !planted.Bug("crdt-both-twins-stand") {
			return "fork: another commit of the same actor and seq stands"
		}
	}
	return ""
}

// judgeFrom judges a new commit and all that may depend on it. It returns the
// other commits that count now and did not, or the reverse.
func (r *Replica) judgeFrom(h *held) (flipped []*held) {
	log := r.logs[h.actor]
	if h.Seq == uint64(len(log.commits)) && len(log.twins[h.Seq]) == 0 {
		if h.void = r.reason(h); h.void != "" {
			r.noteVoid(h)
		}
		return nil
	}
	for _, x := range r.judgeLog(log, h.Seq) {
		if x != h {
			flipped = append(flipped, x)
		}
	}
	if len(log.twins) == 1 && len(log.twins[h.Seq]) == 2 {
		// The first fork of the actor: clears that name a void commit of it stand for
		// something else from now on, see clears.go.
		for seq := range uint64(len(log.commits)) {
			for _, x := range log.at(seq + 1) {
				if x != h && x.void != "" && !slices.Contains(flipped, x) {
					flipped = append(flipped, x)
				}
			}
		}
	}
	return flipped
}

// judgeLog judges an actor's commits from a seq on, and returns those that
// changed. Ascending seqs put every commit behind the one it was written on.
func (r *Replica) judgeLog(log *actorLog, from uint64) (flipped []*held) {
	for seq := from; seq <= uint64(len(log.commits)); seq++ {
		for _, h := range log.at(seq) {
			was := h.void
			if h.void = r.reason(h); (was == "") != (h.void == "") {
				flipped = append(flipped, h)
			}
		}
	}
	for _, h := range flipped {
		r.noteVoid(h)
	}
	return flipped
}

// noteVoid brings the void set up to date for a commit.
func (r *Replica) noteVoid(h *held) {
	if h.void == "" {
		delete(r.voids, h.ID)
		h.stands = nil
	} else {
		r.voids[h.ID] = h
	}
	r.voidHash.Store(nil)
}

// resolve returns what an operation drops. It is nil if the operation's own list
// says it: no commit it names is void or forked, which is nearly always.
func (r *Replica) resolve(h *held, ctx *opContext, o *op) []named {
	if len(r.voids) == 0 && r.forks == 0 || !r.doubtful(ctx, o) {
		return nil
	}
	type name struct {
		dot  Dot
		kind int
		sum  [16]byte
	}
	out := map[name]named{}
	add := func(n named) {
		k := name{dot: n.dot, kind: n.slot.kind}
		if n.slot.place != nil {
			k.sum = n.slot.place.sum
		}
		out[k] = n
	}
	places := o.places()
	for i := range o.drops {
		d := &o.drops[i]
		dot := ctx.at(d.actor, d.seq)
		known := r.logs[r.actors[dot.Actor]].at(dot.Seq)
		if len(known) > 1 {
			known = slices.DeleteFunc(slices.Clone(known), func(x *held) bool { return !r.reaches(h, x) })
		}
		var under cover
		for _, x := range known {
			if x.void == "" {
				for _, n := range d.named(dot, places, nil) {
					add(n)
				}
				continue
			}
			// Not each name against each: a hostile operation has a hundred thousand.
			if under.places == nil {
				under = over(d.slots, places)
			}
			for _, m := range x.stands[o.id] {
				if under.has(m.slot) && !planted.Bug("crdt-cut-revives-what-it-dropped") {
					add(m)
				}
			}
		}
	}
	return slices.AppendSeq(make([]named, 0, len(out)), maps.Values(out))
}

// doubtful reports whether an operation names a commit that is void or forked.
func (r *Replica) doubtful(ctx *opContext, o *op) bool {
	for _, d := range o.drops {
		n, ok := r.actors[ctx.actors[d.actor]]
		if !ok {
			return true
		}
		known := r.logs[n].at(d.seq)
		if len(known) != 1 || known[0].void != "" {
			return true
		}
	}
	return false
}

// skip notes what the operations of a void commit would have dropped.
func (r *Replica) skip(h *held, only map[string]bool) error {
	if h.stands == nil {
		h.stands = map[string][]named{}
	}
	if h.bad != "" {
		return nil // it may name what is not there; nobody takes that over
	}
	ops, ctx, err := r.operations(h)
	for i := range ops {
		o := &ops[i]
		if only != nil && !only[o.id] {
			continue
		}
		drops := r.resolve(h, ctx, o)
		if drops == nil {
			drops = o.named(ctx)
		}
		h.stands[o.id] = drops
	}
	return err
}

// play applies a commit, or notes what it would have done.
func (r *Replica) play(h *held) ([]Change, error) {
	if h.void != "" {
		return nil, r.skip(h, nil)
	}
	if p := r.pending; p.fits(r, h) {
		return r.install(p, h), nil
	}
	ops, ctx, err := r.operations(h)
	if err != nil {
		return nil, err
	}
	s, err := r.stage(h, ctx, ops)
	if err != nil {
		return nil, err
	}
	return r.install(s, h), nil
}

// rebuild replays the documents that commits touch which count now and did not, or
// the reverse: what other documents show does not depend on them. It begins at the
// latest state whose tree is at hand and in which none of them is. h, if not nil, is a
// new commit whose operations are applied on the way.
func (r *Replica) rebuild(flipped []*held, h *held) ([]Change, error) {
	from := r.groundFor(flipped)
	first := firstOf(flipped)
	if h != nil {
		flipped = append(flipped, h)
	}
	fresh := map[string]*entry{}
	only := map[string]bool{}
	var order []string
	for _, x := range flipped {
		ops, _, err := r.operations(x)
		if err != nil {
			return nil, err
		}
		for i := range ops {
			id := ops[i].id
			if only[id] {
				continue
			}
			if fresh[id], err = r.entryAt(from, id); err != nil {
				return nil, err
			}
			only[id] = true
			order = append(order, id)
		}
	}
	for _, x := range r.order[from.place:] {
		if err := r.replay(x, only, fresh); err != nil {
			return nil, err
		}
	}
	s := &staged{acc: r.acc}
	for _, id := range order {
		old, err := r.load(id)
		if err != nil {
			return nil, err
		}
		r.stageEntry(s, id, &old, fresh[id])
	}
	r.flippedFrom(first)
	return r.install(s, h), nil
}

// replay does what a commit does to some documents.
func (r *Replica) replay(x *held, only map[string]bool, fresh map[string]*entry) error {
	if x.void != "" {
		return r.skip(x, only)
	}
	ops, ctx, err := r.operations(x)
	for i := range ops {
		o := &ops[i]
		if !only[o.id] {
			continue
		}
		e := fresh[o.id]
		if err := r.apply(e, x, ctx, o); err != nil {
			return err
		}
		if len(e.groups) > 64 {
			e.tidy()
		}
	}
	return err
}
