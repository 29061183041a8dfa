package team

import (
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// allowed is rule 1: may link l stand above view v, which is resolve(past of l)?
// It returns the facts its own past decides. The answer holds for ever: nothing
// that is added later can change what was in the past of l.
func (v *view) allowed(l *link, h block.Header) (facts, error) {
	if v.g.roster {
		return v.allowedRoster(l, h)
	}
	a, err := v.actor(l)
	if err != nil {
		return facts{}, err
	}
	a.f = facts{need: RoleReader, root: none, invite: none, target: none, member: none, keys: keysOf(l.content)}
	if l.critical {
		a.f.need = RoleAdmin // on anybody else's link the bit makes the link void
	}
	if err := a.judge(l.content); err != nil {
		return facts{}, err
	}
	switch {
	case a.suspended && !(a.f.leaving && l.action != ActSetRole) && !planted.Bug("team-suspended-acts"):
		return facts{}, errors.New("its author is suspended: his invitation was used up elsewhere")
	case a.role == RoleReplica:
		return facts{}, errors.New("a replica authors nothing")
	case a.role < a.f.need && !planted.Bug("team-any-role"):
		return facts{}, fmt.Errorf("needs the role %s, its author is %s", a.f.need, a.role)
	}
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

// actor is the author of a link in the view below it.
type actor struct {
	*view
	l         *link
	seat      int32
	member    int32
	role      Role
	suspended bool
	f         facts
}

// actor finds the author's seat and wants it active, or suspended.
func (v *view) actor(l *link) (*actor, error) {
	x := v.seats.get(l.seat)
	switch {
	case l.seat == none || x.mark == absent:
		return nil, errors.New("its author's seat is not in its past")
	case x.mark == void:
		return nil, errors.New("its author's admission does not count")
	case x.ends != nil:
		return nil, errors.New("its author had been removed")
	case !v.suspended(l.seat) && !v.isActive(l.seat):
		return nil, errors.New("its author's key belongs to a more senior member")
	}
	m := v.g.seats[l.seat].member
	return &actor{view: v, l: l, seat: l.seat, member: m, role: v.members.get(m).role, suspended: v.suspended(l.seat)}, nil
}

func (a *actor) judge(c Content) error {
	switch c := c.(type) {
	case Create:
		return errors.New("a second genesis")
	case Invite:
		return a.invite(c)
	case Revoke:
		return a.revoke(c)
	case Admit:
		return a.admit(c)
	case AddMember:
		return a.addMember(c)
	case AddDevice:
		return a.addDevice(c)
	case SetRole:
		return a.setRole(c)
	case RemoveMember:
		return a.removeMember(c.Removal)
	case RemoveDevice:
		return a.removeDevice(c.Removal)
	case RemoveReplica:
		return a.removeReplica(c)
	}
	return a.judgeRest(c)
}

func (a *actor) judgeRest(c Content) error {
	switch c := c.(type) {
	case Rotate:
		if a.anyGood() {
			a.require(RoleAdmin)
		}
	case GiveBoxes:
		return a.giveBoxes(c)
	case AddDB:
		a.require(RoleMember)
		if a.dbIn(a.g.dbLookup(c.DB)) {
			return fmt.Errorf("%s is in the team already", c.DB)
		}
	case RemoveDB:
		a.require(RoleAdmin)
		if !a.dbIn(a.g.dbLookup(c.DB)) {
			return fmt.Errorf("%s is not in the team", c.DB)
		}
	case Name:
		return a.rename(c)
	}
	return nil // MEMBER_OF, and actions of later versions
}

// require raises the role the link needs.
func (a *actor) require(r Role) { a.f.need = max(a.f.need, r) }

func (a *actor) rename(c Name) error {
	switch c.Kind {
	case NameTeam:
		a.require(RoleAdmin)
	case NameDB:
		a.require(RoleAdmin)
		if !a.dbIn(a.g.dbLookup(block.DBID(c.Subject))) {
			return errors.New("names a database that is not in the team")
		}
	case NameMember:
		if a.g.keys[a.g.members[a.member].id] != block.Device(c.Subject) {
			return errors.New("names another member")
		}
	case NameDevice:
		k := a.g.lookup(block.Device(c.Subject))
		if !slices.ContainsFunc(a.keys.get(k).seats, func(s int32) bool { return a.in(s) && a.g.seats[s].member == a.member }) {
			return errors.New("names a device of another member")
		}
	}
	return nil
}

// dbLookup returns the number of a database, none if no link ever named it.
func (g *graph) dbLookup(id block.DBID) int32 {
	if n, ok := g.dbNum[id]; ok {
		return n
	}
	return none
}
