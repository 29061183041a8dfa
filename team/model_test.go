package team

import (
	"fmt"
	"slices"
	"strings"

	"github.com/toftdb/toft/block"
)

// model is the rules of the package comment, word by word and without cleverness:
// every view is resolved from genesis, past is a set, nothing is shared. It knows
// at most 64 links. The differential tests hold the reducer against it.
type model struct {
	ls    []*mlink
	team  block.TeamID
	views map[set]*mview
	proof func(Proof, block.Device) error
}

type set uint64

func (s set) has(i int) bool { return s>>i&1 != 0 }
func (s set) with(i int) set { return s | 1<<i }
func (s set) each(f func(i int)) {
	for i := range 64 {
		if s.has(i) {
			f(i)
		}
	}
}

type mlink struct {
	u       *UnverifiedLink
	parents set
	past    set
	depth   int
	ok      bool   // allowed, and so are all in its past
	why     string // why not
	need    Role
	cut     bool
	leaving bool
}

// mseat is a place on the team: who holds it by which link, for which member.
type mseat struct {
	link   int
	key    block.Device
	member int // the link of the member seat
	words  bool
}

// newModel judges all links, in the given order (parents first).
func newModel(all []*UnverifiedLink, proof func(Proof, block.Device) error) *model {
	m := &model{views: map[set]*mview{}, team: block.TeamID(all[0].ID), proof: proof}
	for _, u := range all {
		l := &mlink{u: u, ok: true, need: RoleReader}
		for _, id := range u.Header.Links[:u.Header.Parents] {
			p := m.find(id)
			l.parents, l.past = l.parents.with(p), l.past|m.ls[p].past.with(p)
			l.depth = max(l.depth, m.ls[p].depth+1)
			l.ok = l.ok && m.ls[p].ok
		}
		m.ls = append(m.ls, l)
		if len(m.ls) == 1 {
			continue
		}
		l.parents.each(func(p int) { l.ok = l.ok && m.ls[p].past&l.parents == 0 })
		if l.ok {
			l.why = m.allowed(len(m.ls) - 1)
			l.ok = l.why == ""
		}
	}
	return m
}

func (m *model) find(id block.ID) int {
	return slices.IndexFunc(m.ls, func(l *mlink) bool { return l.u.ID == id })
}

func (m *model) before(a, b int) bool { return m.ls[b].past.has(a) }

// all is every link that is allowed.
func (m *model) all() (s set) {
	for i, l := range m.ls {
		if l.ok {
			s = s.with(i)
		}
	}
	return s
}

// seats returns the seats a link makes.
func (m *model) seats(i int) (out []mseat) {
	u := m.ls[i].u
	member := i
	var key block.Device
	switch c := u.Content.(type) {
	case Create:
		key = u.Header.Author
	case AddMember:
		key = c.Device
	case Admit:
		key = c.Device
		if n := m.find(c.Invite); n >= 0 && m.ls[n].u.Content.(Invite).Kind == InviteDevice {
			member = m.author(n).member
		}
	case AddDevice:
		member = m.author(i).member
		if c.Device != u.Header.Author {
			key = c.Device
		}
	}
	if key != (block.Device{}) {
		out = append(out, mseat{link: i, key: key, member: member})
	}
	if r := recoveryOf(u.Content); r != nil {
		out = append(out, mseat{link: i, key: r.Device, member: member, words: true})
	}
	return out
}

// author returns the seat a link names; link -1 if there is no such seat in its past.
func (m *model) author(i int) mseat {
	u := m.ls[i].u
	if i == 0 {
		return m.seats(0)[0]
	}
	n := m.find(u.Header.Seat)
	if n >= 0 && m.before(n, i) {
		for _, s := range m.seats(n) {
			if s.key == u.Header.Author {
				return s
			}
		}
	}
	return mseat{link: -1}
}

// id of a member is the key of the first device of his member seat.
func (m *model) id(member int) block.Device { return m.seats(member)[0].key }

// granted is the role a member seat gives.
func (m *model) granted(i int) Role {
	switch c := m.ls[i].u.Content.(type) {
	case Create:
		return RoleAdmin
	case AddMember:
		return c.Role
	case Admit:
		return m.ls[m.find(c.Invite)].u.Content.(Invite).Role
	}
	return 0
}

func (m *model) later(a, b int) int {
	if d := m.ls[a].depth - m.ls[b].depth; d != 0 {
		return d
	}
	return strings.Compare(string(m.ls[a].u.ID[:]), string(m.ls[b].u.ID[:]))
}

func (m *model) rank(a, b mseat) int {
	if c := m.later(a.member, b.member); c != 0 {
		return c
	}
	if c := m.later(a.link, b.link); c != 0 {
		return c
	}
	switch {
	case a.words && !b.words:
		return -1
	case b.words && !a.words:
		return 1
	}
	return 0
}

// root is the first of a row of confirmations.
func (m *model) root(c int) int {
	var id block.ID
	switch x := m.ls[c].u.Content.(type) {
	case RemoveMember:
		id = x.Confirms
	case RemoveDevice:
		id = x.Confirms
	case SetRole:
		id = x.Confirms
	}
	if id.IsZero() {
		return c
	}
	return m.root(m.find(id))
}

// endsSeat reports whether cut c ends seat s.
func (m *model) endsSeat(c int, s mseat) bool {
	admission, match := s.link, false
	switch x := m.ls[c].u.Content.(type) {
	case RemoveMember:
		match, admission = m.id(s.member) == x.Target, s.member
	case RemoveDevice:
		match = s.key == x.Target
	case RemoveReplica:
		match = s.key == x.Device
	}
	return match && admission != m.root(c) && !m.before(m.root(c), admission)
}

func (m *model) revokes(c, invite int) bool {
	id := m.ls[invite].u.ID
	switch x := m.ls[c].u.Content.(type) {
	case Revoke:
		return x.Invite == id
	case RemoveMember:
		return slices.Contains(x.Revokes, id)
	case RemoveDevice:
		return slices.Contains(x.Revokes, id)
	}
	return false
}

// takes is rule 2.
func (m *model) takes(c, l int) bool {
	if c == l || m.before(l, c) || m.root(c) != c && m.before(m.root(c), l) {
		return false
	}
	s := m.author(l)
	if m.endsSeat(c, s) {
		return true
	}
	if x, ok := m.ls[c].u.Content.(SetRole); ok && m.id(s.member) == x.Member {
		return !m.before(c, l) && m.ls[l].need > x.Role
	}
	if a, ok := m.ls[l].u.Content.(Admit); ok {
		return m.revokes(c, m.find(a.Invite))
	}
	return false
}

// mview is a state: which links there are, which cuts are in force.
type mview struct {
	m     *model
	links set
	force set
	memo  map[int]bool
}

// resolve is rules 3 and 4 for a set of allowed links.
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
	slices.SortFunc(cuts, func(a, b int) int {
		if c := m.rank(m.author(a), m.author(b)); c != 0 {
			return c
		}
		if x, y := m.ls[a].leaving, m.ls[b].leaving; x != y {
			if x {
				return -1
			}
			return 1
		}
		return m.later(a, b)
	})
	var visited set
	var visit func(c int)
	visit = func(c int) {
		visited = visited.with(c)
		for _, d := range cuts {
			if m.before(d, c) && !visited.has(d) {
				visit(d)
			}
		}
		if v.taken(c) || !v.authorised(c) {
			return
		}
		above := set(0)
		links.each(func(i int) {
			if m.before(c, i) {
				above = above.with(i)
			}
		})
		if (&mview{m: m, links: links &^ above, force: v.force.with(c), memo: map[int]bool{}}).hasAdmin() {
			v.force, v.memo = v.force.with(c), map[int]bool{}
		}
	}
	for _, c := range cuts {
		if !visited.has(c) {
			visit(c)
		}
	}
	m.views[links] = v
	return v
}

func (v *mview) taken(l int) (yes bool) {
	v.force.each(func(c int) { yes = yes || v.m.takes(c, l) })
	return yes
}

// counts is rule 4.
func (v *mview) counts(l int) bool {
	if v.m.ls[l].cut {
		return v.force.has(l)
	}
	if l == 0 {
		return true
	}
	ok, done := v.memo[l]
	if !done {
		ok = !v.taken(l) && v.authorised(l)
		v.memo[l] = ok
	}
	return ok
}

func (v *mview) authorised(l int) bool {
	s := v.m.author(l)
	if !v.counts(s.link) {
		return false
	}
	switch c := v.m.ls[l].u.Content.(type) {
	case Admit:
		if !v.counts(v.m.find(c.Invite)) {
			return false
		}
	case Revoke:
		if !v.counts(v.m.find(c.Invite)) {
			return false
		}
	}
	return v.role(s.member, v.m.ls[l].past) >= v.m.ls[l].need
}

// role: the lowest of the latest counting role links of the member among some.
func (v *mview) role(member int, among set) (low Role) {
	id := v.m.id(member)
	var speak []int
	(among & v.links).each(func(i int) {
		s, ok := v.m.ls[i].u.Content.(SetRole)
		if i != member && (!ok || s.Member != id) || !v.counts(i) {
			return
		}
		old := false // before a removal in force that the membership has in its past
		v.force.each(func(c int) {
			if x, ok := v.m.ls[c].u.Content.(RemoveMember); ok && x.Target == id {
				old = old || v.m.before(i, c) && v.m.before(c, member)
			}
		})
		if !old {
			speak = append(speak, i)
		}
	})
	for _, i := range speak {
		if slices.ContainsFunc(speak, func(j int) bool { return v.m.before(i, j) }) {
			continue
		}
		r := v.m.granted(i)
		if s, ok := v.m.ls[i].u.Content.(SetRole); ok {
			r = s.Role
		}
		if low == 0 || r < low {
			low = r
		}
	}
	return low
}

func (v *mview) ended(s mseat) (yes bool) {
	v.force.each(func(c int) { yes = yes || v.m.endsSeat(c, s) })
	return yes
}

// uses lists the distinct devices that an invitation admitted, in order.
func (v *mview) uses(invite int) (keys []block.Device) {
	id := v.m.ls[invite].u.ID
	var admits []int
	v.links.each(func(i int) {
		if a, ok := v.m.ls[i].u.Content.(Admit); ok && a.Invite == id && v.counts(i) {
			admits = append(admits, i)
		}
	})
	slices.SortFunc(admits, func(a, b int) int {
		if c := v.m.rank(v.m.author(a), v.m.author(b)); c != 0 {
			return c
		}
		return v.m.later(a, b)
	})
	var visited set
	var visit func(i int)
	visit = func(i int) {
		visited = visited.with(i)
		for _, j := range admits {
			if v.m.before(j, i) && !visited.has(j) {
				visit(j)
			}
		}
		if k := v.m.ls[i].u.Content.(Admit).Device; !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, i := range admits {
		if !visited.has(i) {
			visit(i)
		}
	}
	return keys
}

// late: the seat, or the member it belongs to, came by an invitation used up.
func (v *mview) late(s mseat) bool {
	for _, l := range []int{s.link, s.member} {
		a, ok := v.m.ls[l].u.Content.(Admit)
		if !ok {
			continue
		}
		n := v.m.find(a.Invite)
		most := int(v.m.ls[n].u.Content.(Invite).MaxUses)
		if at := slices.Index(v.uses(n), a.Device); most > 0 && at >= most {
			return true
		}
	}
	return false
}

// in: the seat counts and is not ended. eligible: and not suspended.
func (v *mview) in(s mseat) bool {
	return v.links.has(s.link) && v.counts(s.link) && !v.ended(s)
}
func (v *mview) eligible(s mseat) bool { return v.in(s) && !v.late(s) }

// allSeats lists every seat of the view.
func (v *mview) allSeats() (out []mseat) {
	v.links.each(func(i int) { out = append(out, v.m.seats(i)...) })
	return out
}

// active is rule 5.
func (v *mview) active(s mseat) bool {
	if !v.eligible(s) {
		return false
	}
	for _, o := range v.allSeats() {
		if o.key == s.key && v.m.later(o.member, s.member) < 0 && v.eligible(o) {
			return false
		}
	}
	return true
}

func (v *mview) keyActive(k block.Device) bool {
	return slices.ContainsFunc(v.allSeats(), func(s mseat) bool { return s.key == k && v.active(s) })
}

func (v *mview) hasAdmin() bool { return v.hasAdminBut(func(mseat) bool { return false }) }

func (v *mview) hasAdminBut(gone func(s mseat) bool) bool {
	return slices.ContainsFunc(v.allSeats(), func(s mseat) bool {
		return !s.words && v.active(s) && !gone(s) && v.role(s.member, v.links) == RoleAdmin
	})
}

// gens returns the current generations.
func (v *mview) gens() (out []int) {
	var made []int
	v.links.each(func(i int) {
		if keysOf(v.m.ls[i].u.Content) != nil && v.counts(i) {
			made = append(made, i)
		}
	})
	for _, g := range made {
		if !slices.ContainsFunc(made, func(o int) bool { return v.m.before(g, o) }) {
			out = append(out, g)
		}
	}
	return out
}

// good: everybody who knows the generation is active.
func (v *mview) good(g int) bool {
	known := []block.Device{v.m.ls[g].u.Header.Author}
	after := v.m.resolve(v.m.ls[g].past.with(g))
	for _, s := range after.allSeats() {
		if after.active(s) {
			known = append(known, s.key)
		}
	}
	v.links.each(func(i int) {
		if v.m.before(g, i) {
			for _, s := range v.m.seats(i) {
				known = append(known, s.key)
			}
			if b, ok := v.m.ls[i].u.Content.(GiveBoxes); ok && block.ID(b.Generation) == v.m.ls[g].u.ID {
				known = append(known, b.Devices...)
			}
		}
	})
	return !slices.ContainsFunc(known, func(k block.Device) bool { return !v.keyActive(k) })
}

func (v *mview) anyGood() bool { return slices.ContainsFunc(v.gens(), v.good) }

func (v *mview) dbIn(db block.DBID) (yes bool) {
	v.links.each(func(i int) {
		if a, ok := v.m.ls[i].u.Content.(AddDB); !ok || a.DB != db || !v.counts(i) {
			return
		}
		gone := false
		v.links.each(func(j int) {
			if r, ok := v.m.ls[j].u.Content.(RemoveDB); ok && r.DB == db && v.m.before(i, j) && v.counts(j) {
				gone = true
			}
		})
		yes = yes || !gone
	})
	return yes
}

// revoked: some cut in force revokes the invitation.
func (v *mview) revoked(invite int) (yes bool) {
	v.force.each(func(c int) { yes = yes || v.m.revokes(c, invite) })
	return yes
}

// describe writes the view as lines that the reducer's view is written as, too.
func (v *mview) describe() string {
	var out []string
	for _, s := range v.allSeats() {
		state := "active"
		switch {
		case !v.counts(s.link):
			state = "void"
		case v.ended(s):
			state = "removed"
		case v.late(s):
			state = "suspended"
		case !v.active(s):
			state = "void"
		}
		line := fmt.Sprintf("seat %x %x %s", v.m.ls[s.link].u.ID[:4], s.key[:4], state)
		if state == "active" {
			line += " " + v.role(s.member, v.links).String()
		}
		out = append(out, line)
	}
	v.links.each(func(i int) {
		id := v.m.ls[i].u.ID
		if !v.counts(i) {
			out = append(out, fmt.Sprintf("void %x", id[:4]))
			return
		}
		switch c := v.m.ls[i].u.Content.(type) {
		case Invite:
			out = append(out, fmt.Sprintf("invite %x uses %d revoked %v", id[:4], len(v.uses(i)), v.revoked(i)))
		case AddDB:
			if v.dbIn(c.DB) {
				out = append(out, fmt.Sprintf("db %x", c.DB[:4]))
			}
		}
	})
	for _, g := range v.gens() {
		out = append(out, fmt.Sprintf("gen %x good %v", v.m.ls[g].u.ID[:4], v.good(g)))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}
