package team

import (
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
)

// This file is rule 1 for what takes something away: revocations, roles, removals,
// and the confirmations that repeat them.

// mayRevoke raises the needed role unless the invitation is the author's own.
func (a *actor) mayRevoke(invite int32) {
	if a.g.seats[a.g.links[invite].seat].member != a.member {
		a.require(RoleAdmin)
	}
}

func (a *actor) revoke(c Revoke) error {
	n, _, err := a.openInvite(c.Invite)
	if err != nil {
		return err
	}
	a.mayRevoke(n)
	a.f.cut, a.f.invite, a.f.revokes = true, n, []int32{n}
	return nil
}

// targets returns the seats in the view, suspended ones included, that pick holds for.
func (a *actor) targets(seats []int32) []int32 {
	var in []int32
	for _, s := range seats {
		if a.in(s) {
			in = append(in, s)
		}
	}
	return in
}

func (a *actor) setRole(c SetRole) error {
	id := a.g.lookup(c.Member)
	m := a.memberByID(id)
	a.f.target = id
	now := a.members.get(max(m, 0)).role
	if m == none {
		now = 0
	}
	if !c.Confirms.IsZero() {
		if now != 0 && now != c.Role {
			return errors.New("nothing to confirm: the member has another role")
		}
		return a.confirm(c.Confirms, a.keys.get(id).demoted, func(x Content) bool {
			s, ok := x.(SetRole)
			return ok && s.Role == c.Role
		})
	}
	switch {
	case now == 0:
		return fmt.Errorf("%s is not on the team", c.Member)
	case now == RoleReplica:
		return errors.New("a replica has no other role")
	case now == c.Role:
		return fmt.Errorf("%s is %s already", c.Member, now)
	}
	lower := c.Role < now
	if m != a.member || !lower {
		a.require(RoleAdmin)
	}
	if lower && a.role >= a.f.need && !a.adminLeft(func(s int32) bool { return a.g.members[a.g.seats[s].member].id == id }) {
		return errors.New("the last admin cannot step down")
	}
	a.f.cut, a.f.root, a.f.leaving = lower, a.l.n, lower && m == a.member
	return nil
}

// confirm checks a cut that repeats an earlier one of somebody already out.
func (a *actor) confirm(id block.ID, inForce *list, same func(Content) bool) error {
	a.require(RoleAdmin)
	n, ok := a.g.byID[id]
	if !ok || !inForce.has(n) || !same(a.g.links[n].content) {
		return errors.New("what it confirms is not in force")
	}
	a.f.cut, a.f.root = true, a.g.links[n].root
	return nil
}

func (a *actor) removeMember(r Removal) error {
	id := a.g.lookup(r.Target)
	a.f.target = id
	var seats []int32
	for _, m := range a.keys.get(id).members {
		seats = append(seats, a.members.get(m).seats...)
	}
	own := a.g.members[a.member].id == id
	return a.removal(r, ActRemoveMember, seats, own, own,
		func(s int32) bool { return a.g.members[a.g.seats[s].member].id == id })
}

func (a *actor) removeDevice(r Removal) error {
	key := a.g.lookup(r.Target)
	a.f.target = key
	seats := a.keys.get(key).seats
	self := key == a.l.author
	own := self || !slices.ContainsFunc(a.targets(seats), func(s int32) bool { return a.g.seats[s].member != a.member })
	return a.removal(r, ActRemoveDevice, seats, own, self, func(s int32) bool { return a.g.seats[s].key == key })
}

// removal is the common part: seats are those the target ever had in this view,
// own needs no admin, leaving makes no generation.
func (a *actor) removal(r Removal, act Action, seats []int32, own, leaving bool, gone func(s int32) bool) error {
	in := a.targets(seats)
	for _, n := range r.Revokes {
		i, ok := a.g.byID[n]
		if !ok || a.invites.get(i).mark == absent {
			return errors.New("an invitation it revokes is not in its past")
		}
		// One that is not open is no error, and is revoked all the same: what closed it
		// here may fall.
		a.mayRevoke(i)
		a.f.revokes = append(a.f.revokes, i)
	}
	if len(in) == 0 {
		if r.Confirms.IsZero() || r.Keys != nil {
			return fmt.Errorf("%s is not on the team", r.Target)
		}
		var inForce *list
		for _, s := range seats {
			for e := a.seats.get(s).ends; e != nil; e = e.next {
				inForce = inForce.push(e.n)
			}
		}
		return a.confirm(r.Confirms, inForce, func(c Content) bool {
			x, ok := removalOf(c)
			return ok && c.Action() == act && x.Target == r.Target
		})
	}
	switch {
	case !r.Confirms.IsZero():
		return errors.New("nothing to confirm: the target is on the team")
	case leaving != (r.Keys == nil):
		return errors.New("a removal makes a generation, leaving makes none")
	}
	for _, s := range in {
		if a.members.get(a.g.seats[s].member).role == RoleReplica {
			return errors.New("a replica leaves by REMOVE_REPLICA only")
		}
	}
	if !own {
		a.require(RoleAdmin)
	}
	if a.role >= a.f.need && !a.adminLeft(gone) {
		return errors.New("the last admin cannot be removed or leave")
	}
	a.f.cut, a.f.leaving, a.f.root = true, leaving, a.l.n
	return nil
}

func (a *actor) removeReplica(c RemoveReplica) error {
	a.require(RoleAdmin)
	key := a.g.lookup(c.Device)
	in := a.targets(a.keys.get(key).seats)
	if len(in) == 0 {
		return fmt.Errorf("%s is not on the team", c.Device)
	}
	for _, s := range in {
		if a.members.get(a.g.seats[s].member).role != RoleReplica {
			return errors.New("not a replica: use REMOVE_DEVICE")
		}
	}
	a.f.cut, a.f.target, a.f.root = true, key, a.l.n
	return nil
}

// removalOf returns the common part of REMOVE_MEMBER and REMOVE_DEVICE.
func removalOf(c Content) (Removal, bool) {
	switch c := c.(type) {
	case RemoveMember:
		return c.Removal, true
	case RemoveDevice:
		return c.Removal, true
	}
	return Removal{}, false
}
