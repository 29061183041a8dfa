package team

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
)

// describe writes the reducer's view in the words of the model.
func (c *Chain) describe() string {
	v, g := c.view(), c.g
	var out []string
	names := map[string]int32{"team": v.name}
	v.seats.all(func(s int32, x seatView) bool {
		if x.mark == absent {
			return true
		}
		st := g.seats[s]
		id := g.links[st.link].id
		line := fmt.Sprintf("seat %x %x %s", id[:4], g.keys[st.key][:4], v.seatStatus(s))
		if v.seatStatus(s) == StatusActive {
			line += fmt.Sprintf(" %s box %.4x", v.members.get(st.member).role, v.boxKey(s).Public)
		}
		names[fmt.Sprintf("device %x", g.keys[st.key][:4])] = v.keys.get(st.key).name
		names[fmt.Sprintf("member %x", g.links[g.members[st.member].link].id[:4])] = v.members.get(st.member).name
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
			names[fmt.Sprintf("db %x", g.dbs[n][:4])] = x.name
		}
		return true
	})
	for _, n := range v.of {
		of := g.links[n].content.(MemberOf).Team
		names[fmt.Sprintf("of %x", of[:4])] = n
	}
	for what, n := range names {
		if n != 0 {
			out = append(out, fmt.Sprintf("%s as in %x", what, g.links[n].id[:4]))
		}
	}
	if v.unknown {
		out = append(out, fmt.Sprint("upgrade, read only ", v.halt))
	}
	for _, x := range v.gens {
		out = append(out, fmt.Sprintf("gen %x good %v", g.links[x.link].id[:4], v.good(x)))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

// speaks adds what link i says of a name, a device or a team one is in: of the
// counting links the latest speaks.
func (v *mview) speaks(names map[string]int, i int) {
	say := func(name, what string, key []byte) {
		if what = fmt.Sprintf("%s %x", what, key); name != "" && (names[what] == 0 || v.m.later(names[what], i) < 0) {
			names[what] = i
		}
	}
	l := v.m.ls[i]
	switch c := l.u.Content.(type) {
	case Admit:
		say(c.Proof.Name, "member", l.u.ID[:4])
		say(c.Proof.DeviceName, "device", c.Device[:4])
	case AddMember:
		say(c.Name, "member", l.u.ID[:4])
	case AddDevice:
		say(c.Name, "device", c.Device[:4])
	case AddDB:
		say(c.Name, "db", c.DB[:4])
	case MemberOf:
		say("-", "of", c.Team[:4])
	case Name:
		switch c.Kind {
		case NameTeam:
			say(c.Name, "team", nil)
		case NameDB:
			say(c.Name, "db", c.Subject[:4])
		case NameMember:
			say(c.Name, "member", v.m.ls[l.me.member].u.ID[:4])
		case NameDevice:
			say(c.Name, "device", c.Subject[:4])
		}
	}
}

// describe writes the view as lines that the reducer's view is written as, too.
func (v *mview) describe() string {
	var out []string
	names, upgrade, halt := map[string]int{}, false, false
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
			line += fmt.Sprintf(" %s box %.4x", v.now(s), v.box(s).Public)
		}
		out = append(out, line)
	}
	v.links.each(func(i int) {
		id := v.m.ls[i].u.ID
		if !v.counts(i) {
			out = append(out, fmt.Sprintf("void %x", id[:4]))
			return
		}
		v.speaks(names, i)
		if !v.m.act(i).Known() {
			upgrade, halt = true, halt || v.m.ls[i].u.Header.Critical
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
	for what, i := range names {
		if db, ok := strings.CutPrefix(what, "db "); ok && !slices.Contains(out, "db "+db) {
			continue
		}
		out = append(out, fmt.Sprintf("%s as in %x", strings.TrimSpace(what), v.m.ls[i].u.ID[:4]))
	}
	if upgrade {
		out = append(out, fmt.Sprint("upgrade, read only ", halt))
	}
	v.gens().each(func(g int) {
		out = append(out, fmt.Sprintf("gen %x good %v", v.m.ls[g].u.ID[:4], v.good(g)))
	})
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

// TestModel: random chains of every kind, the reducer against the model. CI asks for
// 100,000 of them (TOFT_TEAM_SOUPS), which take a minute; under the race detector,
// where each takes ten times as long, there are a few.
func TestModel(t *testing.T) {
	n, workers := 10_000, 4
	if testing.Short() || raceDetector {
		n = 1000
	}
	if more, err := strconv.Atoi(os.Getenv("TOFT_TEAM_SOUPS")); err == nil {
		n = more
	}
	var allowed, void, refused [256]atomic.Int64
	t.Run("soups", func(t *testing.T) {
		for part := range workers {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < n; seed += workers {
					w := newSoup(t, uint64(seed), 6+seed%30)
					w.agree()
					w.rosterCovers()
					for _, e := range w.chain.Log() {
						allowed[e.Action].Add(1)
						if !e.Valid {
							void[e.Action].Add(1)
						}
					}
					for _, u := range w.all {
						if !w.chain.Has(u.ID) {
							refused[u.Content.Action()].Add(1)
						}
					}
				}
			})
		}
	})
	t.Logf("%d chains", n)
	for a := ActCreate; a <= 77; a++ {
		if allowed[a].Load() > 0 {
			t.Logf("%-15s allowed %7d, of these void %6d, refused %7d", a, allowed[a].Load(), void[a].Load(), refused[a].Load())
		}
		if a.Known() && a != ActCreate && n >= 1000 && (allowed[a].Load() == 0 || refused[a].Load() == 0 && a != ActMemberOf) {
			t.Errorf("no soup holds an allowed and a refused %s", a)
		}
	}
}

// TestGraph: what is below what, by dominators and by counting the past.
func TestGraph(t *testing.T) {
	for seed := range uint64(300) {
		w := newSoup(t, seed, 30)
		m := newModel(w.all, w.verify)
		for i, a := range w.all {
			for j, b := range w.all {
				x, ok := w.chain.g.byID[a.ID]
				y, too := w.chain.g.byID[b.ID]
				if ok && too && w.chain.g.below(x, y) != m.before(i, j) {
					t.Fatalf("seed %d: %s below %s: %v\n%s", seed, w.nameOf(a.ID), w.nameOf(b.ID), !m.before(i, j), w.story())
				}
			}
		}
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
