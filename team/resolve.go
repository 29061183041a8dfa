package team

import (
	"cmp"
	"slices"

	"github.com/toftdb/toft/internal/planted"
)

// resolver applies rules 2 to 5 to one bubble: links that lie above a common
// dominator whose view is known. Nothing in the bubble can change what is below
// it, because a cut never takes a link in its own past and every cut of the bubble
// has all that is below in its past; nothing outside can change the bubble, because
// what comes later has all of it in its past. So a chain is resolved bubble by
// bubble, and a linear run is a row of bubbles of one link.
//
//	     ┌─ B ── C ─┐
//	G ── A          F ── H      base = view after A, bubble = B C D E
//	     └─ D ── E ─┘
type resolver struct {
	g     *graph
	base  *view
	ls    []*link // topological
	local []int32 // local index + 1 by number of the link - ls[0].n; nil for one link
	reach *reach  // nil for one link

	taken   []int32         // the cut in force that takes a link, none
	force   []bool          // cuts in force
	ends    map[int32]*list // cuts in force by the seat they end
	revoked map[int32]*list // cuts in force by the invitation they revoke
	why     []string        // why a cut is not in force
	memo    []uint64        // counting, as of a version: version<<1 | counts
	version uint64
	careful bool // roster fold: believe only what a replica can check
	doomed  doom // roster fold: what goes if everything is believed

	roles map[int32][]int // SET_ROLE links by the id they name
	seats map[int32][]int // seating links by member
	cuts  []int
	by    struct { // links by what a cut may take them for; only of several links
		seat, id map[int32][]int // of their author
		invite   map[int32][]int // of an ADMIT
	}
}

// resolve returns the view under heads, whose past is that of base and the links.
func resolve(base *view, ns, heads []int32) *view {
	r := newResolver(base, ns)
	r.settle()
	return r.view(heads)
}

// settle decides which cuts are in force.
func (r *resolver) settle() {
	if r.g.roster {
		r.forceRoster()
	} else {
		r.force3(func(int) bool { return true })
	}
}

func newResolver(base *view, ns []int32) *resolver {
	g := base.g
	r := &resolver{
		g: g, base: base, ls: make([]*link, len(ns)), taken: make([]int32, len(ns)), force: make([]bool, len(ns)),
		why: make([]string, len(ns)), memo: make([]uint64, len(ns)), version: 1,
	}
	for i, n := range ns {
		l := g.links[n]
		r.ls[i], r.taken[i] = l, none
		if l.cut {
			r.cuts = append(r.cuts, i)
		}
		if s, ok := l.content.(SetRole); ok {
			if r.roles == nil {
				r.roles = map[int32][]int{}
			}
			id := g.lookup(s.Member)
			r.roles[id] = append(r.roles[id], i)
		}
		if l.member != none {
			if r.seats == nil {
				r.seats = map[int32][]int{}
			}
			r.seats[l.member] = append(r.seats[l.member], i)
		}
	}
	if len(ns) > 1 {
		r.pasts(ns)
		if len(r.cuts) > 0 {
			r.index()
		}
	}
	return r
}

// index lists the links by what a cut may take them for.
func (r *resolver) index() {
	r.by.seat, r.by.id, r.by.invite = map[int32][]int{}, map[int32][]int{}, map[int32][]int{}
	for j, l := range r.ls {
		r.by.seat[l.seat] = append(r.by.seat[l.seat], j)
		id := r.g.members[r.g.seats[l.seat].member].id
		r.by.id[id] = append(r.by.id[id], j)
		if l.action == ActAdmit {
			r.by.invite[l.invite] = append(r.by.invite[l.invite], j)
		}
	}
}

func (r *resolver) pasts(ns []int32) {
	r.local = make([]int32, ns[len(ns)-1]-ns[0]+1)
	parents, alone := make([][]int32, len(ns)), make([]bool, len(ns))
	for i, n := range ns {
		r.local[n-ns[0]] = int32(i) + 1
		for _, p := range r.ls[i].parents {
			if j := r.at(p); j >= 0 {
				parents[i] = append(parents[i], int32(j))
			}
		}
		alone[i] = len(parents[i]) == len(r.ls[i].parents)
	}
	r.reach = newReach(parents, alone)
}

// at returns the local index of a link, or -1 if it is below the bubble.
func (r *resolver) at(n int32) int {
	k := n - r.ls[0].n
	switch {
	case r.local == nil && k == 0:
		return 0
	case k < 0 || int(k) >= len(r.local):
		return -1
	}
	return int(r.local[k]) - 1
}

// under reports whether local link i is in the past of local link j.
func (r *resolver) under(i, j int) bool { return r.reach != nil && r.reach.under(i, j) }

// before reports whether link a is in the past of link b; both in the bubble or
// below it.
func (r *resolver) before(a, b int32) bool {
	i, j := r.at(a), r.at(b)
	switch {
	case i >= 0 && j >= 0:
		return r.under(i, j)
	case i >= 0:
		return false
	case j >= 0:
		return true
	}
	return r.g.below(a, b)
}

// force3 is rule 3: visit the cuts, seniors first, each after the cuts in its own
// past, and take those that nothing speaks against. A cut once taken stands. The
// roster fold does not believe all of them.
func (r *resolver) force3(believed func(i int) bool) {
	senior := func(i, j int) int {
		a, b := r.ls[i], r.ls[j]
		leaving := func(l *link) int {
			if l.leaving && !planted.Bug("team-leaving-last") {
				return 0
			}
			return 1
		}
		if planted.Bug("team-duel-by-hash") {
			return r.g.later(a.n, b.n)
		}
		return cmp.Or(r.g.rank(a.seat, b.seat), cmp.Compare(leaving(a), leaving(b)), r.g.later(a.n, b.n))
	}
	for _, i := range order(r.cuts, senior, r.under) {
		if believed(i) {
			r.take(i)
		}
	}
}

// take puts cut i in force if (a) no cut in force takes it, (b) it is authorised
// under the cuts in force, (c) an active admin remains.
func (r *resolver) take(i int) {
	switch {
	case r.taken[i] != none:
		r.why[i] = r.takenWhy(i)
		return
	case !r.authorised(i):
		r.why[i] = r.authorisedWhy(i)
		return
	}
	r.force[i] = true
	r.version++
	undo := r.apply(i)
	if !r.adminLeft(i) && !planted.Bug("team-nobody-left") {
		undo()
		r.force[i] = false
		r.version++
		r.why[i] = "it would leave the team without an admin"
	}
}

// apply marks what cut i takes (rule 2) and returns how to take the marks back.
func (r *resolver) apply(i int) (undo func()) {
	c := r.ls[i]
	var links []int
	var seats []int32
	r.victims(i, func(j int) {
		if r.taken[j] == none {
			r.taken[j] = c.n
			links = append(links, j)
		}
	}, func(s int32) {
		if r.ends == nil {
			r.ends = map[int32]*list{}
		}
		r.ends[s] = r.ends[s].push(c.n)
		seats = append(seats, s)
	})
	for _, inv := range c.revokes {
		if r.revoked == nil {
			r.revoked = map[int32]*list{}
		}
		r.revoked[inv] = r.revoked[inv].push(c.n)
	}
	return func() {
		for _, j := range links {
			r.taken[j] = none
		}
		for _, s := range seats {
			r.ends[s] = r.ends[s].next
		}
		for _, inv := range c.revokes {
			r.revoked[inv] = r.revoked[inv].next
		}
	}
}

// victims names the links of the bubble that cut c takes and the seats it ends.
// Never a link in its own past. A confirmation spares what has the cut it repeats
// in its past.
func (r *resolver) victims(i int, take func(j int), end func(s int32)) {
	c := r.ls[i]
	spare := func(j int) bool {
		return j == i || r.under(j, i) && !planted.Bug("team-cut-takes-its-past") ||
			!planted.Bug("team-confirmation-spares-nobody") && c.root != none && c.root != c.n && r.before(c.root, r.ls[j].n)
	}
	for _, inv := range c.revokes {
		if planted.Bug("team-removal-revokes-nothing") && c.action != ActRevoke {
			break
		}
		for _, j := range r.by.invite[inv] {
			if !spare(j) {
				take(j)
			}
		}
	}
	if s, ok := c.content.(SetRole); ok {
		for _, j := range r.by.id[c.target] {
			if !spare(j) && (!r.under(i, j) || planted.Bug("team-demotion-takes-later")) && r.ls[j].need > s.Role {
				take(j)
			}
		}
		return
	}
	for _, s := range r.targetSeats(c) {
		end(s)
		for _, j := range r.by.seat[s] {
			if !spare(j) {
				take(j)
			}
		}
	}
}

// targetSeats returns the seats a removal ends: those of its target whose
// admission (of a member: his member seat) does not have the cut in its past.
func (r *resolver) targetSeats(c *link) []int32 {
	var out []int32
	pick := func(s int32) {
		st := r.g.seats[s]
		match, admission := st.key == c.target, st.link
		if c.action == ActRemoveMember {
			match, admission = r.g.members[st.member].id == c.target, r.g.members[st.member].link
		}
		if match && admission != c.root && (!r.before(c.root, admission) || planted.Bug("team-removed-for-ever")) {
			out = append(out, s)
		}
	}
	if c.action == ActRevoke {
		return nil
	}
	if c.action == ActRemoveMember {
		for _, m := range r.base.keys.get(c.target).members {
			for _, s := range r.base.members.get(m).seats {
				pick(s)
			}
		}
	} else {
		for _, s := range r.base.keys.get(c.target).seats {
			pick(s)
		}
	}
	for _, ls := range r.seats {
		for _, j := range ls {
			for _, s := range r.g.seatsAt[r.ls[j].n] {
				pick(s)
			}
		}
	}
	slices.Sort(out)
	return out
}

// counts is rule 4 under the cuts in force so far.
func (r *resolver) counts(i int) bool {
	l := r.ls[i]
	switch {
	case l.cut:
		return r.force[i]
	case l.action == ActCreate:
		return true
	}
	if m := r.memo[i]; m>>1 == r.version {
		return m&1 != 0
	}
	ok := r.taken[i] == none && r.authorised(i)
	r.memo[i] = r.version << 1
	if ok {
		r.memo[i] |= 1
	}
	return ok
}

// linkCounts is counts for a link in the bubble or, as its mark says, below it.
func (r *resolver) seatCounts(s int32) bool {
	if i := r.at(r.g.seats[s].link); i >= 0 {
		return r.counts(i)
	}
	return r.base.seats.get(s).mark == counts
}

func (r *resolver) inviteCounts(n int32) bool {
	if i := r.at(n); i >= 0 {
		return r.counts(i)
	}
	return r.base.invites.get(n).mark == counts
}

// authorised: the author's seat counts, the cited invitation counts, and the
// author's role among the counting links in the past of i suffices.
func (r *resolver) authorised(i int) bool {
	l := r.ls[i]
	return r.seatCounts(l.seat) && (l.invite == none || r.inviteCounts(l.invite) || planted.Bug("team-void-invitation")) &&
		r.role(r.g.seats[l.seat].member, func(j int) bool { return r.before(r.ls[j].n, l.n) }) >= l.need
}

// role is that of member m among the counting links of the bubble for which in
// holds, and all below: the lowest of the latest role links.
func (r *resolver) role(m int32, in func(j int) bool) Role {
	seat := r.at(r.g.members[m].link)
	var latest []int
	for _, j := range r.roles[r.g.members[m].id] {
		if in(j) && r.counts(j) && r.credible(r.ls[j]) && (seat < 0 || !r.before(r.ls[j].n, r.ls[seat].n) || planted.Bug("team-old-role-speaks")) {
			latest = append(latest, j)
		}
	}
	var low Role
	for _, j := range latest {
		later := func(k int) bool { return r.before(r.ls[j].n, r.ls[k].n) }
		if !slices.ContainsFunc(latest, later) {
			if role := r.ls[j].content.(SetRole).Role; low == 0 || role < low != planted.Bug("team-highest-role") {
				low = role
			}
		}
	}
	if seat < 0 {
		if low == 0 {
			return r.baseRole(m)
		}
		return low
	}
	// The admission itself speaks unless every role link follows one after it.
	if !slices.ContainsFunc(latest, func(j int) bool { return r.before(r.ls[seat].n, r.ls[j].n) }) {
		if given := r.g.granted(r.ls[seat]); low == 0 || given < low {
			low = given
		}
	}
	return low
}

// granted returns the role that a member seat link gives.
func (g *graph) granted(l *link) Role {
	switch c := l.content.(type) {
	case Create:
		return RoleAdmin
	case AddMember:
		return c.Role
	case Admit:
		return g.links[l.invite].content.(Invite).Role
	}
	return 0
}

// adminLeft is rule 3c: under the cuts in force an active admin with an active
// device remains, recovery seats not counted. What has cut i in its past does not
// vouch for it: otherwise an admin made above could bring back a cut below.
func (r *resolver) adminLeft(i int) bool {
	for _, m := range r.base.admins {
		if len(r.roles[r.g.members[m].id]) > 0 {
			continue
		}
		if r.baseRole(m) != RoleAdmin || r.doomed.demoted[r.g.members[m].id] {
			continue
		}
		for _, s := range r.base.members.get(m).seats {
			if r.reseated(r.g.seats[s].key) && !planted.Bug("team-witness-reseated") {
				continue // maybe by a more senior member, who keeps it
			}
			if r.ends[s] == nil && !r.g.seats[s].recovery && r.base.isActive(s) && r.certain(r.base, s) {
				return true
			}
		}
	}
	in := func(j int) bool {
		return j == i || !r.before(r.ls[i].n, r.ls[j].n) || planted.Bug("team-vouched-from-above")
	}
	v := r.seated(in)
	for _, m := range r.candidates() {
		if r.role(m, in) != RoleAdmin || r.doomed.demoted[r.g.members[m].id] {
			continue
		}
		for _, s := range v.members.get(m).seats {
			if (!r.g.seats[s].recovery || planted.Bug("team-paper-admin")) && v.isActive(s) && r.certain(v, s) {
				return true
			}
		}
	}
	return false
}

// reseated reports whether a link of the bubble seats the key.
func (r *resolver) reseated(key int32) bool {
	for _, js := range r.seats {
		for _, j := range js {
			if r.g.seatOf(r.ls[j].n, key) != none {
				return true
			}
		}
	}
	return false
}

// candidates are the members that may be admins: those that are below, and those
// the bubble admits or gives a role.
func (r *resolver) candidates() []int32 {
	out := slices.Clone(r.base.admins)
	for m := range r.seats {
		out = append(out, m)
	}
	for id := range r.roles {
		out = append(out, r.base.keys.get(id).members...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *resolver) takenWhy(i int) string {
	c := r.g.links[r.taken[i]]
	return "taken back by " + c.action.String() + " " + c.id.String()
}

func (r *resolver) authorisedWhy(i int) string {
	l := r.ls[i]
	switch {
	case !r.seatCounts(l.seat):
		return "the admission of its author does not count"
	case l.invite != none && !r.inviteCounts(l.invite):
		return "its invitation does not count"
	}
	return "its author's role there does not suffice"
}

// verdict says whether link i counts and, if not, why.
func (r *resolver) verdict(i int) (bool, string) {
	switch {
	case r.counts(i):
		return true, ""
	case r.ls[i].cut:
		return false, r.why[i]
	case r.taken[i] != none:
		return false, r.takenWhy(i)
	}
	return false, r.authorisedWhy(i)
}
