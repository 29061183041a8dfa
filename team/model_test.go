package team

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/toftdb/toft/block"
)

// model is the rules of the package comment, word by word and without cleverness:
// every view is resolved from genesis, a past is a set, nothing is shared. It knows
// at most 64 links. The differential tests hold the reducer against it.
type model struct {
	ls    []*mlink
	team  block.TeamID
	all   set // every link that is allowed
	views map[set]*mview
	proof func(Proof, block.Device) error
}

// set is a set of links.
type set uint64

func (s set) has(i int) bool { return i >= 0 && s>>i&1 != 0 }
func (s set) with(i int) set { return s | 1<<uint(i) } // of -1, "not found": s
func (s set) each(f func(i int)) {
	for ; s != 0; s &= s - 1 {
		f(bits.TrailingZeros64(uint64(s)))
	}
}
func (s set) any(f func(i int) bool) bool { return s.keep(f) != 0 }
func (s set) keep(f func(i int) bool) (out set) {
	s.each(func(i int) {
		if f(i) {
			out = out.with(i)
		}
	})
	return out
}

type mlink struct {
	u             *UnverifiedLink
	parents, past set
	depth         int
	me            *mseat // the author's seat; nil if it is not in the past
	seats         []*mseat
	give          Role                // what a member seat or a SET_ROLE grants
	invite        int                 // the INVITE an ADMIT or REVOKE cites, -1
	revokes       set                 // the INVITEs a cut revokes
	ends          func(s *mseat) bool // whether a removal is about a seat; nil: no removal
	of            block.Device        // whom a SET_ROLE, REMOVE_MEMBER or REMOVE_DEVICE names
	root          int                 // the first of a row of confirmations
	// Decided by the past (rule 1).
	ok, cut bool
	leaving int // 1: of oneself
	why     string
	need    Role
}

// mseat is a place on the team: who holds it by which link, for which member.
type mseat struct {
	link   int
	key    block.Device
	box    block.BoxKey // the HPKE key it came with
	member int          // the link of the member seat
	paper  int          // 0: recovery words, which rank before the device of the same link; 1: a device
}

// newModel judges all links; parents come first.
func newModel(all []*UnverifiedLink, proof func(Proof, block.Device) error) *model {
	m := &model{views: map[set]*mview{}, team: block.TeamID(all[0].ID), proof: proof}
	for i, u := range all {
		l := &mlink{u: u, ok: true, need: RoleReader, invite: -1, root: i}
		m.ls = append(m.ls, l)
		for _, id := range u.Header.Links[:u.Header.Parents] {
			p := m.find(id)
			l.parents, l.past = l.parents.with(p), l.past|m.ls[p].past.with(p)
			l.depth, l.ok = max(l.depth, m.ls[p].depth+1), l.ok && m.ls[p].ok
		}
		l.ok = l.ok && !l.parents.any(func(p int) bool { return m.ls[p].past&l.parents != 0 })
		m.read(i)
		if i > 0 && l.ok {
			l.why = m.allowed(i)
			l.ok = l.why == ""
		}
		if l.ok {
			m.all = m.all.with(i)
		}
	}
	return m
}

// read fills in what the content says.
func (m *model) read(i int) {
	l := m.ls[i]
	if n := m.find(l.u.Header.Seat); l.past.has(n) {
		for _, s := range m.ls[n].seats {
			if s.key == l.u.Header.Author {
				l.me = s
			}
		}
	}
	seat := func(key block.Device, box block.BoxKey, member int) {
		l.seats = append(l.seats, &mseat{link: i, key: key, box: box, member: member, paper: 1})
		if r := recoveryOf(l.u.Content); r != nil {
			l.seats = append(l.seats, &mseat{link: i, key: r.Device, box: r.BoxKey, member: member})
		}
	}
	var confirms block.ID
	removal := func(r Removal, is func(s *mseat) bool) {
		l.ends = is
		for _, id := range r.Revokes {
			l.revokes = l.revokes.with(m.find(id))
		}
		l.of, confirms = r.Target, r.Confirms
	}
	switch c := l.u.Content.(type) {
	case Create:
		seat(l.u.Header.Author, c.BoxKey, 0)
		l.me, l.give = l.seats[0], RoleAdmin
	case AddMember:
		box := c.BoxKey
		if box.IsZero() { // the X25519 key that the device key maps to
			box, _ = c.Device.BoxKey()
		}
		seat(c.Device, box, i)
		l.give = c.Role
	case Admit:
		if l.invite = m.find(c.Invite); l.invite >= 0 {
			if inv := m.ls[l.invite].u.Content.(Invite); inv.Kind != InviteDevice {
				seat(c.Device, c.BoxKey, i)
				l.give = inv.Role
			} else if by := m.ls[l.invite].me; by != nil {
				seat(c.Device, c.BoxKey, by.member)
			}
		}
	case AddDevice:
		if l.me != nil {
			seat(c.Device, c.BoxKey, l.me.member)
			if c.Device == l.u.Header.Author {
				l.seats = l.seats[1:]
			}
		}
	case Revoke:
		l.invite = m.find(c.Invite)
		l.revokes = l.revokes.with(l.invite)
	case SetRole:
		l.of, l.give, confirms = c.Member, c.Role, c.Confirms
	case RemoveMember:
		removal(c.Removal, func(s *mseat) bool { return m.id(s) == c.Target })
	case RemoveDevice:
		removal(c.Removal, func(s *mseat) bool { return s.key == c.Target })
	case RemoveReplica:
		removal(Removal{}, func(s *mseat) bool { return s.key == c.Device })
	}
	if n := m.find(confirms); l.past.has(n) {
		l.root = m.ls[n].root
	}
}

func (m *model) find(id block.ID) int {
	return slices.IndexFunc(m.ls, func(l *mlink) bool { return l.u.ID == id })
}

func (m *model) before(a, b int) bool { return m.ls[b].past.has(a) }
func (m *model) act(i int) Action     { return m.ls[i].u.Content.Action() }

// most is how many devices an invitation may admit.
func (m *model) most(invite int) int {
	return cmp.Or(int(m.ls[invite].u.Content.(Invite).MaxUses), math.MaxInt)
}

// id of a seat's member: the key of the first device of the member seat.
func (m *model) id(s *mseat) block.Device { return m.ls[s.member].seats[0].key }

func (m *model) later(a, b int) int {
	return cmp.Or(m.ls[a].depth-m.ls[b].depth, bytes.Compare(m.ls[a].u.ID[:], m.ls[b].u.ID[:]))
}

func (m *model) rank(a, b *mseat) int {
	return cmp.Or(m.later(a.member, b.member), m.later(a.link, b.link), a.paper-b.paper)
}

// visit lists links so that each comes after those of them in its past, and apart
// from that in the order of first.
func (m *model) visit(links set, first func(a, b int) int) (out []int) {
	var ls []int
	links.each(func(i int) { ls = append(ls, i) })
	slices.SortFunc(ls, first)
	var walk func(among set)
	walk = func(among set) {
		for _, i := range ls {
			if among.has(i) && !slices.Contains(out, i) {
				walk(m.ls[i].past)
				out = append(out, i)
			}
		}
	}
	walk(links)
	return out
}

// endsSeat reports whether cut c ends seat s.
func (m *model) endsSeat(c int, s *mseat) bool {
	l, admission := m.ls[c], s.link
	if m.act(c) == ActRemoveMember {
		admission = s.member
	}
	return l.ends != nil && l.ends(s) && admission != l.root && !m.before(l.root, admission)
}

// takes is rule 2.
func (m *model) takes(c, i int) bool {
	cut, l := m.ls[c], m.ls[i]
	if c == i || m.before(i, c) || cut.root != c && m.before(cut.root, i) {
		return false
	}
	if m.act(c) == ActSetRole {
		return m.id(l.me) == cut.of && !m.before(c, i) && l.need > cut.give
	}
	return m.endsSeat(c, l.me) || m.act(i) == ActAdmit && cut.revokes.has(l.invite)
}

// mview is a state: which links there are, which cuts are in force.
type mview struct {
	m            *model
	links, force set
	memo         map[int]bool
}

// resolve is rule 3 for a set of allowed links.
func (m *model) resolve(links set) *mview {
	if v, ok := m.views[links]; ok {
		return v
	}
	v := &mview{m: m, links: links, memo: map[int]bool{}}
	cuts := links.keep(func(i int) bool { return m.ls[i].cut })
	for _, c := range m.visit(cuts, func(a, b int) int {
		return cmp.Or(m.rank(m.ls[a].me, m.ls[b].me), m.ls[b].leaving-m.ls[a].leaving, m.later(a, b))
	}) {
		if v.taken(c) || !v.authorised(c) {
			continue
		}
		aside := links.keep(func(i int) bool { return !m.before(c, i) }) // what is above c does not vouch for it
		with := &mview{m: m, links: aside, force: v.force.with(c), memo: map[int]bool{}}
		if with.adminBut(func(*mseat) bool { return false }) {
			v.force, v.memo = with.force, map[int]bool{}
		}
	}
	m.views[links] = v
	return v
}

func (v *mview) taken(l int) bool { return v.force.any(func(c int) bool { return v.m.takes(c, l) }) }

// counts is rule 4.
func (v *mview) counts(l int) bool {
	if v.m.ls[l].cut || l == 0 {
		return l == 0 || v.force.has(l)
	}
	ok, done := v.memo[l]
	if !done {
		ok = !v.taken(l) && v.authorised(l)
		v.memo[l] = ok
	}
	return ok
}

func (v *mview) authorised(i int) bool {
	l := v.m.ls[i]
	return v.counts(l.me.link) && (l.invite < 0 || v.counts(l.invite)) && v.role(l.me, l.past) >= l.need
}

// role: the lowest of the latest counting role links of the member among some.
func (v *mview) role(s *mseat, among set) (low Role) {
	speak := (among & v.links).keep(func(i int) bool {
		old := func(c int) bool { // i is before a removal that the membership has in its past
			return v.m.act(c) == ActRemoveMember && v.m.ls[c].ends(s) && v.m.before(i, c) && v.m.before(c, s.member)
		}
		return (i == s.member || v.m.act(i) == ActSetRole && v.m.ls[i].of == v.m.id(s)) && v.counts(i) && !v.force.any(old)
	})
	speak.each(func(i int) {
		latest := !speak.any(func(j int) bool { return v.m.before(i, j) })
		if r := v.m.ls[i].give; latest && (low == 0 || r < low) {
			low = r
		}
	})
	return low
}

// now is the role of a seat's member in the view.
func (v *mview) now(s *mseat) Role { return v.role(s, v.links) }

func (v *mview) ended(s *mseat) bool {
	return v.force.any(func(c int) bool { return v.m.endsSeat(c, s) })
}

// uses lists the distinct devices that an invitation admitted, in order.
func (v *mview) uses(invite int) (keys []block.Device) {
	admits := v.links.keep(func(i int) bool { return v.m.act(i) == ActAdmit && v.m.ls[i].invite == invite && v.counts(i) })
	for _, i := range v.m.visit(admits, func(a, b int) int {
		return cmp.Or(v.m.rank(v.m.ls[a].me, v.m.ls[b].me), v.m.later(a, b))
	}) {
		if k := v.m.ls[i].u.Content.(Admit).Device; !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// late: the seat, or its member, came by an invitation that was used up.
func (v *mview) late(s *mseat) bool {
	return set(0).with(s.link).with(s.member).any(func(l int) bool {
		a, ok := v.m.ls[l].u.Content.(Admit)
		return ok && slices.Index(v.uses(v.m.ls[l].invite), a.Device) >= v.m.most(v.m.ls[l].invite)
	})
}

// in: the seat counts and is not ended.
func (v *mview) in(s *mseat) bool { return v.links.has(s.link) && v.counts(s.link) && !v.ended(s) }

func (v *mview) seats() (out []*mseat) {
	v.links.each(func(i int) { out = append(out, v.m.ls[i].seats...) })
	return out
}

func (v *mview) some(f func(s *mseat) bool) bool { return slices.ContainsFunc(v.seats(), f) }

// active is rule 5.
func (v *mview) active(s *mseat) bool {
	return v.in(s) && !v.late(s) && !v.some(func(o *mseat) bool {
		return o.key == s.key && v.m.later(o.member, s.member) < 0 && v.in(o) && !v.late(o)
	})
}

// on: each of the keys is an active device.
func (v *mview) on(keys ...block.Device) bool {
	return !slices.ContainsFunc(keys, func(k block.Device) bool {
		return !v.some(func(s *mseat) bool { return s.key == k && v.active(s) })
	})
}

func (v *mview) adminBut(gone func(s *mseat) bool) bool {
	return v.some(func(s *mseat) bool { return s.paper == 1 && !gone(s) && v.active(s) && v.now(s) == RoleAdmin })
}

// gens returns the current generations.
func (v *mview) gens() set {
	made := v.links.keep(func(i int) bool { return keysOf(v.m.ls[i].u.Content) != nil && v.counts(i) })
	return made.keep(func(g int) bool { return !made.any(func(o int) bool { return v.m.before(g, o) }) })
}

// good: everybody who knows the generation is active. Who has a later one opens it.
func (v *mview) good(g int) bool {
	var known []block.Device
	is := func(i int) bool { return i == g || v.m.before(g, i) }
	v.links.keep(is).each(func(i int) {
		if keysOf(v.m.ls[i].u.Content) != nil {
			known = append(known, v.m.ls[i].u.Header.Author)
			after := v.m.resolve(v.m.ls[i].past.with(i))
			for _, s := range slices.DeleteFunc(after.seats(), func(s *mseat) bool { return !after.active(s) }) {
				known = append(known, s.key)
			}
		}
		if b, ok := v.m.ls[i].u.Content.(GiveBoxes); ok && is(v.m.find(block.ID(b.Generation))) {
			known = append(known, b.Devices...)
		}
		for _, s := range v.m.ls[i].seats {
			known = append(known, s.key)
		}
	})
	return v.on(known...)
}

func (v *mview) dbIn(db block.DBID) bool {
	return v.links.any(func(i int) bool {
		a, ok := v.m.ls[i].u.Content.(AddDB)
		return ok && a.DB == db && v.counts(i) && !v.links.any(func(j int) bool {
			r, ok := v.m.ls[j].u.Content.(RemoveDB)
			return ok && r.DB == db && v.m.before(i, j) && v.counts(j)
		})
	})
}

// box is the HPKE key of a seat: the last that its holder published.
func (v *mview) box(s *mseat) block.BoxKey {
	last, box := s.link, s.box
	v.links.each(func(i int) {
		a, ok := v.m.ls[i].u.Content.(AddDevice)
		if ok && v.m.ls[i].me == s && a.Device == s.key && v.counts(i) && v.m.later(last, i) < 0 {
			last, box = i, a.BoxKey
		}
	})
	return box
}

func (v *mview) revoked(i int) bool {
	return v.force.any(func(c int) bool { return v.m.ls[c].revokes.has(i) })
}

// allowed is rule 1 of the model: "" if link i may stand above its own past, else
// why not. It sets what only its own past decides: need, cut, leaving.
func (m *model) allowed(i int) string {
	l := m.ls[i]
	v := m.resolve(l.past)
	if l.me == nil || !v.in(l.me) || !v.late(l.me) && !v.active(l.me) {
		return "author has no seat"
	}
	if l.u.Header.Critical {
		l.need = RoleAdmin
	}
	switch why := m.judge(l, v, l.me); {
	case why != "":
		return why
	case v.late(l.me) && (l.leaving == 0 || m.act(i) == ActSetRole):
		return "author is suspended"
	case v.now(l.me) == RoleReplica || v.now(l.me) < l.need:
		return "role does not suffice"
	case !m.isGen(v, block.ID(l.u.Header.Generation)):
		return "no such generation"
	}
	return ""
}

func (m *model) isGen(v *mview, id block.ID) bool {
	n := m.find(id)
	return v.links.has(n) && keysOf(m.ls[n].u.Content) != nil
}

// when returns why if something is so, else "".
func when(so bool, why string) string {
	if so {
		return why
	}
	return ""
}

// judge is the table of who may author what, and whether it has an effect.
func (m *model) judge(l *mlink, v *mview, me *mseat) string {
	admin := func(when bool) {
		if when {
			l.need = RoleAdmin
		}
	}
	self := m.id(me)
	switch c := l.u.Content.(type) {
	case Create:
		return "second genesis"
	case Invite:
		admin(c.Kind != InviteDevice)
		same := func(j int) bool { o, ok := m.ls[j].u.Content.(Invite); return ok && o.ID == c.ID }
		return when(v.links.any(same), "invitation exists")
	case Revoke:
		l.cut = true
		open := m.open(v, l.invite)
		admin(open && m.ls[l.invite].me.member != me.member)
		return when(!open, "not open")
	case Admit:
		return m.admission(l, v, c)
	case AddMember:
		admin(true)
		r := c.Recovery
		return cmp.Or(when(r != nil && !m.states(c.Device, c.Device, r.Device, r.BoxKey, r.Vouch), "the new member did not vouch"), m.fresh(l, v))
	case AddDevice:
		if c.Device == l.u.Header.Author {
			old := c.Recovery == nil && v.box(me).Equal(c.BoxKey)
			return cmp.Or(when(old || c.Statement != block.Signature{}, "nothing new"), m.fresh(l, v))
		}
		return cmp.Or(when(!m.states(c.Device, self, c.Device, c.BoxKey, c.Statement), "bad statement"), m.fresh(l, v))
	case SetRole:
		return m.setRole(l, v, c)
	case RemoveMember:
		return m.removal(l, v, c.Removal, self == c.Target, self == c.Target)
	case RemoveDevice:
		signing := c.Target == l.u.Header.Author
		others := v.some(func(s *mseat) bool { return l.ends(s) && v.in(s) && s.member != me.member })
		return m.removal(l, v, c.Removal, signing || !others, signing)
	case RemoveReplica:
		admin(true)
		l.cut = true
		in := func(s *mseat) bool { return l.ends(s) && v.in(s) }
		return when(!v.some(in) || v.some(func(s *mseat) bool { return in(s) && v.now(s) != RoleReplica }), "no replica")
	case Rotate:
		admin(v.gens().any(v.good))
	case GiveBoxes:
		return when(!m.isGen(v, block.ID(c.Generation)) || !v.on(c.Devices...), "no such generation or device")
	case AddDB:
		l.need = max(l.need, RoleMember)
		return when(v.dbIn(c.DB), "database is in")
	case RemoveDB:
		admin(true)
		return when(!v.dbIn(c.DB), "database is not in")
	case Name:
		admin(c.Kind == NameTeam || c.Kind == NameDB)
		mine := func(s *mseat) bool { return s.key == block.Device(c.Subject) && s.member == me.member && v.in(s) }
		return when(c.Kind == NameDB && !v.dbIn(block.DBID(c.Subject)) || c.Kind == NameMember && self != block.Device(c.Subject) ||
			c.Kind == NameDevice && !v.some(mine), "not his to name")
	}
	return ""
}

// open: the invitation counts, is not revoked and not used up.
func (m *model) open(v *mview, n int) bool {
	return v.links.has(n) && v.counts(n) && !v.revoked(n) && len(v.uses(n)) < m.most(n)
}

// states: by signed that device joins member.
func (m *model) states(by, member, device block.Device, box block.BoxKey, sig block.Signature) bool {
	return by.Verify(block.ForDevice, DeviceStatement(m.team, member, device, box), sig) == nil
}

// fresh: none of the keys the link seats is on the team, and recovery words signed.
func (m *model) fresh(l *mlink, v *mview) string {
	for k, s := range l.seats {
		if v.on(s.key) || k > 0 && s.key == l.seats[0].key {
			return "device is on the team"
		}
		if r := recoveryOf(l.u.Content); s.paper == 0 && !m.states(r.Device, m.id(s), r.Device, r.BoxKey, r.Statement) {
			return "recovery half is not signed"
		}
	}
	return ""
}

func (m *model) admission(l *mlink, v *mview, c Admit) string {
	if !m.open(v, l.invite) {
		return "not open"
	}
	inv := m.ls[l.invite].u.Content.(Invite)
	gone := inv.Kind == InviteDevice && !v.some(func(s *mseat) bool { return s.member == m.ls[l.invite].me.member && v.active(s) })
	bound := !inv.Bound.IsZero() && inv.Bound != c.Device || c.Recovery != nil && inv.Kind != InviteMember
	p := c.Proof
	p.Kind, p.Role, p.Invite, p.Admitter = inv.Kind, inv.Role, inv.ID, l.u.Header.Author
	p.Device, p.BoxKey, p.Recovery = c.Device, c.BoxKey, c.Recovery
	p.Commit = Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	copy(p.Team[:], m.team[:])
	return cmp.Or(when(gone, "inviter is gone"), when(bound, "for another device"), when(m.proof(p, inv.Key) != nil, "bad proof"),
		when(slices.Contains(v.uses(l.invite), c.Device), "admitted already"), m.fresh(l, v))
}

// confirmed: the link repeats a cut in force of the same kind, target and role.
func (m *model) confirmed(l *mlink, v *mview, id block.ID) string {
	l.need, l.cut = RoleAdmin, true
	f := m.find(id)
	same := v.force.has(f) && m.act(f) == l.u.Content.Action() && m.ls[f].of == l.of && m.ls[f].give == l.give
	return when(!same, "what it confirms is not in force")
}

func (m *model) setRole(l *mlink, v *mview, c SetRole) string {
	var who *mseat
	var now Role
	for _, s := range v.seats() {
		if m.id(s) == c.Member && v.active(s) && (who == nil || m.later(s.member, who.member) < 0) {
			who, now = s, v.now(s)
		}
	}
	switch {
	case !c.Confirms.IsZero() && now != 0 && now != c.Role:
		return "nothing to confirm"
	case !c.Confirms.IsZero():
		return m.confirmed(l, v, c.Confirms)
	case now == 0 || now == RoleReplica || now == c.Role:
		return "no effect"
	}
	l.cut = c.Role < now
	if l.cut && who.member == l.me.member {
		l.leaving = 1
	} else {
		l.need = RoleAdmin
	}
	return when(l.cut && !v.adminBut(func(s *mseat) bool { return m.id(s) == c.Member }), "last admin")
}

func (m *model) removal(l *mlink, v *mview, r Removal, own, leaving bool) string {
	for _, id := range r.Revokes {
		n := m.find(id)
		if !v.links.has(n) {
			return "revokes what is not there"
		}
		own = own && m.ls[n].me.member == l.me.member
	}
	in := func(s *mseat) bool { return l.ends(s) && v.in(s) }
	if !v.some(in) {
		return cmp.Or(when(r.Keys != nil, "a confirmation makes no generation"), m.confirmed(l, v, r.Confirms))
	}
	l.cut = true
	if leaving {
		l.leaving = 1
	}
	if !own {
		l.need = RoleAdmin
	}
	if !r.Confirms.IsZero() || leaving != (r.Keys == nil) || v.some(func(s *mseat) bool { return in(s) && v.now(s) == RoleReplica }) {
		return "confirms, or makes a generation, where it should not; or a replica"
	}
	return when(!v.adminBut(l.ends), "last admin")
}
