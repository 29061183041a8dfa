package team

import (
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
)

// allowed is rule 1 of the model: "" if link i may stand above its own past, else
// why not. It sets what only its own past decides: need, cut, leaving.
func (m *model) allowed(i int) string {
	l := m.ls[i]
	v := m.resolve(l.past)
	me := m.author(i)
	if me.link < 0 || !v.in(me) || !v.late(me) && !v.active(me) {
		return "author has no seat"
	}
	if l.u.Header.Critical {
		l.need = RoleAdmin
	}
	why := m.judge(i, v, me)
	role := v.role(me.member, v.links)
	_, removal := removalOf(l.u.Content)
	switch {
	case why != "":
	case v.late(me) && !(removal && l.leaving):
		why = "author is suspended"
	case role == RoleReplica:
		why = "a replica authors nothing"
	case role < l.need:
		why = "role does not suffice"
	case !m.isGen(v, block.ID(l.u.Header.Generation)):
		why = "no such generation"
	}
	return why
}

func (m *model) isGen(v *mview, id block.ID) bool {
	n := m.find(id)
	return n >= 0 && v.links.has(n) && keysOf(m.ls[n].u.Content) != nil
}

func (m *model) judge(i int, v *mview, me mseat) string {
	l := m.ls[i]
	admin := func(when bool) {
		if when {
			l.need = RoleAdmin
		}
	}
	seats := func(pick func(s mseat) bool) []mseat {
		return slices.DeleteFunc(v.allSeats(), func(s mseat) bool { return !pick(s) })
	}
	self := m.id(me.member)
	switch c := l.u.Content.(type) {
	case Create:
		return "second genesis"
	case Invite:
		admin(c.Kind != InviteDevice)
		dup := false
		v.links.each(func(j int) {
			o, ok := m.ls[j].u.Content.(Invite)
			dup = dup || ok && o.ID == c.ID
		})
		if dup {
			return "invitation exists"
		}
	case Revoke:
		n, why := m.open(v, c.Invite)
		if why != "" {
			return why
		}
		l.cut = true
		admin(m.author(n).member != me.member)
	case Admit:
		return m.admission(v, c, self, l.u.Header.Author)
	case AddMember:
		admin(true)
		if r := c.Recovery; r != nil && c.Device.Verify(block.ForDevice, DeviceStatement(m.team, c.Device, r.Device, r.BoxKey), r.Vouch) != nil {
			return "the new member did not vouch"
		}
		return m.fresh(v, c.Device, c.Recovery)
	case AddDevice:
		if c.Device != l.u.Header.Author {
			st := DeviceStatement(m.team, self, c.Device, c.BoxKey)
			if c.Device.Verify(block.ForDevice, st, c.Statement) != nil {
				return "bad statement"
			}
			return m.fresh(v, c.Device, c.Recovery)
		}
		if c.Recovery == nil && m.boxOf(v, me).Equal(c.BoxKey) || c.Statement != (block.Signature{}) {
			return "nothing new"
		}
		if c.Recovery != nil && v.keyActive(c.Recovery.Device) {
			return "recovery key known"
		}
	case SetRole:
		var now Role
		member := -1
		for _, s := range seats(func(s mseat) bool { return m.id(s.member) == c.Member && v.active(s) }) {
			if member < 0 || m.later(s.member, member) < 0 {
				now, member = v.role(s.member, v.links), s.member
			}
		}
		if !c.Confirms.IsZero() {
			admin(true)
			l.cut = true
			f := m.find(c.Confirms)
			if now != 0 && now != c.Role || f < 0 || !v.force.has(f) {
				return "nothing to confirm"
			}
			if o, ok := m.ls[f].u.Content.(SetRole); !ok || o.Member != c.Member || o.Role != c.Role {
				return "confirms another link"
			}
			return ""
		}
		if now == 0 || now == RoleReplica || now == c.Role {
			return "no effect"
		}
		l.cut = c.Role < now
		l.leaving = l.cut && member == me.member
		admin(!l.leaving)
		if l.cut && !v.hasAdminBut(func(s mseat) bool { return m.id(s.member) == c.Member }) {
			return "last admin"
		}
	case RemoveMember:
		mine := self == c.Target
		return m.removal(i, v, me, c.Removal, mine, mine, func(s mseat) bool { return m.id(s.member) == c.Target })
	case RemoveDevice:
		is := func(s mseat) bool { return s.key == c.Target }
		others := seats(func(s mseat) bool { return is(s) && v.in(s) && s.member != me.member })
		signing := c.Target == l.u.Header.Author
		return m.removal(i, v, me, c.Removal, signing || len(others) == 0, signing, is)
	case RemoveReplica:
		admin(true)
		l.cut = true
		in := seats(func(s mseat) bool { return s.key == c.Device && v.in(s) })
		if len(in) == 0 || slices.ContainsFunc(in, func(s mseat) bool { return v.role(s.member, v.links) != RoleReplica }) {
			return "no replica"
		}
	case Rotate:
		admin(v.anyGood())
	case GiveBoxes:
		if !m.isGen(v, block.ID(c.Generation)) || slices.ContainsFunc(c.Devices, func(k block.Device) bool { return !v.keyActive(k) }) {
			return "no such generation or device"
		}
	case AddDB:
		l.need = max(l.need, RoleMember)
		if v.dbIn(c.DB) {
			return "database is in"
		}
	case RemoveDB:
		admin(true)
		if !v.dbIn(c.DB) {
			return "database is not in"
		}
	case Name:
		admin(c.Kind == NameTeam || c.Kind == NameDB)
		ok := true
		switch c.Kind {
		case NameDB:
			ok = v.dbIn(block.DBID(c.Subject))
		case NameMember:
			ok = self == block.Device(c.Subject)
		case NameDevice:
			ok = len(seats(func(s mseat) bool { return s.key == block.Device(c.Subject) && s.member == me.member && v.in(s) })) > 0
		}
		if !ok {
			return "not his to name"
		}
	}
	return ""
}

// open finds an invitation that counts, is not revoked and not used up.
func (m *model) open(v *mview, id block.ID) (int, string) {
	n := m.find(id)
	if n < 0 || !v.links.has(n) || !v.counts(n) || v.revoked(n) {
		return n, "invitation not open"
	}
	if most := m.ls[n].u.Content.(Invite).MaxUses; most > 0 && uint64(len(v.uses(n))) >= most {
		return n, "invitation used up"
	}
	return n, ""
}

func (m *model) fresh(v *mview, d block.Device, r *Recovery) string {
	if v.keyActive(d) || r != nil && (r.Device == d || v.keyActive(r.Device)) {
		return "device is on the team"
	}
	return ""
}

func (m *model) admission(v *mview, c Admit, self, author block.Device) string {
	n, why := m.open(v, c.Invite)
	if why != "" {
		return why
	}
	inv := m.ls[n].u.Content.(Invite)
	inviter := m.author(n).member
	if inv.Kind == InviteDevice && !slices.ContainsFunc(v.allSeats(), func(s mseat) bool { return s.member == inviter && v.active(s) }) {
		return "inviter is gone"
	}
	if slices.Contains(v.uses(n), c.Device) {
		return "admitted already"
	}
	if !inv.Bound.IsZero() && inv.Bound != c.Device || c.Recovery != nil && inv.Kind != InviteMember {
		return "bound to another device"
	}
	p := c.Proof
	p.Kind, p.Role, p.Invite, p.Admitter = inv.Kind, inv.Role, inv.ID, author
	copy(p.Team[:], m.team[:])
	if err := m.proof(p, inv.Key); err != nil {
		return fmt.Sprint(err)
	}
	return m.fresh(v, c.Device, c.Recovery)
}

func (m *model) removal(i int, v *mview, me mseat, r Removal, own, leaving bool, is func(s mseat) bool) string {
	l := m.ls[i]
	l.cut = true
	for _, id := range r.Revokes {
		n := m.find(id)
		if n < 0 || !v.links.has(n) {
			return "revokes what is not there"
		}
		if m.author(n).member != me.member {
			l.need = RoleAdmin
		}
	}
	in := slices.ContainsFunc(v.allSeats(), func(s mseat) bool { return is(s) && v.in(s) })
	if !in {
		l.need = RoleAdmin
		f := m.find(r.Confirms)
		if r.Keys != nil || f < 0 || !v.force.has(f) {
			return "nothing to confirm"
		}
		x, ok := removalOf(m.ls[f].u.Content)
		if !ok || x.Target != r.Target || m.ls[f].u.Content.Action() != l.u.Content.Action() {
			return "confirms another link"
		}
		return ""
	}
	if !r.Confirms.IsZero() || leaving != (r.Keys == nil) {
		return "confirms or makes a generation where it should not"
	}
	l.leaving = leaving
	if !own {
		l.need = RoleAdmin
	}
	for _, s := range v.allSeats() {
		if is(s) && v.in(s) && v.role(s.member, v.links) == RoleReplica {
			return "a replica"
		}
	}
	if !v.hasAdminBut(is) {
		return "last admin"
	}
	return ""
}

func (m *model) boxOf(v *mview, s mseat) (k block.BoxKey) {
	best := -1
	v.links.each(func(i int) {
		c, ok := m.ls[i].u.Content.(AddDevice)
		if ok && m.author(i) == s && c.Device == s.key && v.counts(i) && (best < 0 || m.later(i, best) > 0) {
			best, k = i, c.BoxKey
		}
	})
	if best >= 0 {
		return k
	}
	if r := recoveryOf(m.ls[s.link].u.Content); r != nil && s.words {
		return r.BoxKey
	}
	switch c := m.ls[s.link].u.Content.(type) {
	case Create:
		return c.BoxKey
	case Admit:
		return c.BoxKey
	case AddDevice:
		return c.BoxKey
	case AddMember:
		k = c.BoxKey
		if k.IsZero() {
			k, _ = c.Device.BoxKey()
		}
	}
	return k
}
