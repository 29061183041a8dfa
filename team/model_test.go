package team

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

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
func (s set) any(f func(i int) bool) (yes bool) {
	s.each(func(i int) { yes = yes || f(i) })
	return yes
}

type mlink struct {
	u             *UnverifiedLink
	parents, past set
	depth         int
	me            *mseat // the author's seat; nil if it is not in the past
	seats         []*mseat
	give          Role                // what a member seat grants
	invite        int                 // the INVITE an ADMIT or REVOKE cites, -1
	revokes       set                 // the INVITEs a cut revokes
	ends          func(s *mseat) bool // whether a removal is about a seat; nil: no removal
	lowers        block.Device        // of a SET_ROLE
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
	member int // the link of the member seat
	paper  int // 0: recovery words, which rank before the device of the same link; 1: a device
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
	seat := func(key block.Device, member int) {
		l.seats = append(l.seats, &mseat{link: i, key: key, member: member, paper: 1})
		if r := recoveryOf(l.u.Content); r != nil {
			l.seats = append(l.seats, &mseat{link: i, key: r.Device, member: member})
		}
	}
	removal := func(r Removal, is func(s *mseat) bool) {
		l.ends = is
		for _, id := range r.Revokes {
			l.revokes = l.revokes.with(m.find(id))
		}
		m.confirms(l, r.Confirms)
	}
	switch c := l.u.Content.(type) {
	case Create:
		seat(l.u.Header.Author, 0)
		l.me, l.give = l.seats[0], RoleAdmin
	case AddMember:
		seat(c.Device, i)
		l.give = c.Role
	case Admit:
		if l.invite = m.find(c.Invite); l.invite >= 0 {
			if inv := m.ls[l.invite].u.Content.(Invite); inv.Kind != InviteDevice {
				seat(c.Device, i)
				l.give = inv.Role
			} else if by := m.ls[l.invite].me; by != nil {
				seat(c.Device, by.member)
			}
		}
	case AddDevice:
		if l.me != nil {
			seat(c.Device, l.me.member)
			if c.Device == l.u.Header.Author {
				l.seats = l.seats[1:]
			}
		}
	case Revoke:
		l.invite = m.find(c.Invite)
		l.revokes = l.revokes.with(l.invite)
	case SetRole:
		l.lowers = c.Member
		m.confirms(l, c.Confirms)
	case RemoveMember:
		removal(c.Removal, func(s *mseat) bool { return m.id(s) == c.Target })
	case RemoveDevice:
		removal(c.Removal, func(s *mseat) bool { return s.key == c.Target })
	case RemoveReplica:
		removal(Removal{}, func(s *mseat) bool { return s.key == c.Device })
	}
}

func (m *model) confirms(l *mlink, id block.ID) {
	if n := m.find(id); l.past.has(n) {
		l.root = m.ls[n].root
	}
}

func (m *model) find(id block.ID) int {
	return slices.IndexFunc(m.ls, func(l *mlink) bool { return l.u.ID == id })
}

func (m *model) before(a, b int) bool { return m.ls[b].past.has(a) }

// id of a seat's member: the key of the first device of the member seat.
func (m *model) id(s *mseat) block.Device { return m.ls[s.member].seats[0].key }

func (m *model) later(a, b int) int {
	x, y := m.ls[a], m.ls[b]
	return cmp.Or(x.depth-y.depth, strings.Compare(string(x.u.ID[:]), string(y.u.ID[:])))
}

func (m *model) rank(a, b *mseat) int {
	return cmp.Or(m.later(a.member, b.member), m.later(a.link, b.link), a.paper-b.paper)
}

// visit lists links so that each comes after those of them in its past, and apart
// from that in the order of first.
func (m *model) visit(ls []int, first func(a, b int) int) (out []int) {
	slices.SortFunc(ls, first)
	var visited set
	var walk func(i int)
	walk = func(i int) {
		visited = visited.with(i)
		for _, j := range ls {
			if m.before(j, i) && !visited.has(j) {
				walk(j)
			}
		}
		out = append(out, i)
	}
	for _, i := range ls {
		if !visited.has(i) {
			walk(i)
		}
	}
	return out
}

// endsSeat reports whether cut c ends seat s.
func (m *model) endsSeat(c int, s *mseat) bool {
	l, admission := m.ls[c], s.link
	if l.u.Content.Action() == ActRemoveMember {
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
	if s, ok := cut.u.Content.(SetRole); ok {
		return m.id(l.me) == cut.lowers && !m.before(c, i) && l.need > s.Role
	}
	return m.endsSeat(c, l.me) || l.u.Content.Action() == ActAdmit && cut.revokes.has(l.invite)
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
	var cuts []int
	links.each(func(i int) {
		if m.ls[i].cut {
			cuts = append(cuts, i)
		}
	})
	cuts = m.visit(cuts, func(a, b int) int {
		return cmp.Or(m.rank(m.ls[a].me, m.ls[b].me), m.ls[b].leaving-m.ls[a].leaving, m.later(a, b))
	})
	for _, c := range cuts {
		if v.taken(c) || !v.authorised(c) {
			continue
		}
		below := links // what does not have c in its past
		links.each(func(i int) {
			if m.before(c, i) {
				below &^= 1 << i
			}
		})
		with := &mview{m: m, links: below, force: v.force.with(c), memo: map[int]bool{}}
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
	var speak []int
	(among & v.links).each(func(i int) {
		old := func(c int) bool { // i is before a removal that the membership has in its past
			return v.m.ls[c].u.Content.Action() == ActRemoveMember && v.m.ls[c].ends(s) && v.m.before(i, c) && v.m.before(c, s.member)
		}
		c, ok := v.m.ls[i].u.Content.(SetRole)
		if (i == s.member || ok && c.Member == v.m.id(s)) && v.counts(i) && !v.force.any(old) {
			speak = append(speak, i)
		}
	})
	for _, i := range speak {
		r := v.m.ls[i].give
		if s, ok := v.m.ls[i].u.Content.(SetRole); ok {
			r = s.Role
		}
		if !slices.ContainsFunc(speak, func(j int) bool { return v.m.before(i, j) }) && (low == 0 || r < low) {
			low = r
		}
	}
	return low
}

// now is the role of a seat's member in the view.
func (v *mview) now(s *mseat) Role { return v.role(s, v.links) }

func (v *mview) ended(s *mseat) bool {
	return v.force.any(func(c int) bool { return v.m.endsSeat(c, s) })
}

// uses lists the distinct devices that an invitation admitted, in order.
func (v *mview) uses(invite int) (keys []block.Device) {
	var admits []int
	v.links.each(func(i int) {
		if l := v.m.ls[i]; l.u.Content.Action() == ActAdmit && l.invite == invite && v.counts(i) {
			admits = append(admits, i)
		}
	})
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
	return slices.ContainsFunc([]int{s.link, s.member}, func(l int) bool {
		a, ok := v.m.ls[l].u.Content.(Admit)
		if !ok {
			return false
		}
		n := v.m.ls[l].invite
		most := int(v.m.ls[n].u.Content.(Invite).MaxUses)
		return most > 0 && slices.Index(v.uses(n), a.Device) >= most
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

func (v *mview) keyActive(k block.Device) bool {
	return v.some(func(s *mseat) bool { return s.key == k && v.active(s) })
}

func (v *mview) adminBut(gone func(s *mseat) bool) bool {
	return v.some(func(s *mseat) bool { return s.paper == 1 && !gone(s) && v.active(s) && v.now(s) == RoleAdmin })
}

// gens returns the current generations.
func (v *mview) gens() (out []int) {
	makes := func(i int) bool { return keysOf(v.m.ls[i].u.Content) != nil && v.counts(i) }
	v.links.each(func(g int) {
		if makes(g) && !v.links.any(func(o int) bool { return makes(o) && v.m.before(g, o) }) {
			out = append(out, g)
		}
	})
	return out
}

// good: everybody who knows the generation is active.
func (v *mview) good(g int) bool {
	known := []block.Device{v.m.ls[g].u.Header.Author}
	after := v.m.resolve(v.m.ls[g].past.with(g))
	for _, s := range after.seats() {
		if after.active(s) {
			known = append(known, s.key)
		}
	}
	v.links.each(func(i int) {
		if v.m.before(g, i) {
			for _, s := range v.m.ls[i].seats {
				known = append(known, s.key)
			}
			if b, ok := v.m.ls[i].u.Content.(GiveBoxes); ok && block.ID(b.Generation) == v.m.ls[g].u.ID {
				known = append(known, b.Devices...)
			}
		}
	})
	return !slices.ContainsFunc(known, func(k block.Device) bool { return !v.keyActive(k) })
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

func (v *mview) revoked(invite int) bool {
	return v.force.any(func(c int) bool { return v.m.ls[c].revokes.has(invite) })
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
	_, removal := removalOf(l.u.Content)
	switch why := m.judge(l, v, l.me); {
	case why != "":
		return why
	case v.late(l.me) && !(removal && l.leaving == 1):
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
		if v.links.any(func(j int) bool { o, ok := m.ls[j].u.Content.(Invite); return ok && o.ID == c.ID }) {
			return "invitation exists"
		}
	case Revoke:
		l.cut = true
		if !m.open(v, l.invite) {
			return "not open"
		}
		admin(m.ls[l.invite].me.member != me.member)
	case Admit:
		return m.admission(l, v, c)
	case AddMember:
		admin(true)
		if r := c.Recovery; r != nil && !m.states(c.Device, c.Device, r.Device, r.BoxKey, r.Vouch) {
			return "the new member did not vouch"
		}
		return m.fresh(l, v)
	case AddDevice:
		if c.Device != l.u.Header.Author && !m.states(c.Device, self, c.Device, c.BoxKey, c.Statement) {
			return "bad statement"
		}
		if c.Device == l.u.Header.Author && c.Statement != (block.Signature{}) {
			return "nothing new"
		}
		return m.fresh(l, v)
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
		if !v.some(in) || v.some(func(s *mseat) bool { return in(s) && v.now(s) != RoleReplica }) {
			return "no replica"
		}
	case Rotate:
		admin(slices.ContainsFunc(v.gens(), v.good))
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
		mine := func(s *mseat) bool { return s.key == block.Device(c.Subject) && s.member == me.member && v.in(s) }
		if c.Kind == NameDB && !v.dbIn(block.DBID(c.Subject)) || c.Kind == NameMember && self != block.Device(c.Subject) ||
			c.Kind == NameDevice && !v.some(mine) {
			return "not his to name"
		}
	}
	return ""
}

// open: the invitation counts, is not revoked and not used up.
func (m *model) open(v *mview, n int) bool {
	if !v.links.has(n) || !v.counts(n) || v.revoked(n) {
		return false
	}
	most := m.ls[n].u.Content.(Invite).MaxUses
	return most == 0 || uint64(len(v.uses(n))) < most
}

// states: by signed that device joins member.
func (m *model) states(by, member, device block.Device, box block.BoxKey, sig block.Signature) bool {
	return by.Verify(block.ForDevice, DeviceStatement(m.team, member, device, box), sig) == nil
}

// fresh: none of the keys the link seats is on the team, and recovery words signed.
func (m *model) fresh(l *mlink, v *mview) string {
	for k, s := range l.seats {
		if v.keyActive(s.key) || k > 0 && s.key == l.seats[0].key {
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
	inviter := m.ls[l.invite].me.member
	if inv.Kind == InviteDevice && !v.some(func(s *mseat) bool { return s.member == inviter && v.active(s) }) {
		return "inviter is gone"
	}
	if slices.Contains(v.uses(l.invite), c.Device) || !inv.Bound.IsZero() && inv.Bound != c.Device || c.Recovery != nil && inv.Kind != InviteMember {
		return "admitted already, or bound to another device"
	}
	p := c.Proof
	p.Kind, p.Role, p.Invite, p.Admitter = inv.Kind, inv.Role, inv.ID, l.u.Header.Author
	copy(p.Team[:], m.team[:])
	if m.proof(p, inv.Key) != nil {
		return "bad proof"
	}
	return m.fresh(l, v)
}

// confirmed: the link repeats a cut in force of the same kind and target.
func (m *model) confirmed(l *mlink, v *mview, id block.ID, target block.Device) string {
	l.need, l.cut = RoleAdmin, true
	f := m.find(id)
	if f < 0 || !v.force.has(f) || m.ls[f].u.Content.Action() != l.u.Content.Action() {
		return "nothing to confirm"
	}
	o, _ := removalOf(m.ls[f].u.Content)
	if s, ok := m.ls[f].u.Content.(SetRole); o.Target != target && !(ok && s.Member == target && s.Role == l.u.Content.(SetRole).Role) {
		return "confirms another link"
	}
	return ""
}

func (m *model) setRole(l *mlink, v *mview, c SetRole) string {
	var who *mseat
	for _, s := range v.seats() {
		if m.id(s) == c.Member && v.active(s) && (who == nil || m.later(s.member, who.member) < 0) {
			who = s
		}
	}
	var now Role
	if who != nil {
		now = v.now(who)
	}
	switch {
	case !c.Confirms.IsZero() && now != 0 && now != c.Role:
		return "nothing to confirm"
	case !c.Confirms.IsZero():
		return m.confirmed(l, v, c.Confirms, c.Member)
	case now == 0 || now == RoleReplica || now == c.Role:
		return "no effect"
	}
	l.cut = c.Role < now
	if l.cut && who.member == l.me.member {
		l.leaving = 1
	} else {
		l.need = RoleAdmin
	}
	if l.cut && !v.adminBut(func(s *mseat) bool { return m.id(s) == c.Member }) {
		return "last admin"
	}
	return ""
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
		if r.Keys != nil {
			return "a confirmation makes no generation"
		}
		return m.confirmed(l, v, r.Confirms, r.Target)
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
	if !v.adminBut(l.ends) {
		return "last admin"
	}
	return ""
}
