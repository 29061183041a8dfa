package crdt

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// A clear names a running total by the seq that made it. Where two twins share the seq
// and its author saw the one that is void, that name would take increments of the other
// that nobody had seen, or count some twice. It stands for the newest total below it
// that counts:
//
//	A:4 total 1 ─┬─ A:5 total 11 ── A:6 total 1011      stands: 11 and 1011 were not seen
//	             └─ A:5′ total 201                      void
//	                   └─ B: clears (A:5, 201)          stands for (A:4, 1)

// counts are the running totals that the commits of one actor claim, of those from a
// place on.
type counts struct {
	from, upTo int // places in the order of arrival
	at         map[countKey][]counted
}

type countKey struct {
	id  string
	sum [16]byte // of the path
}

type counted struct {
	h     *held
	total total
}

// settled returns the operation with what its clears stand for; nearly always that is
// what they say. A [HistoryError] says that it hangs on commits below the floor.
func (r *Replica) settled(h *held, ctx *opContext, o *op) (*op, error) {
	if r.forks == 0 || len(o.clears) == 0 || planted.Bug("crdt-clears-the-other-twin") {
		return o, nil
	}
	out := *o
	out.clears = nil
	s := settling{r: r, o: o}
	for _, c := range o.clears {
		kept := opClear{path: c.path}
		for _, x := range c.seen {
			last, void := r.lastCounting(h, ctx.actors[x.actor], x.seq)
			if void {
				var err error
				if x.seq, x.total, err = s.countedAt(last, c.path); err != nil {
					return nil, err
				}
			}
			if x.seq > 0 {
				kept.seen = append(kept.seen, x)
			}
		}
		if len(kept.seen) > 0 {
			out.clears = append(out.clears, kept)
		}
	}
	return &out, nil
}

// lastCounting returns, if the commit that h names is void beside a twin, the newest
// below it that counts, nil if there is none.
func (r *Replica) lastCounting(h *held, a block.Actor, seq uint64) (last *held, void bool) {
	n, ok := r.actors[a]
	if !ok || len(r.logs[n].twins) == 0 {
		return nil, false // no other commit counts at or above it
	}
	known := r.logs[n].at(seq)
	if len(known) > 1 {
		known = slices.DeleteFunc(slices.Clone(known), func(x *held) bool { return !r.reaches(h, x) })
	}
	if len(known) == 0 || slices.ContainsFunc(known, func(x *held) bool { return x.void == "" }) {
		return nil, false
	}
	for last = known[0]; last != nil && last.void != ""; {
		last = last.prev
	}
	return last, true
}

// settling is what is looked up once for the clears of an operation.
type settling struct {
	r      *Replica
	o      *op
	places []*place
	ground *entry // the document at the floor
}

// countedAt returns the newest running total at a path that last or one of its actor
// before it claims, 0 if there is none. last counts, so those are the ones that count up
// to its seq.
func (s *settling) countedAt(last *held, path int) (seq uint64, t total, err error) {
	if last == nil {
		return 0, t, nil
	}
	if s.places == nil {
		s.places = s.o.places()
	}
	p := s.places[path]
	k := countKey{s.o.id, p.sum}
	c, err := s.r.countsOf(last.actor)
	if err != nil {
		return 0, t, err
	}
	seq, t = c.newest(k, last.Seq)
	if seq > 0 || s.r.floor.place == 0 {
		return seq, t, nil
	}
	g, err := s.atFloor(p, &last.Actor)
	if err != nil || g.seq <= last.Seq {
		return g.seq, g.total, err
	}
	// The twin that stands lies below the floor: what was before it is no longer told.
	if s.r.raising {
		return 0, t, ErrHistory
	}
	below := counts{at: map[countKey][]counted{}}
	if err := s.r.playable(s.r.order[:1]); err != nil {
		return 0, t, err
	}
	for _, h := range s.r.order[:s.r.floor.place] {
		if h.actor != last.actor {
			continue
		}
		if err := s.r.count(h, &below); err != nil {
			return 0, t, err
		}
	}
	seq, t = below.newest(k, last.Seq)
	return seq, t, nil
}

// atFloor returns the counter of an actor in the state at the floor.
func (s *settling) atFloor(p *place, a *block.Actor) (c ctr, err error) {
	if s.ground == nil {
		if s.ground, err = s.r.entryAt(s.r.floor, s.o.id); err != nil {
			return c, err
		}
	}
	n := s.ground.at(p.keys())
	if n == nil {
		return c, nil
	}
	if i := slices.IndexFunc(n.ctrs, func(c ctr) bool { return c.actor == *a }); i >= 0 {
		c = n.ctrs[i]
	}
	return c, nil
}

// newest returns the newest total that counts up to a seq.
func (c *counts) newest(k countKey, upTo uint64) (seq uint64, t total) {
	for _, x := range c.at[k] {
		if x.h.void == "" && x.h.Seq <= upTo && x.h.Seq > seq {
			seq, t = x.h.Seq, x.total
		}
	}
	return seq, t
}

// countsOf returns what an actor's commits above the floor claim.
func (r *Replica) countsOf(actor int) (*counts, error) {
	log := r.logs[actor]
	if log.counts == nil || log.counts.from > r.floor.place {
		log.counts = &counts{from: r.floor.place, upTo: r.floor.place, at: map[countKey][]counted{}}
	}
	c := log.counts
	for ; c.upTo < len(r.order); c.upTo++ {
		if h := r.order[c.upTo]; h.actor == actor {
			if err := r.count(h, c); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// count notes the totals of one commit.
func (r *Replica) count(h *held, into *counts) error {
	ops, _, err := r.operations(h)
	for i := range ops {
		o := &ops[i]
		if len(o.totals) == 0 {
			continue
		}
		places := o.places()
		for _, t := range o.totals {
			k := countKey{o.id, places[t.path].sum}
			into.at[k] = append(into.at[k], counted{h, t.total})
		}
	}
	return err
}

// clearable returns a [HistoryError] if what some clear stands for cannot be told: of a
// new commit, and of those that are played again because others flipped.
func (r *Replica) clearable(flipped []*held, h *held) error {
	if r.forks == 0 || r.floor.place == 0 {
		return nil
	}
	var again []*held
	if len(flipped) > 0 {
		again = r.order[r.groundFor(flipped).place:]
	} else if h != nil {
		again = []*held{h}
	}
	return r.clear(again)
}

// clear settles the clears of some commits, for its error.
func (r *Replica) clear(list []*held) error {
	for _, x := range list {
		if x.void != "" {
			continue
		}
		ops, ctx, err := r.operations(x)
		for i := range ops {
			if err == nil {
				_, err = r.settled(x, ctx, &ops[i])
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
