package team

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// commit is a commit as the chain sees it. Its id stands for itself and all that
// is below it: Inside asks whether a cut's heads name it.
type commit struct {
	by, seat, gen, db string
	heads, parents    []string // chain heads; parents nil: as heads
	id                byte
}

func (w *world) facts(k commit) CommitFacts {
	ids := func(names []string) (out []block.ID) {
		for _, n := range names {
			out = append(out, w.named[n].ID)
		}
		return out
	}
	if k.parents == nil {
		k.parents = k.heads
	}
	return CommitFacts{
		DB: dbID(k.db), Device: dev(k.by).dev, Seat: w.named[k.seat].ID, Generation: block.Generation(w.named[k.gen].ID),
		TeamHeads: ids(k.heads), ParentTeamHeads: ids(k.parents),
		Inside: func(heads []block.ID) bool { return slices.Contains(heads, fill[block.ID](k.id)) },
	}
}

func headsOf(db string, ids ...byte) []DBHeads {
	h := DBHeads{DB: dbID(db)}
	for _, x := range ids {
		h.Heads = append(h.Heads, fill[block.ID](x))
	}
	return []DBHeads{h}
}

func vouching(f made, heads []DBHeads) made {
	return func(w *world, past []*UnverifiedLink) Content {
		switch c := f(w, past).(type) {
		case RemoveMember:
			c.Heads = heads
			return c
		case SetRole:
			c.Heads = heads
			return c
		}
		panic("carries no heads")
	}
}

// What the remover had seen stays; what he had not is ignored everywhere, however
// it is dated; adopting it takes a confirmation with wider heads.
func TestJudge(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> db -> +b -> +c`, steps{
		"db": by("a", addDB("x")), "+b": by("a", add("b", RoleMember)), "+c": by("a", add("c", RoleReader)),
	})
	mine := commit{by: "b", seat: "+b", gen: "G", db: "x", heads: []string{"+c"}, id: 1}
	valid := func(k commit) string { v := w.chain.Judge(w.facts(k)); return fmt.Sprint(v.Valid, " ", v.Why) }
	require.Equal(t, "true ", valid(mine))

	for why, change := range map[string]func(k *commit){
		"was not an active device":         func(k *commit) { k.by = "z" },
		"was not an active device of":      func(k *commit) { k.seat = "G" },
		"role did not let him write":       func(k *commit) { k.by, k.seat = "c", "+c" },
		"database was not in the team":     func(k *commit) { k.db = "y" },
		"generation was not the one":       func(k *commit) { k.gen = "+b" },
		"do not contain those of its par":  func(k *commit) { k.heads, k.parents = []string{"+b"}, []string{"+c"} },
		"not an active device of the team": func(k *commit) { k.heads = []string{"db"} },
	} {
		k := mine
		change(&k)
		require.Contains(t, valid(k), "false", why)
		require.Contains(t, valid(k), why)
	}
	require.Equal(t, []block.ID{{9}}, w.chain.Judge(CommitFacts{TeamHeads: []block.ID{{9}}}).Missing)

	seen, unseen, backdated := mine, mine, mine
	unseen.id, backdated.id, backdated.heads = 2, 3, []string{"+b"}
	w.draw(`+c -> -b`, steps{"-b": by("a", vouching(remove("b"), headsOf("x", 1)))})
	require.Equal(t, "true ", valid(seen))
	require.Contains(t, valid(unseen), "remover had not seen it")
	require.Contains(t, valid(backdated), "remover had not seen it")
	after := mine
	after.heads, after.gen = []string{"-b"}, "-b"
	require.Contains(t, valid(after), "not an active device")

	w.draw(`-b -> adopt`, steps{"adopt": by("a", confirm("-b", headsOf("x", 1, 2)...))})
	require.Equal(t, "true ", valid(unseen))
	require.Contains(t, valid(backdated), "remover had not seen it")

	// Taking away writing does the same; a demotion that leaves it does not.
	w = newWorld(t, "a").draw(`G -> db -> +b -> down -> read -> up`, steps{
		"db": by("a", addDB("x")), "+b": by("a", add("b", RoleAdmin)), "down": by("a", role("b", RoleMember)),
		"read": by("a", vouching(role("b", RoleReader), headsOf("x", 1))), "up": by("a", role("b", RoleMember)),
	})
	seen = commit{by: "b", seat: "+b", gen: "G", db: "x", heads: []string{"+b"}, id: 1}
	unseen = seen
	unseen.id = 2
	require.Equal(t, "true ", valid(seen))
	require.Contains(t, valid(unseen), "false")
	unseen.heads = []string{"up"}
	require.Equal(t, "true ", valid(unseen), "he may write again")
	unseen.heads = []string{"read"}
	require.Contains(t, valid(unseen), "role did not let him write")
}

// Rule 5: b's guest is void, but what his remover had seen of the guest's stays.
func TestJudgeVoidAdmission(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> db -> +b -> +d
		           | -> -b
	`, steps{
		"db": by("a", addDB("x")), "+b": by("a", add("b", RoleAdmin)), "+d": by("b", add("d", RoleMember)),
		"-b": by("a", vouching(remove("b"), headsOf("x", 1))),
	})
	k := commit{by: "d", seat: "+d", gen: "G", db: "x", heads: []string{"+d"}, id: 1}
	require.True(t, w.chain.Judge(w.facts(k)).Valid)
	k.id = 2
	require.False(t, w.chain.Judge(w.facts(k)).Valid)
}

// Rule 3: no generation downgrade, and none that somebody outside knows.
func TestJudgeGenerations(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> db -> +b -> rot -> bye
		           | -> rot2
	`, steps{
		"db": by("a", addDB("x")), "+b": by("a", add("b", RoleAdmin)), "rot": by("a", rotate()), "bye": by("b", leave("b")), "rot2": by("a", rotate()),
	})
	k := commit{by: "a", seat: "G", gen: "G", db: "x", heads: []string{"+b"}}
	require.True(t, w.chain.Judge(w.facts(k)).Valid)
	k.heads = []string{"rot"}
	require.False(t, w.chain.Judge(w.facts(k)).Valid, "an older generation")
	k.gen = "rot"
	require.True(t, w.chain.Judge(w.facts(k)).Valid)
	k.heads = []string{"rot", "rot2"}
	require.True(t, w.chain.Judge(w.facts(k)).Valid, "either of two current ones")
	k.heads = []string{"bye"}
	require.False(t, w.chain.Judge(w.facts(k)).Valid, "b knows it and has left")
}

// judge is rules 1 to 5 by the model.
func (m *model) judge5(f CommitFacts) bool {
	closure := func(ids []block.ID) (s set) {
		for _, id := range ids {
			s |= m.ls[m.find(id)].past.with(m.find(id))
		}
		return s
	}
	team := closure(f.TeamHeads)
	if closure(f.ParentTeamHeads)&^team != 0 {
		return false
	}
	v, now := m.resolve(team), m.resolve(m.all)
	for _, s := range v.seats() {
		if m.ls[s.link].u.ID != f.Seat || s.key != f.Device {
			continue
		}
		gen := v.gens().any(func(g int) bool { return m.ls[g].u.ID == block.ID(f.Generation) && v.good(g) })
		if !v.active(s) || v.now(s) < RoleMember || !v.dbIn(f.DB) || !gen {
			return false
		}
		against, inside, vouched := false, false, false
		now.force.each(func(c int) {
			if team.has(c) {
				return
			}
			in := len(dataHeads(m.ls[c].u.Content, f.DB)) > 0 && f.Inside(dataHeads(m.ls[c].u.Content, f.DB))
			vouched = vouched || in
			x, ok := m.ls[c].u.Content.(SetRole)
			demotes := ok && x.Role < RoleMember && x.Member == m.id(s) && m.ls[c].root != s.member && !m.before(m.ls[c].root, s.member)
			if m.endsSeat(c, s) || demotes {
				against, inside = true, inside || in
			}
		})
		if against {
			return inside
		}
		return now.counts(s.link) || vouched
	}
	return false
}

// TestJudgeModel: random commits over random chains.
func TestJudgeModel(t *testing.T) {
	n, kinds := 1200, map[bool]int{}
	if testing.Short() || raceDetector {
		n = 200
	}
	for seed := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed, 2))
		w := newSalted(t, "a", fmt.Sprint("judge", seed), false)
		w.add("db", by("a", addDB("notes")), "G")
		s := &soup{w: w, pick: rng.IntN, size: 8 + rng.IntN(16), court: seed%3 == 0, joins: seed%3 == 1}
		s.vouch = func() []DBHeads { return headsOf("notes", byte(1+rng.IntN(3))) }
		s.grow()
		m := newModel(w.all, w.verify)
		var stored []string
		for _, u := range w.all {
			if w.chain.Has(u.ID) {
				stored = append(stored, w.nameOf(u.ID))
			}
		}
		gens := append([]string{"G"}, s.of(stored, ActRotate, ActRemoveMember)...)
		for range 30 {
			k := commit{by: one(s, soupPeople), gen: one(s, gens), db: "notes", heads: []string{one(s, stored)}, id: byte(1 + rng.IntN(4))}
			if rng.IntN(3) == 0 {
				k.heads = append(k.heads, one(s, stored))
			}
			past := w.past([]*UnverifiedLink{w.named[k.heads[0]]})
			k.parents = []string{w.nameOf(one(s, past).ID)}
			if rng.IntN(6) == 0 {
				k.parents = []string{one(s, stored)}
			}
			k.seat = w.nameOf(seatIn(past, dev(k.by).dev))
			if _, ok := w.named[k.seat]; !ok {
				k.seat = "G"
			}
			f := w.facts(k)
			got := w.chain.Judge(f)
			if want := m.judge5(f); want != got.Valid {
				t.Fatalf("seed %d %+v: model %v, chain %+v\n%s", seed, k, want, got, w.story())
			}
			kinds[got.Valid]++
		}
	}
	require.Greater(t, kinds[true], n)
	t.Log(kinds)
}
