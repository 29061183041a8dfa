package team

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// view is the state of a team under one set of heads: resolve(past of the heads
// and the heads). It never changes; the next one shares what stayed the same.
type view struct {
	g       *graph
	heads   []int32 // none for the view before genesis
	seats   vec[seatView]
	members vec[memberView]
	keys    vec[keyView]
	invites vec[inviteView] // by number of the INVITE link
	dbs     vec[dbView]
	admins  []int32        // members that count and whose role is RoleAdmin; copied on change
	active  int            // how many keys hold an active seat
	gens    []gen          // the current generations, by link
	cuts    *list          // every cut in force that carries data heads
	name    int32          // the NAME link of the team, or 0
	of      []int32        // the latest counting MEMBER_OF of each team
	unknown bool           // a counting link of an unknown action
	halt    bool           // a counting critical link of an unknown action
	open    []int32        // roster fold: seats nobody has checked yet
	known   map[int32]bool // what good found, by generation; a chain has one user at a time
	era     *byte          // changes whenever a device may have stopped being active
}

// mark is whether a seating link is in a view, and whether it counts there.
type mark uint8

const (
	absent mark = iota
	void
	counts
)

type seatView struct {
	mark      mark
	suspended bool  // its ADMIT, of a device, came too late
	checked   bool  // roster fold: somebody trustworthy verified how it came
	ends      *list // cuts in force that end it
	box       int32 // link that says its HPKE key
}

type memberView struct {
	mark      mark
	suspended bool // its ADMIT came too late: none of its seats may act
	role      Role
	sure      Role    // roster fold: the role without promotions that nobody can check
	seats     []int32 // those that count, oldest first
	name      int32   // link that names it; 0, genesis, names nothing
	joined    int32   // link whose time is shown as its joining
}

type keyView struct {
	seats   []int32 // counting seats of this key
	members []int32 // counting members whose id is this key
	name    int32   // link that names the device, or 0
	demoted *list   // demotions in force of the member with this id
}

type inviteView struct {
	mark    mark
	revoked *list // cuts in force that revoke it
	uses    int   // distinct devices among the counting ADMITs
}

type dbView struct {
	adds []int32 // counting ADD_DBs that no counting REMOVE_DB follows
	name int32   // link that names it, or 0
}

// gen is a current generation. Who knows its key: the devices active after the
// link that made it, its author, and extra; and in the same way who knows an heir,
// because a generation opens those it follows.
type gen struct {
	link  int32
	extra *list // keys that were admitted, or given a box of it or an heir, above it
	heirs *list // links above it that make a generation; they do not count
}

// eligible reports whether the seat counts, is not ended and not suspended.
func (v *view) eligible(s int32) bool { return v.in(s) && !v.suspended(s) }

// suspended reports whether the seat, or its member, was admitted by an invitation
// that others had used up.
func (v *view) suspended(s int32) bool {
	return v.seats.get(s).suspended || v.members.get(v.g.seats[s].member).suspended
}

// in is eligible, a suspended seat included.
func (v *view) in(s int32) bool {
	x := v.seats.get(s)
	return x.mark == counts && x.ends == nil
}

// holder returns the active seat of a key, none if it has none. Of one key seated
// under several members the most senior member keeps it.
func (v *view) holder(key int32) int32 {
	best := none
	for _, s := range v.keys.get(key).seats {
		if v.eligible(s) && (best == none || v.g.rank(s, best) < 0 != planted.Bug("team-key-to-the-junior")) {
			best = s
		}
	}
	return best
}

// isActive reports whether a seat may act: eligible, and its member keeps the key.
func (v *view) isActive(s int32) bool {
	if !v.eligible(s) {
		return false
	}
	h := v.holder(v.g.seats[s].key)
	return h == s || v.g.seats[h].member == v.g.seats[s].member
}

// memberIn reports whether a member has an active seat.
func (v *view) memberIn(m int32) bool {
	return slices.ContainsFunc(v.members.get(m).seats, v.isActive)
}

// memberByID returns the active member with this id, none if there is none.
func (v *view) memberByID(id int32) int32 {
	best := none
	for _, m := range v.keys.get(id).members {
		if v.memberIn(m) && (best == none || v.g.later(v.g.members[m].link, v.g.members[best].link) < 0) {
			best = m
		}
	}
	return best
}

// roleOf returns the role of the key's active seat, 0 if it has none.
func (v *view) roleOf(key int32) Role {
	h := v.holder(key)
	if h == none {
		return 0
	}
	return v.members.get(v.g.seats[h].member).role
}

// contested reports, in the roster fold, whether the seat or its member came by an
// invitation that admitted more devices than it may: the member fold suspends some
// of them, and a replica does not know which.
func (v *view) contested(s int32) bool {
	st := v.g.seats[s]
	return slices.ContainsFunc([]int32{st.link, v.g.members[st.member].link}, func(n int32) bool {
		l := v.g.links[n]
		if l.action != ActAdmit {
			return false
		}
		most := v.g.links[l.invite].content.(Invite).MaxUses
		return most > 0 && uint64(v.invites.get(l.invite).uses) > most
	})
}

// adminLeft reports whether an active admin with an active device that is not a
// recovery seat remains when the seats for which gone holds end.
func (v *view) adminLeft(gone func(s int32) bool) bool {
	for _, m := range v.admins {
		for _, s := range v.members.get(m).seats {
			if !v.g.seats[s].recovery && !gone(s) && v.isActive(s) {
				return true
			}
		}
	}
	return false
}

// dbIn reports whether the database is in the team.
func (v *view) dbIn(db int32) bool { return len(v.dbs.get(db).adds) > 0 }

// usedUp reports whether the invitation has admitted all it may.
func (v *view) usedUp(invite int32) bool {
	most := v.g.links[invite].content.(Invite).MaxUses
	return !v.g.roster && most > 0 && uint64(v.invites.get(invite).uses) >= most
}

// good reports whether everybody who knows the generation's key is still active.
func (v *view) good(x gen) bool {
	first := v.g.links[x.link].after
	if first.era == v.era {
		return true
	}
	if known, done := v.known[x.link]; done {
		return known
	}
	ok := v.stillOn(v.g.links[x.link])
	for e := x.heirs; ok && e != nil && !planted.Bug("team-heirs-forgotten"); e = e.next {
		ok = v.stillOn(v.g.links[e.n])
	}
	for e := x.extra; ok && e != nil; e = e.next {
		ok = v.holder(e.n) != none
	}
	if v.known == nil {
		v.known = map[int32]bool{}
	}
	v.known[x.link] = ok
	return ok
}

// stillOn reports whether everybody is active whom a link that makes a generation
// boxed it to, and its author.
func (v *view) stillOn(l *link) bool {
	ok := v.holder(l.author) != none
	if ok {
		l.after.keys.all(func(k int32, _ keyView) bool {
			ok = l.after.holder(k) == none || v.holder(k) != none
			return ok
		})
	}
	return ok
}

// anyGood reports whether there is a generation to write under.
func (v *view) anyGood() bool { return slices.ContainsFunc(v.gens, v.good) }

// writeGen returns the generation to write under: the good current one of the
// lowest id.
func (v *view) writeGen() (block.Generation, bool) {
	var best block.Generation
	found := false
	for _, x := range v.gens {
		id := block.Generation(v.g.links[x.link].id)
		if v.good(x) && (!found || string(id[:]) < string(best[:])) {
			best, found = id, true
		}
	}
	return best, found
}
