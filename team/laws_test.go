package team

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
)

// describe writes the reducer's view in the words of the model.
func (c *Chain) describe() string {
	v, g := c.view(), c.g
	var out []string
	v.seats.all(func(s int32, x seatView) bool {
		if x.mark == absent {
			return true
		}
		st := g.seats[s]
		id := g.links[st.link].id
		line := fmt.Sprintf("seat %x %x %s", id[:4], g.keys[st.key][:4], v.seatStatus(s))
		if v.seatStatus(s) == StatusActive {
			line += " " + v.members.get(st.member).role.String()
		}
		out = append(out, line)
		return true
	})
	for _, e := range c.Log() {
		if !e.Valid {
			out = append(out, fmt.Sprintf("void %x", e.ID[:4]))
		}
	}
	v.invites.all(func(n int32, x inviteView) bool {
		if x.mark == counts {
			out = append(out, fmt.Sprintf("invite %x uses %d revoked %v", g.links[n].id[:4], x.uses, x.revoked != nil))
		}
		return true
	})
	v.dbs.all(func(n int32, x dbView) bool {
		if len(x.adds) > 0 {
			out = append(out, fmt.Sprintf("db %x", g.dbs[n][:4]))
		}
		return true
	})
	for _, x := range v.gens {
		out = append(out, fmt.Sprintf("gen %x good %v", g.links[x.link].id[:4], v.good(x)))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

// describe writes the view as lines that the reducer's view is written as, too.
func (v *mview) describe() string {
	var out []string
	for _, s := range v.seats() {
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
			line += " " + v.now(s).String()
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

// agree holds the chain of a world against the model: the same links are allowed,
// and the states are the same.
func (w *world) agree() {
	w.t.Helper()
	m := w.agreeAllowed()
	want, got := m.resolve(m.all).describe(), w.chain.describe()
	if want != got {
		w.t.Fatalf("model:\n%s\n\nchain:\n%s\n\n%s", want, got, w.story())
	}
}

// agreeAllowed is the first half of agree: rule 1.
func (w *world) agreeAllowed() *model {
	w.t.Helper()
	m := newModel(w.all, w.verify)
	for i, l := range m.ls {
		if l.ok != w.chain.Has(l.u.ID) {
			w.t.Fatalf("%s %s: model allows %v (%s), chain says %v\n%s", w.nameOf(l.u.ID), l.u.Content.Action(), l.ok, l.why,
				w.errs[w.nameOf(l.u.ID)], w.story())
		}
		if f := w.chain.g.byID[l.u.ID]; l.ok && i > 0 {
			if x := w.chain.g.links[f]; l.need != x.need || l.cut != x.cut || (l.leaving == 1) != x.leaving {
				w.t.Fatalf("%s: model %v %v %v, chain %v %v %v\n%s", w.nameOf(l.u.ID), l.need, l.cut, l.leaving, x.need, x.cut, x.leaving, w.story())
			}
		}
	}
	return m
}

// rosterCovers wants every active device of the member fold on the roster, and
// every link the member fold took taken by the roster's chain.
func (w *world) rosterCovers() {
	w.t.Helper()
	roster := w.chain.Roster()
	for _, d := range w.chain.State().Devices() {
		if d.Status == StatusActive && !roster.Active(d.Key) {
			w.t.Fatalf("%s is active but not on the roster\nmember %s\nroster %s\n%s", nameOfDev(d.Key), w.team(), teamOf(roster), w.story())
		}
	}
	for _, l := range w.chain.g.links {
		if !w.chain.other.Has(l.id) {
			w.t.Fatalf("%s is not in the roster's chain\n%s", w.nameOf(l.id), w.story())
		}
	}
}

// story lists the links of a world, so that a failure can be drawn.
func (w *world) story() string {
	var s strings.Builder
	for _, u := range w.all {
		var ps []string
		for _, p := range u.Header.Links[:u.Header.Parents] {
			ps = append(ps, w.nameOf(p))
		}
		fmt.Fprintf(&s, "%-4s %x above %v by %s: %s %s", w.nameOf(u.ID), u.ID[:4], ps, nameOfDev(u.Header.Author), u.Content.Action(), w.tell(u.Content))
		if e, ok := w.errs[w.nameOf(u.ID)].(*RefusedError); ok {
			fmt.Fprintf(&s, "   [%s]", e.Why)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func (w *world) tell(c Content) string {
	switch c := c.(type) {
	case AddMember:
		return nameOfDev(c.Device) + " as " + c.Role.String()
	case AddDevice:
		return nameOfDev(c.Device)
	case Admit:
		return nameOfDev(c.Device) + " by " + w.nameOf(c.Invite)
	case Revoke:
		return w.nameOf(c.Invite)
	case Invite:
		return fmt.Sprint(c.Kind, " ", c.Role, " uses ", c.MaxUses)
	case SetRole:
		return nameOfDev(c.Member) + " to " + c.Role.String() + confirming(w, c.Confirms)
	case RemoveMember:
		return nameOfDev(c.Target) + confirming(w, c.Confirms)
	case RemoveDevice:
		return nameOfDev(c.Target) + confirming(w, c.Confirms)
	case RemoveReplica:
		return nameOfDev(c.Device)
	}
	return ""
}

func confirming(w *world, id block.ID) string {
	if id.IsZero() {
		return ""
	}
	return " confirming " + w.nameOf(id)
}

// soup draws random links of every kind by random authors on random heads, some of
// them hostile, and adds them to a world.
type soup struct {
	w     *world
	court bool             // admins at each other's throats: little else than cuts
	joins bool             // everybody comes by invitation
	vouch func() []DBHeads // data heads of cuts; nil: none
	pick  func(n int) int  // 0 ≤ … < n
	size  int
}

var soupPeople = []string{"a", "b", "c", "d"}
var soupDevices = []string{"a", "b", "c", "d", "b2", "c2", "rep", "a-words"}

func one[T any](s *soup, xs []T) T { return xs[s.pick(len(xs))] }

func (s *soup) grow() {
	names := []string{s.w.nameOf(s.w.all[len(s.w.all)-1].ID)}
	put := func(author string, content made, parents ...string) {
		name := fmt.Sprintf("L%d", len(s.w.all)-1)
		s.w.add(name, by(author, content), parents...)
		if s.w.errs[name] == nil || s.pick(20) == 0 { // seldom above what was refused
			names = append(names, name)
		}
	}
	team := soupPeople[1 : 1+s.pick(4)] // to begin with
	if s.court {
		team = soupPeople[1:]
	}
	if s.joins {
		put("a", invite("i1", InviteMember, RoleMember, uint64(s.pick(4))), names[len(names)-1])
		put("a", invite("i2", InviteDevice, 0, 1), names[len(names)-1])
		put("a", invite("i3", InviteReplica, RoleReplica, 0), names[len(names)-1])
		put("a", admit(names[1], "b", "a"), names[len(names)-1])
		put("a", role("b", RoleAdmin), names[len(names)-1])
		team = nil
	}
	for _, who := range team {
		r := Role(2 + s.pick(3))
		if s.court {
			r = RoleAdmin
		}
		put("a", add(who, r), names[len(names)-1])
	}
	if s.pick(2) == 0 {
		put("a", invite("i0", InviteMember, Role(2+s.pick(2)), uint64(s.pick(3))), names[len(names)-1])
	}
	start := len(names)
	branch := []string{names[start-1], names[start-1], names[start-1]}[:1+s.pick(3)]
	for len(s.w.all) < s.size {
		at := s.pick(len(branch))
		parents := []string{branch[at]}
		switch s.pick(12) {
		case 0: // anywhere
			parents = []string{one(s, names)}
		case 1: // on top of everything
			parents = s.heads(names)
		}
		past := s.w.past([]*UnverifiedLink{s.w.named[parents[0]]})
		author := one(s, soupDevices)
		for range 3 { // somebody who may well be there
			if seatIn(past, dev(author).dev).IsZero() {
				author = one(s, soupDevices)
			}
		}
		n := len(names)
		put(author, s.content(names, author), parents...)
		if len(names) > n {
			branch[at] = names[n]
		}
	}
}

// heads are the named links that no other has as a parent.
func (s *soup) heads(names []string) []string {
	used := map[block.ID]bool{}
	for _, u := range s.w.all {
		for _, p := range u.Header.Links {
			used[p] = true
		}
	}
	var out []string
	for _, n := range names {
		if u := s.w.named[n]; !used[u.ID] && s.w.errs[n] == nil {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return names[:1]
	}
	return out
}

// of returns the names of links of some actions, or nil.
func (s *soup) of(names []string, acts ...Action) (out []string) {
	for _, n := range names {
		if slices.Contains(acts, s.w.named[n].Content.Action()) {
			out = append(out, n)
		}
	}
	return out
}

func (s *soup) content(names []string, author string) made {
	f := s.action(names, author)
	return func(w *world, past []*UnverifiedLink) Content {
		c := f(w, past)
		if s.vouch == nil {
			return c
		}
		switch x := c.(type) {
		case RemoveMember:
			x.Heads = s.vouch()
			return x
		case RemoveDevice:
			x.Heads = s.vouch()
			return x
		case SetRole:
			if x.Role == RoleReader {
				x.Heads = s.vouch()
			}
			return x
		}
		return c
	}
}

func (s *soup) action(names []string, author string) made {
	who, r := one(s, soupPeople), Role(2+s.pick(3))
	invites := s.of(names, ActInvite)
	cuts := s.of(names, ActSetRole, ActRemoveMember, ActRemoveDevice)
	kind := s.pick(22)
	if s.court {
		kind = []int{0, 3, 3, 4, 5, 5, 6, 7, 9, 9, 9, 17}[s.pick(12)]
	}
	if s.joins {
		kind = []int{3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 14, 14, 14, 14, 17, 18, 21}[s.pick(17)]
	}
	switch kind {
	case 0, 1, 2:
		return add(who, r)
	case 3, 4:
		return role(who, r)
	case 5:
		return remove(who)
	case 6:
		return removeDev(one(s, soupDevices))
	case 7:
		return leave(who)
	case 8:
		return dropDev(one(s, soupDevices))
	case 9, 10:
		if len(cuts) > 0 {
			if s.pick(2) == 0 {
				cuts = cuts[max(0, len(cuts)-3):]
			}
			return confirm(one(s, cuts))
		}
	case 11:
		return invite(fmt.Sprint("i", s.pick(5)), InviteMember, Role(2+s.pick(2)), uint64(s.pick(3)))
	case 12:
		return invite(fmt.Sprint("i", s.pick(5)), InviteDevice, 0, 1)
	case 13:
		if s.pick(2) == 0 {
			return bound(fmt.Sprint("i", s.pick(5)), who, RoleAdmin)
		}
		return invite(fmt.Sprint("i", s.pick(5)), InviteReplica, RoleReplica, uint64(s.pick(2)))
	case 14, 15, 16:
		if len(invites) > 0 {
			return func(w *world, past []*UnverifiedLink) Content {
				return admit(one(s, invites), one(s, soupDevices[1:7]), author)(w, past)
			}
		}
	case 17:
		if len(invites) > 0 {
			if s.pick(2) == 0 {
				return revoke(one(s, invites))
			}
			return revoking(remove(who), one(s, invites))
		}
	case 18:
		return device(one(s, soupDevices), one(s, []string{who, author}))
	case 19:
		gens := append([]string{"G"}, s.of(names, ActRotate, ActRemoveMember)...)
		if s.pick(2) == 0 {
			return boxes(one(s, gens), one(s, soupDevices))
		}
		return rotate()
	case 20:
		switch s.pick(3) {
		case 0:
			return removeDB("notes")
		case 1:
			k := dev(who).dev
			return rename(NameMember, k[:], "x")
		}
		return addDB("notes")
	}
	return removeReplica("rep")
}

// newSoup makes a world of size links; admissions get a proof for their author.
func newSoup(t testing.TB, seed uint64, size int) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newSalted(t, "a", fmt.Sprint(seed), rng.IntN(3) == 0)
	s := &soup{w: w, pick: rng.IntN, size: size, court: seed%3 == 1, joins: seed%3 == 2}
	s.grow()
	return w
}

// TestModel: random chains of every kind, the reducer against the model.
func TestModel(t *testing.T) {
	n := 1500
	if testing.Short() {
		n = 200
	} else if more, err := strconv.Atoi(os.Getenv("TOFT_TEAM_SOUPS")); err == nil {
		n = more
	}
	allowed, void := map[Action]int{}, map[Action]int{}
	for seed := range uint64(n) {
		w := newSoup(t, seed, 6+int(seed%30))
		w.agree()
		w.rosterCovers()
		for _, e := range w.chain.Log() {
			allowed[e.Action]++
			if !e.Valid {
				void[e.Action]++
			}
		}
	}
	for a := ActCreate; a <= ActRemoveReplica; a++ {
		t.Logf("%-15s allowed %5d, of these void %4d", a, allowed[a], void[a])
	}
}

// TestOrders: whatever the order of arrival, the state is the same.
func TestOrders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		w := newSoup(t, seed, 20)
		want := w.chain.describe()
		c := w.fresh()
		waiting := slices.Clone(w.all[1:])
		for len(waiting) > 0 {
			i := rapid.IntRange(0, len(waiting)-1).Draw(rt, "next")
			err := c.Add(waiting[i])
			if _, missing := err.(*MissingError); missing && i > 0 {
				waiting[0], waiting[i] = waiting[i], waiting[0]
				continue
			} else if missing {
				waiting = append(waiting[1:], waiting[0])
				continue
			}
			waiting = slices.Delete(waiting, i, i+1)
		}
		require.Equal(rt, want, c.describe(), w.story())
	})
}

// FuzzReducer: bytes choose what the links of a chain do; nothing panics, and the
// reducer does what the model does.
func FuzzReducer(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		f.Add(b, seed%2 == 0, seed%3 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, court, joins bool) {
		w := newSalted(t, "a", "fuzz", joins)
		s := &soup{w: w, size: 24, court: court, joins: joins && !court, pick: func(n int) int {
			if len(data) == 0 {
				w.salt = "" // no more choices
				return 0
			}
			x := int(data[0]) % n
			data = data[1:]
			return x
		}}
		s.grow()
		w.agree()
		w.rosterCovers()
	})
}
