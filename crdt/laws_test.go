package crdt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
	"pgregory.net/rapid"
)

// history is a random history of a few sites, with everything drawn from rapid, so
// that a failure shrinks.
type history struct {
	t       *rapid.T
	sites   []*site
	commits []*Commit // in one causal order
	states  []*State  // downsets met on the way
}

func genBody(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Map(rapid.Int64Range(-3, 3), func(n int64) any { return n }),
		rapid.Map(rapid.SampledFrom([]any{nil, true, 1.0, 0.5, "s", "", []any{int64(1), map[string]any{"b": nil}}, map[string]any{}}), func(v any) any { return v }),
	)
	if depth == 0 {
		return scalar
	}
	object := rapid.Custom(func(t *rapid.T) any {
		return map[string]any(genObject(t, depth-1))
	})
	return rapid.OneOf(scalar, scalar, object)
}

func genObject(t *rapid.T, depth int) Doc {
	d := Doc{}
	for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "ab", "n", "\x00", "ü"}), 0, 3, func(s string) string { return s }).Draw(t, "keys") {
		d[k] = genBody(depth).Draw(t, k)
	}
	return d
}

// genPatch is an object in which some leaves count.
func genPatch(t *rapid.T) Doc {
	d := genObject(t, 2)
	if rapid.Bool().Draw(t, "count") {
		d["n"] = nil
	}
	for _, k := range sortedKeys(d) { // in order, so that a failure replays
		if k == "n" || rapid.IntRange(0, 3).Draw(t, "inc") == 0 {
			d[k] = map[string]any{"$inc": rapid.SampledFrom([]int64{1, -2, 1 << 62}).Draw(t, "by")}
		}
	}
	return d
}

func genWrite(t *rapid.T) Write {
	w := Write{ID: rapid.SampledFrom([]string{"d", "d", "e"}).Draw(t, "id")}
	w.Verb = rapid.SampledFrom([]Verb{Put, Put, Patch, Patch, Patch, Delete, Restore, Purge}).Draw(t, "verb")
	switch w.Verb {
	case Put:
		w.Body = genObject(t, 2)
	case Patch:
		w.Body = genPatch(t)
	}
	return w
}

func genHistory(t *rapid.T, tb testing.TB, steps int) *history {
	var names []string
	for i := range rapid.IntRange(3, 4).Draw(t, "actors") {
		names = append(names, fmt.Sprint(i))
	}
	return genHistoryOf(t, tb, steps, names...)
}

// genHistoryOf is genHistory of given actors; one that is named twice forks.
func genHistoryOf(t *rapid.T, tb testing.TB, steps int, names ...string) *history {
	h := &history{t: t}
	g := newCellar()
	for _, name := range names {
		h.sites = append(h.sites, g.site(tb, name))
	}
	for range rapid.IntRange(1, steps).Draw(t, "steps") {
		s := rapid.SampledFrom(h.sites).Draw(t, "site")
		for _, o := range h.sites {
			if o != s && rapid.IntRange(0, 2).Draw(t, "pull") == 0 {
				s.pull(o)
			}
		}
		s.upset(t)
		s.time = max(s.time, wire.Time(rapid.IntRange(0, 50).Draw(t, "time")))
		n := rapid.IntRange(1, 3).Draw(t, "batch")
		requests := [][]Write{{}}
		for range n {
			if rapid.Bool().Draw(t, "own request") {
				requests = append(requests, nil)
			}
			last := len(requests) - 1
			requests[last] = append(requests[last], genWrite(t))
		}
		a := s.author()
		d, _, _ := s.Draft(a, requests)
		if d == nil {
			continue
		}
		s.time = d.Time
		c := s.sealed(d, a)
		s.add(c)
		h.commits = append(h.commits, c)
		if rapid.IntRange(0, 4).Draw(t, "keep") == 0 {
			h.states = append(h.states, stateOf(s))
		}
	}
	for _, s := range h.sites {
		h.states = append(h.states, stateOf(s))
	}
	return h
}

// upset flushes a site, begins or ends a flush, or restarts the site.
func (s *site) upset(t *rapid.T) {
	switch rapid.IntRange(0, 9).Draw(t, "upset") {
	case 1:
		s.flush()
	case 2:
		s.freeze()
	case 3:
		s.thaw(rapid.Bool().Draw(t, "stored"))
	case 4:
		s.reload(false)
	case 5:
		s.flush()
		s.reload(false)
	case 6:
		s.reload(true)
	}
}

// order draws another causal order, with duplicates.
func (h *history) order(label string) (out []*Commit) {
	left, have := slices.Clone(h.commits), map[block.ID]bool{}
	for len(left) > 0 {
		var ready []int
		for i, c := range left {
			if !slices.ContainsFunc(c.Parents, func(p block.ID) bool { return !have[p] }) {
				ready = append(ready, i)
			}
		}
		i := rapid.SampledFrom(ready).Draw(h.t, label)
		have[left[i].ID] = true
		out = append(out, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return out
}

// upTo returns the commits of a state's context.
func (h *history) upTo(ctx map[block.Actor]uint64) (out []*Commit) {
	for _, c := range h.commits {
		if c.Seq <= ctx[c.Actor] {
			out = append(out, c)
		}
	}
	return out
}

func replay(t *rapid.T, commits []*Commit) *Replica {
	r := NewReplica(testDB, testKeys())
	for _, c := range commits {
		if a, err := r.Add(c, Valid); err != nil || a.Status != Applied {
			t.Fatalf("add %s: %v %v", c.ID, a.Status, err)
		}
	}
	return r
}

func sameState(t *rapid.T, what string, a, b *State) {
	if !maps.EqualFunc(a.Entries, b.Entries, bytes.Equal) || a.Digest() != b.Digest() || !maps.Equal(a.Context, b.Context) {
		t.Fatalf("%s: states differ", what)
	}
}

// TestLaws: any order, duplicated, gives the same state; join commutes, associates,
// is idempotent, and joining states is applying the union of their commits.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 12)
		all := replay(rt, h.commits)
		checkKept(rt, all)
		for i := range 2 {
			order := h.order(fmt.Sprint("order ", i))
			r := replay(rt, order)
			sameState(rt, "another order", stateOf(all), stateOf(r))
			for _, c := range order {
				if a, err := r.Add(c, Valid); err != nil || a.Status != Known {
					rt.Fatalf("duplicate: %v %v", a.Status, err)
				}
			}
			sameState(rt, "duplicates", stateOf(all), stateOf(r))
		}
		join := func(x, y *State) *State {
			s, err := Join(x, y, testKeys())
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		pick := func(label string) *State { return rapid.SampledFrom(h.states).Draw(rt, label) }
		x, y, z := pick("x"), pick("y"), pick("z")
		xy := join(x, y)
		sameState(rt, "join = apply(union)", xy, stateOf(replay(rt, h.upTo(xy.Context))))
		sameState(rt, "commutes", xy, join(y, x))
		sameState(rt, "idempotent", x, join(x, x))
		sameState(rt, "absorbs", xy, join(xy, y))
		sameState(rt, "associates", join(xy, z), join(x, join(y, z)))
	})
}

// checkKept holds what a replica keeps beside the entries against a fresh
// computation: digest, counts, order of ids, feed.
func checkKept(t *rapid.T, r *Replica) {
	var acc accumulator
	alive := 0
	entries := entriesOf(r)
	var ids []string
	err := r.docs.each("", "", false, func(id string, rec record) (bool, error) {
		x := r.keys.Expand(digestInput(nil, id, rec.entry))
		acc.add(&x)
		if k, err := rec.open(id); err != nil {
			t.Fatal(err)
		} else if k.alive {
			alive++
		}
		ids = append(ids, id)
		return true, nil
	})
	if err != nil || acc != r.acc || alive != r.Count() || len(entries) != r.docs.entries {
		t.Fatalf("digest or count is not that of the entries: %v", err)
	}
	if !slices.Equal(ids, slices.Sorted(maps.Keys(entries))) {
		t.Fatalf("ids %v", ids)
	}
	checkCounters(t, r)
	seen := map[string]bool{}
	for c, err := range r.Changes(Cursor{}) {
		if err != nil || seen[c.ID] {
			t.Fatalf("change %v twice, or %v", c, err)
		}
		seen[c.ID] = true
		if k, err := r.load(c.ID); err != nil || r.rev(c.ID, &k) != c.Rev || c.Deleted == k.alive {
			t.Fatalf("change %v of %s", c, r.rev(c.ID, &k))
		}
	}
	for id := range entries {
		if !seen[id] {
			t.Fatalf("no change of %s", id)
		}
	}
}

// TestVoidLaws: which commits count may be learned early or late, in any order; the
// state is the same, and so is that of a replica that never held anything else.
func TestVoidLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 12)
		// Removal: everything one actor wrote from some seq on.
		actor := rapid.SampledFrom(h.sites).Draw(rt, "removed").actor
		from := uint64(rapid.IntRange(1, 4).Draw(rt, "from"))
		judge := func(c *Commit) Validity {
			if c.Actor == actor && c.Seq >= from {
				return Void("removed")
			}
			return Valid
		}
		early := NewReplica(testDB, testKeys())
		for _, c := range h.commits {
			if _, err := early.Add(c, judge(c)); err != nil {
				rt.Fatal(err)
			}
		}
		checkKept(rt, early)
		late := replay(rt, h.order("order"))
		late.Rejudge(judge)
		checkKept(rt, late)
		sameState(rt, "late cut", stateOf(early), stateOf(late))
		if early.VoidHash() != late.VoidHash() {
			rt.Fatalf("void hashes differ")
		}
		// And where half of it is on disk, before and after a restart.
		onDisk := rapid.SampledFrom(h.sites).Draw(rt, "site")
		for _, o := range h.sites {
			onDisk.pull(o)
		}
		for range 2 {
			onDisk.upset(rt)
			onDisk.Rejudge(judge)
			checkKept(rt, onDisk.Replica)
			sameState(rt, "late cut on disk", stateOf(early), stateOf(onDisk))
			if early.VoidHash() != onDisk.VoidHash() {
				rt.Fatalf("void hashes differ on disk")
			}
		}
		late.Rejudge(func(*Commit) Validity { return Valid })
		sameState(rt, "the cut fell", stateOf(replay(rt, h.commits)), stateOf(late))
		checkKept(rt, late)
	})
}

// TestWritesRead: what an author writes is what it reads, put settles everything,
// and a repeated put writes nothing.
func TestWritesRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 8)
		s := rapid.SampledFrom(h.sites).Draw(rt, "site")
		for _, o := range h.sites {
			s.pull(o)
		}
		body := genObject(rt, 2)
		want, err := EncodeValue(body)
		if err != nil {
			rt.Fatal(err)
		}
		before, had := s.body("d")
		_, _ = s.try(Write{Verb: Put, ID: "d", Body: body})
		got, ok := s.body("d")
		if b, _ := EncodeValue(got); !ok || !bytes.Equal(b, want) || s.losers("d") != "" {
			rt.Fatalf("put %s reads %s, conflicts %s", body.JSON(), got.JSON(), s.losers("d"))
		}
		if c, err := s.try(Write{Verb: Put, ID: "d", Body: body}); c != nil || err != nil {
			rt.Fatalf("a repeated put wrote %v, %v", c, err)
		}
		_, _ = before, had
		p := genPatch(rt)
		want, _ = EncodeValue(merge7396(got, p))
		if _, err := s.try(Write{Verb: Patch, ID: "d", Body: p}); err != nil {
			return // an increment of a non-number
		}
		got, _ = s.body("d")
		if b, _ := EncodeValue(got); !bytes.Equal(b, want) {
			rt.Fatalf("patch %s reads %s", p.JSON(), got.JSON())
		}
		if err := noError(s.try(del("d"))); err != nil {
			rt.Fatal(err)
		}
		if err := noError(s.try(restore("d"))); err != nil {
			rt.Fatal(err)
		}
		again, ok := s.body("d")
		if b, _ := EncodeValue(again); !ok || !bytes.Equal(b, want) {
			rt.Fatalf("restored as %s", again.JSON())
		}
	})
}

func noError(_ *Commit, err error) error { return err }

func (s *site) body(id string) (Doc, bool) {
	d, _, err := s.Get(id)
	delete(d, keyID)
	delete(d, keyRev)
	return d, err == nil
}

// merge7396 is RFC 7396 with counters, as simple as it can be written.
func merge7396(target any, patch any) any {
	p, ok := object(patch)
	if !ok {
		return patch
	}
	if by, ok := p[keyInc]; ok {
		n := by.(int64)
		switch x := target.(type) {
		case int64:
			return totalOf(x).add(totalOf(n)).clamp()
		case float64:
			return x + float64(n)
		}
		return n
	}
	out := map[string]any{}
	if m, ok := object(target); ok {
		maps.Copy(out, m)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge7396(out[k], v)
		}
	}
	return out
}

// TestDraftIsApply: what an author's replica shows after its commit is what every
// other one computes from the commit's bytes.
func TestDraftIsApply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 10)
		for _, s := range h.sites {
			sameState(rt, "author", stateOf(s), stateOf(replay(rt, h.upTo(stateOf(s).Context))))
		}
	})
}
