package crdt

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What merging leads to where no single write could: documents beyond the limits of
// one, more heads than parents, clears of a twin.

// thick is a field of n bytes.
func thick(key string, n int) string { return fmt.Sprintf(`{%q:%q}`, key, strings.Repeat(key, n)) }

// Two edits that fit, together do not. The document is shown, what makes it no larger
// is taken, so that it can be made to fit, deleted and brought back.
func TestMergedBeyondTheLimit(t *testing.T) {
	a, b, _ := trio(t, `{"x":0}`)
	a.write(patch("d", thick("a", 200_000)))
	b.write(patch("d", thick("b", 200_000)))
	meet(t, a, b)
	whole := a.read("d")
	if len(whole) < MaxDocument {
		t.Fatalf("document of %d bytes", len(whole))
	}
	large := Doc{"a": strings.Repeat("a", 200_000), "b": strings.Repeat("b", 190_000)}
	for _, w := range []Write{{Verb: Put, ID: "d", Body: large}, patch("d", `{"y":1}`), patch("d", thick("a", 200_001))} {
		if _, err := a.try(w); !errors.Is(err, ErrTooLarge) {
			t.Errorf("verb %d: %v", w.Verb, err)
		}
	}
	a.write(patch("d", `{"x":1}`)) // no larger
	a.write(patch("d", `{"x":null}`))
	a.write(del("d"))
	if a.read("d") != "-" {
		t.Error("not deleted")
	}
	a.write(restore("d"))
	a.write(patch("d", `{"a":null}`))
	a.write(patch("d", `{"y":1}`))
	meet(t, a, b)
	a.write(purge("d"))
}

// nested is a value of so many levels, objects and arrays by turns.
func nested(levels int, array bool) any {
	switch {
	case levels == 0:
		return int64(1)
	case array:
		return []any{nested(levels-1, false)}
	}
	return map[string]any{"": nested(levels-1, true)}
}

// What is exactly at a limit is taken, written by a put or grown to by patches, reads the
// same everywhere and after a restart; one more is refused, and nothing of it stays.
func TestExactlyAtTheLimits(t *testing.T) {
	objects := func(levels int) Doc {
		d := map[string]any{}
		for range levels - 1 {
			d = map[string]any{"k": d}
		}
		return d
	}
	text := func(n int) Doc { return Doc{"x": strings.Repeat("x", n-1-2-5)} } // heads: map, key, text
	fields := func(n int) Doc {
		d := Doc{"": "", ".": "", "a.b": map[string]any{"": []any{}}, "ü": math.Copysign(0, -1), "min": int64(math.MinInt64), "max": int64(math.MaxInt64)}
		for i := 0; n-d.size() > 600; i++ {
			d[fmt.Sprintf("f%04d", i)] = strings.Repeat("f", 500)
		}
		d["rest"] = strings.Repeat("r", n-d.size()-5-3)
		return d
	}
	for what, x := range map[string]struct{ at, beyond Doc }{
		"one value":   {text(MaxDocument), text(MaxDocument + 1)},
		"many fields": {fields(MaxDocument), fields(MaxDocument + 1)},
		"objects":     {objects(MaxDepth), objects(MaxDepth + 1)},
		"by turns":    {Doc{"n": nested(MaxDepth-1, true)}, Doc{"n": nested(MaxDepth, true)}},
		"in an array": {Doc{"n": nested(MaxDepth-1, false)}, Doc{"n": nested(MaxDepth, false)}},
		"key":         {Doc{strings.Repeat("k", MaxKey): int64(1)}, Doc{strings.Repeat("k", MaxKey+1): int64(1)}},
		"in line":     {text(MaxInline + 5), text(MaxDocument + 1)},
		"out of line": {text(MaxInline + 6), text(MaxDocument + 1)},
	} {
		t.Run(what, func(t *testing.T) {
			want, err := EncodeValue(x.at)
			if err != nil || len(want) > MaxDocument {
				t.Fatal(len(want), err)
			}
			g := newCellar()
			a, b := g.site(t, "A"), g.site(t, "B")
			reads := func(s *site, id string) {
				t.Helper()
				d, ok := s.body(id)
				if got, err := EncodeValue(d); !ok || err != nil || string(got) != string(want) {
					t.Errorf("%s of %s: %d bytes, %v", id, what, len(got), err)
				}
			}
			for i, w := range []Write{{Verb: Put, ID: "put", Body: x.at}, {Verb: Patch, ID: "patch", Body: x.at}} {
				bad := w
				bad.Body = x.beyond
				for range 2 {
					if _, err := a.try(bad); !errors.As(err, new(*BadDocError)) {
						t.Errorf("write %d beyond: %v", i, err)
					}
					a.write(w)
					reads(a, w.ID)
				}
				if c := a.write(w); c != nil {
					t.Error("written again, it makes a commit")
				}
			}
			b.pull(a)
			b.flush()
			b.reload(false)
			for _, id := range []string{"put", "patch"} {
				reads(b, id)
				b.write(del(id))
				b.write(restore(id))
				reads(b, id)
			}
		})
	}
}

// More heads than a commit has parents do not hide that an actor may write no more:
// whoever is told takes a new one and merges with that.
func TestManyHeadsOfADoubledActor(t *testing.T) {
	hub := newSite(t, "hub")
	hub.write(put("d", `{}`))
	twin := newSite(t, "hub")
	twin.pull(hub)
	hub.write(put("d", `{"x":1}`))
	twin.write(put("d", `{"x":2}`))
	hub.pull(twin)
	for i := range 70 {
		s := newSite(t, fmt.Sprint(i))
		s.write(put(fmt.Sprint("d", i), `{}`))
		hub.pull(s)
	}
	if _, err := hub.try(put("x", `{}`)); !errors.Is(err, ErrActor) {
		t.Errorf("write: %v", err)
	}
}

// Of a counter, a clear takes what its author had seen and nothing else: also where
// he saw the twin that lost, and not the one that stands.
func TestClearOfATwin(t *testing.T) {
	for _, verb := range []string{"assign", "remove", "purge"} {
		t.Run(verb, func(t *testing.T) {
			a := newSite(t, "A")
			a.write(put("d", `{"x":0}`))
			a.write(patch("d", `{"n":{"$inc":1}}`))
			twin := newSite(t, "A")
			twin.pull(a)
			one := a.at(10, patch("d", `{"n":{"$inc":10}}`))
			two := twin.at(20, patch("d", `{"n":{"$inc":200}}`))
			win, lose, by := a, twin, int64(10)
			if compareIDs(two.ID, one.ID) < 0 {
				win, lose, by = twin, a, 200
			}
			other, late := newSite(t, "B"), newSite(t, "C")
			other.pull(lose)
			win.at(30, patch("d", `{"n":{"$inc":1000}}`)) // before it hears of the twin
			switch verb {
			case "assign":
				other.at(40, patch("d", `{"n":0}`))
			case "remove":
				other.at(40, patch("d", `{"n":null}`))
			case "purge":
				other.at(40, purge("d"))
			}
			late.pull(other) // the other order of arrival
			for _, s := range []*site{win, other, late} {
				s.pull(win)
				s.pull(other)
				if got, want := s.read("d"), fmt.Sprintf(`"n":%d`, by+1000); !strings.Contains(got, want) {
					t.Errorf("%s shows %s, want %s", map[*site]string{win: "win", other: "other", late: "late"}[s], got, want)
				}
				if s.Digest() != win.Digest() {
					t.Error("digests differ")
				}
			}
		})
	}
}

// checkCounters holds every counter against its definition: the increments of commits
// that count, but for those that a commit which counts cleared and had in its past.
func checkCounters(t *rapid.T, r *Replica) {
	type counter struct {
		id   string
		path [16]byte
	}
	type claim struct {
		h  *held
		at counter
		by total
	}
	type sum struct {
		live bool
		sum  total
	}
	type running struct {
		actor int
		at    counter
	}
	var claims []claim
	clears, last := map[counter][]*held{}, map[running]total{}
	for _, h := range r.order {
		ops, _, err := r.operations(h)
		if errors.Is(err, ErrHistory) {
			return // below a floor: others hold the definition
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range ops {
			o := &ops[i]
			if h.void != "" {
				continue
			}
			places := o.places()
			for _, c := range o.clears {
				at := counter{o.id, places[c.path].sum}
				clears[at] = append(clears[at], h)
			}
			for _, x := range o.totals {
				at := counter{o.id, places[x.path].sum}
				k := running{h.actor, at}
				claims, last[k] = append(claims, claim{h, at, x.total.sub(last[k])}), x.total
			}
		}
	}
	want, got := map[counter]sum{}, map[counter]sum{}
	for _, c := range claims {
		if !slices.ContainsFunc(clears[c.at], func(x *held) bool { return x != c.h && r.reaches(x, c.h) }) {
			want[c.at] = sum{true, want[c.at].sum.add(c.by)}
		}
	}
	var walk func(id string, p *place, n *node)
	walk = func(id string, p *place, n *node) {
		if live, x := n.sum(); live {
			got[counter{id, p.sum}] = sum{live, x}
		}
		for _, k := range n.kids {
			walk(id, p.child(k.key), k)
		}
	}
	for id, enc := range entriesOf(r) {
		e, err := decodeEntry(enc, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range e.root.kids {
			walk(id, (*place)(nil).child(k.key), k)
		}
	}
	if !maps.Equal(want, got) {
		t.Fatalf("counters %v, by their definition %v", got, want)
	}
}

// TestForkLaws: two stores write under one actor and meet, late or never. Whatever
// order the commits arrive in, across flushes and restarts, every replica shows the
// same, and every counter is what its definition says.
func TestForkLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistoryOf(rt, t, 14, "0", "0", "1", "2")
		play := func(r *Replica, commits []*Commit) *Replica {
			for _, c := range commits {
				if _, err := r.Add(c, Valid); err != nil {
					rt.Fatalf("add %s: %v", c.ID, err)
				}
			}
			return r
		}
		all := play(NewReplica(testDB, testKeys()), h.commits)
		checkKept(rt, all)
		for i := range 2 {
			r := play(NewReplica(testDB, testKeys()), h.order(fmt.Sprint("order ", i)))
			checkKept(rt, r)
			sameState(rt, "another order", stateOf(all), stateOf(r))
			if r.VoidHash() != all.VoidHash() {
				rt.Fatal("void hashes differ")
			}
		}
		s := rapid.SampledFrom(h.sites).Draw(rt, "site")
		for _, o := range h.sites {
			s.pull(o)
		}
		s.upset(rt)
		sameState(rt, "a site that has all", stateOf(all), stateOf(s))
		checkKept(rt, s.Replica)
		for v, err := range s.Revisions("d") {
			if err != nil {
				rt.Fatal(v, err)
			}
		}
	})
}

// TestForksOverAFloor: the same where the history begins at a floor, wherever that is.
// What hangs on commits below it waits until they are back.
func TestForksOverAFloor(t *testing.T) {
	waited := 0
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistoryOf(rt, t, 14, "0", "0", "1", "2")
		whole := NewReplica(testDB, testKeys())
		for _, c := range h.commits {
			if _, err := whole.Add(c, Valid); err != nil {
				rt.Fatal(err)
			}
		}
		s := side(t, "x")
		for _, c := range h.order("order") {
			if s.Has(c.ID) {
				continue
			}
			s.disk.commits[c.ID] = c
			before, heads := stateOf(s), s.Heads()
			a, err := s.Add(c, Valid)
			if errors.Is(err, ErrHistory) {
				waited++
				sameState(rt, "not taken yet", before, stateOf(s))
				if !slices.Equal(heads, s.Heads()) || s.Has(c.ID) {
					rt.Fatal("it is in the graph")
				}
				for _, c := range h.commits {
					s.disk.commits[c.ID] = c
				}
				a, err = s.Add(c, Valid)
			}
			if err != nil || a.Status == Parked {
				rt.Fatal(a.Status, err)
			}
			if f := s.disk.floor; f != nil && s.Floor() == 0 {
				s.disk.floor, s.disk.graph = nil, slices.Concat(f.rows, s.disk.graph)
			}
			if rapid.IntRange(0, 2).Draw(rt, "raise") == 0 {
				s.raise(rapid.IntRange(max(s.Floor(), 1), s.Len()).Draw(rt, "floor"), rapid.Bool().Draw(rt, "gc"))
			}
		}
		sameState(rt, "over a floor", stateOf(whole), stateOf(s))
		checkKept(rt, s.Replica)
	})
	t.Logf("%d commits waited", waited)
}
