package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// History. The graph keeps every commit, so a state of the past is a set of commits
// that is closed under parents, played into an empty replica. [Replica.Past] and
// [Replica.Until] name such sets; [Replica.Revisions] goes through the life of one
// document. What counts is what counts now: a commit that was cut, or lost against
// a twin, shows in no state of the past either, so that the past reads the same on
// every replica that holds the same commits and the same team chain.

// Past returns heads and all they build on, in the order of arrival, which is
// causal. An error wraps [ErrNotFound]: a head is not in the graph.
func (r *Replica) Past(heads []block.ID) ([]block.ID, error) {
	in := make(map[block.ID]bool, len(heads))
	for _, id := range heads {
		if _, ok := r.commits[id]; !ok {
			return nil, fmt.Errorf("%w: commit %s", ErrNotFound, id)
		}
		in[id] = true
	}
	return r.closed(in), nil
}

// Until returns the commits whose time is not after t, and all they build on, in
// the order of arrival. A commit with a later time that an earlier one builds on was
// there: its author's clock was ahead.
func (r *Replica) Until(t wire.Time) []block.ID {
	in := map[block.ID]bool{}
	for _, h := range r.order {
		if h.Time <= t {
			in[h.ID] = true
		}
	}
	return r.closed(in)
}

// closed adds all parents to a set of commits and returns it in order of arrival.
func (r *Replica) closed(in map[block.ID]bool) []block.ID {
	out := make([]block.ID, 0, len(in))
	for _, h := range slices.Backward(r.order) { // children before parents
		if !in[h.ID] {
			continue
		}
		out = append(out, h.ID)
		for _, p := range h.Parents {
			in[p] = in[p] || !planted.Bug("crdt-past-without-parents")
		}
	}
	slices.Reverse(out)
	return out
}

// Tops returns those of a set of commits, in causal order and closed under parents,
// that none of the others builds on, sorted: its heads.
func (r *Replica) Tops(set []block.ID) []block.ID {
	below := map[block.ID]bool{}
	for _, id := range set {
		for _, p := range r.commits[id].Parents {
			below[p] = true
		}
	}
	tops := slices.DeleteFunc(slices.Clone(set), func(id block.ID) bool { return below[id] })
	slices.SortFunc(tops, compareIDs)
	return tops
}

// Action is what a commit did to one document.
type Action uint8

// The actions.
const (
	// Wrote: fields were set or removed, or the document was made or brought back.
	Wrote Action = iota + 1
	// Deleted: the document was hidden.
	Deleted
	// Purged: what was seen of it was dropped, and nothing put in its place.
	Purged
)

// Touched yields the documents a commit changes, in its order, and what it did.
func (c *Commit) Touched() iter.Seq2[string, Action] {
	return func(yield func(string, Action) bool) {
		for _, o := range c.operations() {
			if !yield(o.id, o.action()) {
				return
			}
		}
	}
}

func (o *op) action() Action {
	switch {
	case o.life < 0:
		return Deleted
	case o.life == 0 && len(o.sets)+len(o.totals) == 0 && slices.ContainsFunc(o.drops, func(d opDrop) bool { return d.slots[0] < slotPath }):
		return Purged
	}
	return Wrote
}

// Revision is a document as one commit left it: in the state of that commit and its
// past, which is what its author's device showed.
type Revision struct {
	Commit *Commit
	Action Action
	// Ground: it is the document as it stood at the floor. Commit is the last known that
	// wrote it, and there is no Action.
	Ground bool
	// Part: a part of the commit's past lies below the floor and a part above, so that
	// what it made of the document cannot be told any more; it has no Rev.
	Part  bool
	Void  string // why the commit does not count; it has no Rev then
	Rev   string // empty if nothing was kept
	Alive bool   // the document was there

	r  *Replica
	id string
	k  kept
}

// Doc returns the document with "_id" and "_rev", and [ErrNotFound] if it was not
// there.
func (v *Revision) Doc() (Doc, error) {
	if !v.Alive {
		return nil, notFound(v.id)
	}
	x := viewer{stores: v.r}
	return x.show(v.id, v.Rev, v.k.e)
}

// Revisions yields what the commits that touch a document made of it, in the order
// of arrival. Only this document is played again, but all commits are read. A history
// with a floor begins with the void commits below it that touch the document, and with
// the document as it stood there. The replica must not change meanwhile, and a revision
// is good until the next. An error ends it.
func (r *Replica) Revisions(id string) iter.Seq2[*Revision, error] {
	return func(yield func(*Revision, error) bool) {
		l := life{floor: r.floor}
		for _, h := range r.order[:r.floor.place] {
			if h.void != "" && !r.revised(&l, h, id, yield) {
				return
			}
		}
		v, err := r.atGround(id)
		if err != nil {
			yield(nil, err)
			return
		}
		if v != nil && !yield(v, nil) {
			return
		}
		for _, h := range r.order[r.floor.place:] {
			if !r.revised(&l, h, id, yield) {
				return
			}
		}
	}
}

// atGround returns a document as it stood at the floor, nil if nothing was kept of it.
func (r *Replica) atGround(id string) (*Revision, error) {
	if r.floor.place == 0 {
		return nil, nil
	}
	e, err := r.entryAt(r.floor, id)
	if err != nil {
		return nil, err
	}
	v := &Revision{Ground: true, r: r, id: id, k: keptOf(e)}
	if v.k.rec.entry == nil {
		return nil, nil
	}
	v.Rev, v.Alive = r.rev(id, &v.k), v.k.alive
	at := r.floor.heads[0]
	if g := e.newest(); g != nil {
		if id := r.standing(g.dot); !id.IsZero() {
			at = id
		}
	}
	v.Commit = &r.commits[at].Commit
	return v, nil
}

// revised yields what one commit made of a document, and reports whether to go on.
func (r *Replica) revised(l *life, h *held, id string, yield func(*Revision, error) bool) bool {
	ops, ctx, err := r.operations(h)
	if h.void != "" && errors.Is(err, ErrHistory) {
		return true // of somebody else's ground
	}
	if err != nil {
		yield(nil, err)
		return false
	}
	for i := range ops {
		o := &ops[i]
		if o.id != id {
			continue
		}
		v := &Revision{Commit: &h.Commit, Action: o.action(), Void: h.void, r: r, id: id}
		if h.void == "" {
			e, err := l.entry(r, touch{h, ctx, *o})
			if err != nil {
				yield(nil, err)
				return false
			}
			if v.Part = e == nil; e != nil {
				v.k = keptOf(e)
				v.Rev, v.Alive = r.rev(id, &v.k), v.k.alive
			}
		}
		if !yield(v, nil) {
			return false
		}
	}
	return true
}

// OverGround reports whether a commit lies above the floor and builds on all that lies
// below: only then the state it made can be told.
func (r *Replica) OverGround(id block.ID) bool {
	h, ok := r.commits[id]
	return ok && h.index >= r.floor.place && r.overFloor(h)
}

// overFloor reports whether a commit builds on all that lies below the floor.
func (r *Replica) overFloor(h *held) bool {
	return !slices.ContainsFunc(r.floor.heads, func(id block.ID) bool {
		x := r.commits[id]
		return x != h && !r.reaches(h, x)
	})
}

// life is the history of one document while it is played: the commits that touch
// it, and the entries a few of them lead to. Most commits build on the one before,
// and go on with its entry; concurrent lines each have their own.
type life struct {
	floor   ground // where lines begin
	touched []touch
	lines   []line
}

type touch struct {
	h   *held
	ctx *opContext
	o   op
}

// line is the entry that a commit and the n − 1 before it lead to.
type line struct {
	last *held
	n    int
	e    *entry
}

// maxLines bounds how many concurrent lines keep their entry; others start again.
const maxLines = 8

// entry returns the document's entry in the state of a commit and its past, nil if that
// is not known: see [Revision.Part].
func (l *life) entry(r *Replica, now touch) (*entry, error) {
	h := now.h
	var before []touch
	for _, t := range l.touched {
		if r.reaches(h, t.h) {
			before = append(before, t)
		}
	}
	l.touched = append(l.touched, now)
	if !r.overFloor(h) && !planted.Bug("crdt-revision-of-half-a-past") {
		return nil, nil
	}
	// A line whose last commit is in the past of h is there as a whole.
	i := slices.IndexFunc(l.lines, func(x line) bool {
		return (x.n == len(before) || planted.Bug("crdt-revision-of-another-line")) && r.reaches(h, x.last)
	})
	if i < 0 {
		e, err := r.entryAt(l.floor, now.o.id)
		if err != nil {
			return nil, err
		}
		x := line{n: len(before), e: e}
		for _, t := range before {
			if err := x.play(r, t); err != nil {
				return nil, err
			}
		}
		if l.lines = append(l.lines, x); len(l.lines) > maxLines {
			l.lines = l.lines[1:]
		}
		i = len(l.lines) - 1
	}
	x := &l.lines[i]
	x.last, x.n = h, len(before)+1
	return x.e, x.play(r, now)
}

func (x *line) play(r *Replica, t touch) error {
	err := r.apply(x.e, t.h, t.ctx, &t.o)
	if len(x.e.groups) > 64 {
		x.e.tidy()
	}
	return err
}

// keptOf returns an entry as it would be kept.
func keptOf(e *entry) kept {
	k := kept{rec: record{entry: e.encode()}, e: e, n: e.revision(), alive: e.alive()}
	k.rec.links, _ = e.refs()
	return k
}

// MergePatch returns the RFC 7396 patch that makes one document read as another:
// what differs, and null for what is gone. A merge patch cannot say that a field is
// null; nulls are the paths where it would have to.
func MergePatch(from, to map[string]any) (patch Doc, nulls [][]string) {
	p := patcher{}
	return p.diff(from, to), p.nulls
}

type patcher struct {
	nulls [][]string
	path  []string
}

func (p *patcher) diff(from, to map[string]any) map[string]any {
	out := map[string]any{}
	for k := range from {
		if _, stays := to[k]; !stays {
			out[k] = nil
		}
	}
	for k, v := range to {
		p.path = append(p.path, k)
		old, had := from[k]
		x, both := old.(map[string]any)
		y, object := v.(map[string]any)
		switch {
		case had && same(old, v):
		case both && object:
			out[k] = p.diff(x, y)
		default:
			p.note(v)
			out[k] = v
		}
		p.path = p.path[:len(p.path)-1]
	}
	return out
}

// note finds the nulls in a value that is set whole. Inside an array they are kept.
func (p *patcher) note(v any) {
	switch v := v.(type) {
	case nil:
		p.nulls = append(p.nulls, slices.Clone(p.path))
	case map[string]any:
		for k, x := range v {
			p.path = append(p.path, k)
			p.note(x)
			p.path = p.path[:len(p.path)-1]
		}
	}
}

// same compares document values by their canonical bytes: 1, 1.0 and true differ.
func same(a, b any) bool {
	x, errX := EncodeValue(a)
	y, errY := EncodeValue(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
