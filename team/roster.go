package team

import (
	"errors"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// The roster fold is what a replica computes: it reads the roster layer only, so it
// cannot check a join proof or a bound device and does not count uses. It decides
// who is given ciphertext, and must never be narrower than the member fold:
//
//   - every link by a seat that is on the roster is taken, whatever its effect;
//   - nobody is suspended;
//   - a cut is in force only if it would be in force both when everything is
//     believed and on a careful reading, which ignores cuts and promotions by seats
//     that cannot be checked and does not let a seat that the member fold may not
//     have stand for the last admin. Otherwise one plain member could, with a forged
//     admission, put a whole team off its replicas.
//
// A seat is checked if it came by CREATE, by ADD_MEMBER or ADD_DEVICE of a checked
// seat, or by an ADMIT that a checked seat of an admin, or of the same member, wrote
// or built on: it has verified the proof, and could do the same harm by itself.

// allowedRoster is rule 1 of the roster fold.
func (v *view) allowedRoster(l *link, h block.Header) (facts, error) {
	x := v.seats.get(l.seat)
	if l.seat == none || x.mark != counts || x.ends != nil {
		return facts{}, errors.New("its author is not on the roster")
	}
	m := v.g.seats[l.seat].member
	a := &actor{view: v, l: l, seat: l.seat, member: m, role: v.members.get(m).role}
	a.f = facts{need: RoleReader, root: none, invite: none, target: none, member: none, keys: keysOf(l.content), checked: x.checked}
	if a.role == RoleReplica {
		return facts{}, errors.New("a replica authors nothing")
	}
	if l.critical {
		a.f.need = RoleAdmin
	}
	if err := a.judgeRoster(l.content); err != nil {
		return facts{}, err
	}
	a.f.sure = v.members.get(m).sure
	if err := a.boxes(h); err != nil {
		return facts{}, err
	}
	if a.f.keys != nil {
		for _, x := range v.gens {
			a.f.gens = append(a.f.gens, x.link)
		}
	}
	return a.f, nil
}

// judgeRoster fills in the facts. Where the member fold would look at what the
// roster cannot know, it asks for the least.
func (a *actor) judgeRoster(c Content) error {
	self := a.g.members[a.member].id
	switch c := c.(type) {
	case Create:
		return errors.New("a second genesis")
	case Invite:
		return a.inviteRoster(c)
	case AddMember, RemoveDB:
		a.require(RoleAdmin)
	case AddDB:
		a.require(RoleMember)
	case AddDevice:
		a.f.member = a.member
	case Revoke:
		n, err := a.invitePast(c.Invite)
		if err != nil {
			return err
		}
		a.mayRevoke(n)
		a.f.cut, a.f.invite, a.f.revokes = true, n, []int32{n}
	case Admit:
		n, err := a.invitePast(c.Invite)
		if err != nil {
			return err
		}
		a.f.invite = n
		if a.g.links[n].content.(Invite).Kind == InviteDevice {
			a.f.member = a.g.seats[a.g.links[n].seat].member
		}
	case SetRole:
		a.f.target = a.g.lookup(c.Member)
		m := a.memberByID(a.f.target)
		own := m == a.member
		a.f.root, a.f.leaving = a.confirmed(c.Confirms), own
		a.f.cut = !c.Confirms.IsZero() || m != none && c.Role < a.members.get(m).role
		if !own {
			a.require(RoleAdmin)
		}
	case RemoveMember:
		a.f.target = a.g.lookup(c.Target)
		return a.removalRoster(c.Removal, a.f.target == self, a.f.target == self)
	case RemoveDevice:
		a.f.target = a.g.lookup(c.Target)
		own := a.f.target == a.l.author
		for _, s := range a.keys.get(a.f.target).seats {
			own = own || a.g.seats[s].member == a.member
		}
		return a.removalRoster(c.Removal, own, a.f.target == a.l.author)
	case RemoveReplica:
		a.f.target = a.g.lookup(c.Device)
		a.require(RoleAdmin)
		a.f.cut, a.f.root = true, a.l.n
	}
	return nil
}

func (a *actor) inviteRoster(c Invite) error {
	if c.Kind != InviteDevice {
		a.require(RoleAdmin)
	}
	return nil
}

// invitePast finds an INVITE in the past.
func (a *actor) invitePast(id block.ID) (int32, error) {
	n, ok := a.g.byID[id]
	if !ok || a.invites.get(n).mark == absent {
		return none, errors.New("the invitation is not in its past")
	}
	return n, nil
}

// confirmed returns the cut that a confirmation repeats in the end.
func (a *actor) confirmed(id block.ID) int32 {
	n, ok := a.g.byID[id]
	if id.IsZero() || !ok || !a.g.links[n].cut || !a.g.within(n, a.heads) {
		return a.l.n
	}
	return a.g.links[n].root
}

func (a *actor) removalRoster(r Removal, own, leaving bool) error {
	if !own {
		a.require(RoleAdmin)
	}
	for _, id := range r.Revokes {
		n, err := a.invitePast(id)
		if err != nil {
			return err
		}
		a.mayRevoke(n)
		a.f.revokes = append(a.f.revokes, n)
	}
	a.f.cut, a.f.leaving, a.f.root = true, leaving, a.confirmed(r.Confirms)
	return nil
}

// forceRoster is rule 3 of the roster fold: the cuts that both readings take.
func (r *resolver) forceRoster() {
	r.force3(func(int) bool { return true })
	r.doomed = r.doom()
	all := r.reset()
	r.read(true)
	r.force3(func(i int) bool { return r.credible(r.ls[i]) })
	r.read(false)
	r.doomed = doom{}
	some := r.reset()
	for i := range r.ls {
		if all[i] && some[i] {
			r.force[i] = true
			r.apply(i)
		} else if r.ls[i].cut && r.why[i] == "" {
			r.why[i] = "a replica cannot check the seat of its author"
		}
	}
	r.version++
}

// doom is what the cuts in force of one reading take from admins: on the other
// reading nobody among them is the admin who is left, or of two who leave at once
// each would stand for the other.
type doom struct {
	seats   map[int32]*list
	demoted map[int32]bool // by id of the member
}

func (r *resolver) doom() doom {
	d := doom{seats: r.ends}
	for i, l := range r.ls {
		if l.action == ActSetRole && r.force[i] {
			if d.demoted == nil {
				d.demoted = map[int32]bool{}
			}
			d.demoted[l.target] = true
		}
	}
	return d
}

// read turns to the careful reading, or back.
func (r *resolver) read(careful bool) {
	r.careful = careful
	r.version++
}

// credible reports whether the present reading believes a link: its author's seat
// could be checked, and the role he needed he had by links that could be.
func (r *resolver) credible(l *link) bool {
	return !r.careful || l.checked && l.sure >= l.need || planted.Bug("team-roster-believes-all")
}

// baseRole is the role of a member below the bubble, as the present reading has it.
func (r *resolver) baseRole(m int32) Role {
	if r.careful {
		return r.base.members.get(m).sure
	}
	return r.base.members.get(m).role
}

// certain reports whether the present reading counts on a seat: the member fold has
// it, too, and does not suspend it.
func (r *resolver) certain(v *view, s int32) bool {
	if !r.careful || planted.Bug("team-roster-sure-of-all") {
		return true
	}
	st := r.g.seats[s]
	l := r.g.links[st.link]
	known := v.seats.get(s).checked
	if r.at(st.link) >= 0 { // not yet marked
		known = r.credible(l) && (l.action != ActAdmit || l.sure == RoleAdmin || r.g.seats[l.seat].member == st.member)
	}
	return known && !v.contested(s) && r.doomed.seats[s] == nil
}

// reset returns the cuts in force and starts again with none.
func (r *resolver) reset() []bool {
	was := r.force
	r.force = make([]bool, len(r.ls))
	for i := range r.taken {
		r.taken[i] = none
	}
	r.ends, r.revoked = nil, nil
	r.version++
	return was
}

// check marks the seats whose admission a link of the bubble has verified.
func (r *resolver) check(v *view) {
	open := v.open
	for _, l := range r.ls {
		for _, s := range r.g.seatsAt[l.n] {
			open = push(open, s)
		}
	}
	for again := true; again; { // a seat checked now may have checked others
		again = false
		var rest []int32
		for _, s := range open {
			if r.vouched(v, s) {
				x := v.seats.get(s)
				x.checked, again = true, true
				v.seats = v.seats.set(s, x)
			} else {
				rest = append(rest, s)
			}
		}
		open = rest
	}
	v.open = open
}

// vouched reports whether a seat is checked by how it came, or by what a link of
// the bubble says by standing above it.
func (r *resolver) vouched(v *view, s int32) bool {
	st := r.g.seats[s]
	l := r.g.links[st.link]
	switch l.action {
	case ActCreate:
		return true
	case ActAddMember, ActAddDevice:
		return v.seats.get(l.seat).checked && l.sure >= l.need
	}
	trusted := func(by int32) bool {
		m := r.g.seats[by].member
		return v.seats.get(by).checked && (m == st.member || v.members.get(m).sure == RoleAdmin)
	}
	if trusted(l.seat) {
		return true
	}
	for i, o := range r.ls {
		if r.before(l.n, o.n) && trusted(o.seat) && r.counts(i) {
			return true
		}
	}
	return false
}
