package team

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// CommitFacts are what the team must know of a commit to judge it.
type CommitFacts struct {
	DB         block.DBID
	Device     block.Device
	Seat       block.ID
	Generation block.Generation
	// TeamHeads are the chain heads its author had applied, ParentTeamHeads those of
	// its parents, together.
	TeamHeads       []block.ID
	ParentTeamHeads []block.ID
	// Inside reports whether the commit is one of these heads of its database or an
	// ancestor of one.
	Inside func(heads []block.ID) bool
}

// Verdict is what the chain says of a commit. Valid and Why hold under the present
// heads: a removal that arrives late can change them.
type Verdict struct {
	Valid   bool
	Why     string
	Missing []block.ID // links of TeamHeads we lack: park the commit
}

// Judge applies the five rules of data under the chain:
//
//  1. the commit's team heads contain those of its parents;
//  2. under them its seat is active and may write, and the database is in the team;
//  3. under them its generation is current and good;
//  4. let R be the cuts in force outside them that end the seat or take its right
//     to write: R is empty, or the commit is inside the data heads of one of them;
//  5. if R is empty and the seat's admission is void: it is inside the data heads
//     of some cut in force outside them.
//
// 1 to 3 never change. 4 and 5 follow the chain: what the remover had seen stays,
// a backdated write is ignored everywhere.
func (c *Chain) Judge(f CommitFacts) Verdict {
	heads, missing := c.numbers(f.TeamHeads)
	parents, more := c.numbers(f.ParentTeamHeads)
	if missing = append(missing, more...); len(missing) > 0 {
		return Verdict{Missing: missing}
	}
	for _, p := range parents {
		if !c.g.within(p, heads) && !planted.Bug("team-commit-goes-back") {
			return invalid("its team heads do not contain those of its parents")
		}
	}
	seat := none
	if n, ok := c.g.byID[f.Seat]; ok {
		seat = c.g.seatOf(n, c.g.lookup(f.Device))
	}
	then := c.g.under(heads)
	switch {
	case seat == none || !then.isActive(seat):
		return invalid("its author was not an active device of the team")
	case then.members.get(c.g.seats[seat].member).role < RoleMember:
		return invalid("its author's role did not let him write")
	case !then.dbIn(c.g.dbLookup(f.DB)):
		return invalid("its database was not in the team")
	case !slices.ContainsFunc(then.gens, func(x gen) bool { return c.g.links[x.link].id == block.ID(f.Generation) && then.good(x) }):
		return invalid("its generation was not the one to write under")
	}
	return c.judgeLate(f, heads, seat)
}

func invalid(why string) Verdict { return Verdict{Why: why} }

// judgeLate applies rules 4 and 5.
func (c *Chain) judgeLate(f CommitFacts, heads []int32, seat int32) Verdict {
	now := c.view()
	inside := func(n int32) bool {
		ids := dataHeads(c.g.links[n].content, f.DB)
		return len(ids) > 0 && f.Inside != nil && f.Inside(ids)
	}
	ended := false
	for _, n := range c.against(now, seat) {
		if c.g.within(n, heads) {
			continue
		}
		if inside(n) {
			return Verdict{Valid: true}
		}
		ended = !planted.Bug("team-backdated-commit")
	}
	if ended {
		return invalid("its author had been removed or demoted, and the remover had not seen it")
	}
	if now.seats.get(seat).mark == counts {
		return Verdict{Valid: true}
	}
	for e := now.cuts; e != nil; e = e.next {
		if !c.g.within(e.n, heads) && inside(e.n) {
			return Verdict{Valid: true}
		}
	}
	return invalid("the admission of its author does not count")
}

// against returns the cuts in force that end a seat or take its right to write.
func (c *Chain) against(v *view, seat int32) []int32 {
	var out []int32
	for e := v.seats.get(seat).ends; e != nil; e = e.next {
		out = append(out, e.n)
	}
	m := c.g.members[c.g.seats[seat].member]
	for e := v.keys.get(m.id).demoted; e != nil; e = e.next {
		l := c.g.links[e.n]
		if l.content.(SetRole).Role < RoleMember && l.root != m.link && !c.g.below(l.root, m.link) {
			out = append(out, e.n)
		}
	}
	return out
}

// dataHeads returns the heads a cut carries for a database.
func dataHeads(c Content, db block.DBID) []block.ID {
	var all []DBHeads
	if s, ok := c.(SetRole); ok {
		all = s.Heads
	}
	if r, ok := removalOf(c); ok {
		all = r.Heads
	}
	for _, h := range all {
		if h.DB == db {
			return h.Heads
		}
	}
	return nil
}
