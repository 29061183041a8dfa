package team

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// This file writes the outcome of a resolver into a view: rule 5 and all that
// hangs on what counts.

// seated returns base with the seats of the bubble's links for which in holds:
// what adminLeft needs, and the first half of the full view.
func (r *resolver) seated(in func(i int) bool) *view {
	v := *r.base
	v.known = nil
	for s, ends := range r.ends {
		if ends == nil {
			continue
		}
		x := v.seats.get(s)
		if x.mark == counts {
			for e := ends; e != nil; e = e.next {
				x.ends = x.ends.push(e.n)
			}
			v.seats = v.seats.set(s, x)
		}
	}
	admits := map[int32][]int{}
	for i, l := range r.ls {
		if len(r.g.seatsAt[l.n]) == 0 || !in(i) {
			continue
		}
		m := void
		if r.counts(i) {
			m = counts
			if l.action == ActAdmit {
				admits[l.invite] = append(admits[l.invite], i)
			}
		}
		r.seat(&v, l, m)
	}
	for invite, is := range admits {
		r.suspend(&v, invite, is)
	}
	return &v
}

// seat adds the seats that link l makes.
func (r *resolver) seat(v *view, l *link, m mark) {
	for _, s := range r.g.seatsAt[l.n] {
		st := r.g.seats[s]
		x := seatView{mark: m, box: l.n}
		if m == counts {
			x.ends = r.ends[s]
		}
		v.seats = v.seats.set(s, x)
		mv := v.members.get(st.member)
		own := r.g.members[st.member].link == l.n
		if own && mv.mark == absent {
			mv = memberView{mark: m, joined: l.n, role: r.g.granted(l), sure: r.g.granted(l)}
		}
		if m == counts {
			mv.seats = push(mv.seats, s)
			kv := v.keys.get(st.key)
			kv.seats = push(kv.seats, s)
			v.keys = v.keys.set(st.key, kv)
		}
		v.members = v.members.set(st.member, mv)
		if id := r.g.members[st.member].id; own && m == counts && id == st.key && !st.recovery {
			kv := v.keys.get(id)
			kv.members = push(kv.members, st.member)
			v.keys = v.keys.set(id, kv)
		}
	}
}

// push appends without touching an array that another view shares.
func push[T any](s []T, x T) []T { return append(s[:len(s):len(s)], x) }

// suspend is rule 5: of an invitation's counting ADMITs the first distinct devices
// are active, in the order of rule 3 (an ADMIT after those in its past, else by
// rank of the admitter, depth, hash); those beyond its uses are suspended.
func (r *resolver) suspend(v *view, invite int32, admits []int) {
	senior := func(i, j int) int {
		if c := r.g.rank(r.ls[i].seat, r.ls[j].seat); c != 0 && !planted.Bug("team-uses-by-age") {
			return c
		}
		return r.g.later(r.ls[i].n, r.ls[j].n)
	}
	seen := map[int32]bool{} // by key; true: too late
	for _, i := range order(admits, senior, r.under) {
		l := r.ls[i]
		key := r.g.lookup(l.content.(Admit).Device)
		late, again := seen[key]
		for _, s := range r.base.keys.get(key).seats {
			if o := r.g.links[r.g.seats[s].link]; o.action == ActAdmit && o.invite == invite {
				late, again = r.base.suspended(s), true
			}
		}
		if !again || planted.Bug("team-twice-is-two-uses") {
			iv := v.invites.get(invite)
			late = v.usedUp(invite)
			iv.uses++
			v.invites = v.invites.set(invite, iv)
		}
		seen[key] = late
		if late {
			r.late(v, l)
		}
	}
}

// late suspends what l admitted: the device, or the member with all his devices.
func (r *resolver) late(v *view, l *link) {
	if r.g.links[l.invite].content.(Invite).Kind == InviteDevice {
		s := r.g.seatsAt[l.n][0]
		x := v.seats.get(s)
		x.suspended = true
		v.seats = v.seats.set(s, x)
		return
	}
	x := v.members.get(l.member)
	x.suspended = true
	v.members = v.members.set(l.member, x)
}

// view returns the full view under heads.
func (r *resolver) view(heads []int32) *view {
	v := r.seated(func(int) bool { return true })
	v.heads = heads
	for i, l := range r.ls {
		if l.action == ActInvite {
			iv := v.invites.get(l.n)
			iv.mark = void
			if r.counts(i) {
				iv.mark = counts
			}
			v.invites = v.invites.set(l.n, iv)
		}
	}
	for n, cuts := range r.revoked {
		iv := v.invites.get(n)
		for e := cuts; e != nil; e = e.next {
			iv.revoked = iv.revoked.push(e.n)
		}
		v.invites = v.invites.set(n, iv)
	}
	for i, l := range r.ls {
		if r.counts(i) {
			r.effect(v, l)
		}
	}
	r.setRoles(v)
	r.generations(v)
	if r.g.roster {
		r.check(v)
	}
	r.countActive(v)
	if len(r.ls) == 1 && r.ls[0].keys != nil && r.ls[0].after == nil {
		r.ls[0].after = v
	}
	return v
}

// effect writes what a counting link does apart from seats, roles and generations.
// Where links compete the latest by (depth, hash) speaks.
func (r *resolver) effect(v *view, l *link) {
	g := r.g
	switch c := l.content.(type) {
	case SetRole:
		if l.cut {
			kv := v.keys.get(l.target)
			kv.demoted = kv.demoted.push(l.n)
			v.keys = v.keys.set(l.target, kv)
		}
		if len(c.Heads) > 0 {
			v.cuts = v.cuts.push(l.n)
		}
	case RemoveMember, RemoveDevice:
		if rem, _ := removalOf(c); len(rem.Heads) > 0 {
			v.cuts = v.cuts.push(l.n)
		}
	case Admit:
		r.nameMember(v, l, c.Proof.Name)
		r.nameDevice(v, g.lookup(c.Device), l, c.Proof.DeviceName)
	case AddMember:
		r.nameMember(v, l, c.Name)
	case AddDevice:
		r.nameDevice(v, g.lookup(c.Device), l, c.Name)
		if x := v.seats.get(l.seat); g.lookup(c.Device) == l.author && g.later(l.n, x.box) > 0 {
			x.box = l.n
			v.seats = v.seats.set(l.seat, x)
		}
	case AddDB, RemoveDB:
		r.effectDB(v, l)
	case Name:
		r.effectName(v, l, c)
	case MemberOf:
		r.effectMemberOf(v, l, c)
	case Unknown:
		v.unknown = true
		v.halt = v.halt || l.critical
	}
}

// newer returns the one of two links that speaks. Genesis names nothing, so its
// number 0 stands for "no name yet" and gives way to everything.
func (g *graph) newer(old, n int32) int32 {
	if g.later(n, old) > 0 {
		return n
	}
	return old
}

func (r *resolver) nameMember(v *view, l *link, name string) {
	if name == "" {
		return
	}
	m := r.g.seats[l.seat].member
	if l.action != ActName {
		m = l.member
	}
	x := v.members.get(m)
	x.name = r.g.newer(x.name, l.n)
	v.members = v.members.set(m, x)
}

func (r *resolver) nameDevice(v *view, key int32, l *link, name string) {
	if name == "" {
		return
	}
	x := v.keys.get(key)
	x.name = r.g.newer(x.name, l.n)
	v.keys = v.keys.set(key, x)
}

func (r *resolver) effectDB(v *view, l *link) {
	if c, ok := l.content.(AddDB); ok {
		n := r.g.db(c.DB)
		x := v.dbs.get(n)
		if c.Name != "" {
			x.name = r.g.newer(x.name, l.n)
			v.dbs = v.dbs.set(n, x)
		}
		for i, o := range r.ls {
			if x, ok := o.content.(RemoveDB); ok && x.DB == c.DB && r.before(l.n, o.n) && r.counts(i) {
				return
			}
		}
		x.adds = push(x.adds, l.n)
		v.dbs = v.dbs.set(n, x)
		return
	}
	n := r.g.db(l.content.(RemoveDB).DB)
	x := v.dbs.get(n)
	var left []int32
	for _, a := range x.adds {
		if !r.before(a, l.n) {
			left = append(left, a)
		}
	}
	x.adds = left
	v.dbs = v.dbs.set(n, x)
}

func (r *resolver) effectName(v *view, l *link, c Name) {
	g := r.g
	switch c.Kind {
	case NameTeam:
		v.name = g.newer(v.name, l.n)
	case NameDB:
		n := g.dbLookup([16]byte(c.Subject))
		x := v.dbs.get(n)
		x.name = g.newer(x.name, l.n)
		v.dbs = v.dbs.set(n, x)
	case NameMember:
		r.nameMember(v, l, c.Name)
	case NameDevice:
		r.nameDevice(v, g.lookup([32]byte(c.Subject)), l, c.Name)
	}
	// Genesis has no time: the founder joined when the first name was given.
	m := g.seats[l.seat].member
	if x := v.members.get(m); x.joined == 0 || r.at(x.joined) >= 0 && g.later(l.n, x.joined) < 0 && g.members[m].link == 0 {
		x.joined = l.n
		v.members = v.members.set(m, x)
	}
}

func (r *resolver) effectMemberOf(v *view, l *link, c MemberOf) {
	of := slices.Clone(v.of)
	i := slices.IndexFunc(of, func(n int32) bool { return r.g.links[n].content.(MemberOf).Team == c.Team })
	if i < 0 {
		v.of = append(of, l.n)
		return
	}
	of[i] = r.g.newer(of[i], l.n)
	v.of = of
}

// setRoles brings the roles of all members up to date whom the bubble admits or
// names in a SET_ROLE, and the list of admins.
func (r *resolver) setRoles(v *view) {
	touched := map[int32]bool{}
	for m, ls := range r.seats {
		for _, j := range ls {
			if r.g.members[m].link == r.ls[j].n {
				touched[m] = true
			}
		}
	}
	for id := range r.roles {
		for _, m := range v.keys.get(id).members {
			// Of somebody who came back a hundred times one membership is alive, and only
			// its role can matter again.
			if slices.ContainsFunc(v.members.get(m).seats, v.in) {
				touched[m] = true
			}
		}
	}
	if len(touched) == 0 && len(r.ends) == 0 {
		return
	}
	all := func(int) bool { return true }
	for m := range touched {
		x := v.members.get(m)
		x.role = r.role(m, all)
		if r.g.roster {
			r.read(true)
			x.sure = r.role(m, all)
			r.read(false)
		}
		v.members = v.members.set(m, x)
	}
	var admins []int32
	for _, m := range r.candidates() {
		x := v.members.get(m)
		if x.mark == counts && x.role == RoleAdmin && slices.ContainsFunc(x.seats, v.in) {
			admins = append(admins, m)
		}
	}
	v.admins = admins
}

// generations finds the current generations and adds to those who know them.
func (r *resolver) generations(v *view) {
	var made []int
	for i, l := range r.ls {
		if l.keys != nil && r.counts(i) {
			made = append(made, i)
		}
	}
	gens := slices.Clone(r.base.gens)
	if len(made) > 0 {
		gens = nil
		for _, i := range made {
			follows := func(j int) bool { return r.under(i, j) }
			if !slices.ContainsFunc(made, follows) {
				gens = append(gens, gen{link: r.ls[i].n})
			}
		}
	}
	for k, x := range gens {
		for _, l := range r.ls {
			if !r.before(x.link, l.n) {
				continue
			}
			// Whether the link counts does not matter: the box was handed out.
			for _, s := range r.g.seatsAt[l.n] {
				if planted.Bug("team-newcomers-forgotten") {
					break
				}
				x.extra = x.extra.push(r.g.seats[s].key)
			}
			if l.keys != nil { // void too, or x would not be current
				x.heirs = x.heirs.push(l.n)
			}
			if b, ok := l.content.(GiveBoxes); ok && r.opens(b.Generation, x.link) {
				for _, d := range b.Devices {
					x.extra = x.extra.push(r.g.lookup(d))
				}
			}
		}
		gens[k] = x
	}
	v.gens = gens
}

// opens reports whether who has the key of one generation has that of another: it
// is the same, or stands above it.
func (r *resolver) opens(have block.Generation, other int32) bool {
	n, ok := r.g.byID[block.ID(have)]
	return ok && (n == other || r.before(other, n))
}

// countActive keeps the number of active devices, and changes the era where one
// may have stopped being active.
func (r *resolver) countActive(v *view) {
	keys := map[int32]bool{}
	for s := range r.ends {
		keys[r.g.seats[s].key] = true
	}
	for _, l := range r.ls {
		for _, s := range r.g.seatsAt[l.n] {
			keys[r.g.seats[s].key] = true
		}
	}
	lost := len(r.ls) > 1 || r.base.era == nil
	for k := range keys {
		before, after := r.base.holder(k) != none, v.holder(k) != none
		switch {
		case before && !after:
			v.active--
			lost = !planted.Bug("team-removed-but-good")
		case after && !before:
			v.active++
		}
	}
	if lost {
		v.era = new(byte)
	}
}
