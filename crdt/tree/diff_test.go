package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func diff(t failer, a, b *Tree) []Change {
	t.Helper()
	var out []Change
	for c, err := range Diff(context.Background(), a, b) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, c)
	}
	return out
}

// sibling draws a second tree that shares a past with w, or nothing at all.
func (w world) sibling(t *rapid.T) world {
	m := maps.Clone(w.m)
	if rapid.IntRange(0, 5).Draw(t, "stranger") == 0 {
		m = map[string]string{}
		return world{w.g, apply(t, w.g.Empty(), anyEdits(t, m)...), m}
	}
	tr := w.t
	for range rapid.IntRange(0, 2).Draw(t, "batches") {
		tr = kept(t, apply(t, tr, anyEdits(t, m)...))
	}
	return world{w.g, tr, m}
}

func TestDiffAppliedIsTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		a, b := w.sibling(t), w.sibling(t)
		changes := diff(t, a.t, b.t)
		var edits []Edit
		for i, c := range changes {
			before, had := a.m[string(c.Key)]
			after, has := b.m[string(c.Key)]
			if (c.Old != nil) != had || (c.New != nil) != has || had && string(c.Old.Value) != before || has && string(c.New.Value) != after || had == has && before == after {
				t.Fatalf("change %d is wrong: %q", i, c.Key)
			}
			if i > 0 && bytes.Compare(changes[i-1].Key, c.Key) >= 0 {
				t.Fatalf("changes are not in order")
			}
			edits = append(edits, c.Edit())
		}
		if x, y := root(t, apply(t, a.t, edits...)), root(t, b.t); x != y {
			t.Fatalf("diff applied: root %x, want %x", x, y)
		}
		if equal := root(t, a.t) == root(t, b.t); equal != (len(changes) == 0) || equal != maps.Equal(a.m, b.m) {
			t.Fatalf("equal roots %v, %d changes, equal content %v", equal, len(changes), maps.Equal(a.m, b.m))
		}
	})
}

// greater keeps the greater value, absent being least: a lattice.
func greater(_ []byte, a, b *Entry) (*Entry, error) {
	if a == nil || b != nil && bytes.Compare(a.Value, b.Value) < 0 {
		return b, nil
	}
	return a, nil
}

func TestJoinIsAJoin(t *testing.T) {
	join := func(t *rapid.T, a, b *Tree) *Tree {
		return must[*Tree](t)(Join(context.Background(), a, b, greater))
	}
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		a, b, c := w.sibling(t).t, w.sibling(t).t, w.sibling(t).t
		ab := join(t, a, b)
		if root(t, ab) != root(t, join(t, b, a)) {
			t.Fatalf("join does not commute")
		}
		if root(t, join(t, ab, c)) != root(t, join(t, a, join(t, b, c))) {
			t.Fatalf("join does not associate")
		}
		if root(t, join(t, ab, b)) != root(t, ab) || join(t, a, a) != a {
			t.Fatalf("join is not idempotent")
		}
	})
}

// A merge may take away what both sides hold; its error ends the join.
func TestJoinFollowsTheMerge(t *testing.T) {
	ctx := context.Background()
	g := newGrove(t, &Memory{}, 0)
	a := apply(t, g.Empty(), Put([]byte("both"), []byte("1")), Put([]byte("mine"), nil))
	b := apply(t, g.Empty(), Put([]byte("both"), []byte("2")), Put([]byte("yours"), nil))
	var asked []string
	out, err := Join(ctx, a, b, func(key []byte, x, y *Entry) (*Entry, error) {
		asked = append(asked, fmt.Sprintf("%s %t %t", key, x != nil, y != nil))
		if x != nil && y != nil {
			return nil, nil
		}
		return cmpOr(x, y), nil
	})
	if err != nil || !slices.Equal(asked, []string{"both true true", "mine true false", "yours false true"}) {
		t.Fatalf("asked %q, %v", asked, err)
	}
	if got := content(t, out); len(got) != 2 {
		t.Fatalf("joined %v", got)
	}
	boom := errors.New("boom")
	if _, err := Join(ctx, a, b, func([]byte, *Entry, *Entry) (*Entry, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Fatalf("join: %v", err)
	}
}

func cmpOr(a, b *Entry) *Entry {
	if a != nil {
		return a
	}
	return b
}

func TestRangeIsTheSortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		w.t = apply(t, w.t, anyEdits(t, w.m)...)
		bound := func(name string) []byte {
			if rapid.Bool().Draw(t, "no "+name) {
				return nil
			}
			if have := slices.Sorted(maps.Keys(w.m)); len(have) > 0 && rapid.Bool().Draw(t, "known") {
				return []byte(rapid.SampledFrom(have).Draw(t, name))
			}
			return []byte(anyKey().Draw(t, name))
		}
		s := Span{From: bound("from"), To: bound("to"), After: rapid.Bool().Draw(t, "after"), Through: rapid.Bool().Draw(t, "through"), Desc: rapid.Bool().Draw(t, "desc")}
		var want []string
		for _, k := range slices.Sorted(maps.Keys(w.m)) {
			from := s.From == nil || k > string(s.From) || !s.After && k == string(s.From)
			to := s.To == nil || k < string(s.To) || s.Through && k == string(s.To)
			if from && to {
				want = append(want, k+"="+w.m[k])
			}
		}
		if s.Desc {
			slices.Reverse(want)
		}
		limit := rapid.IntRange(0, len(want)).Draw(t, "limit")
		var got []string
		for e, err := range w.t.Range(context.Background(), s) {
			if err != nil {
				t.Fatalf("%v", err)
			}
			if len(got) == limit && limit < len(want) {
				break
			}
			got = append(got, string(e.Key)+"="+string(e.Value))
		}
		if !slices.Equal(got, want[:limit]) {
			t.Fatalf("%d rows, want %d", len(got), limit)
		}
		if w.t.Count() != len(w.m) {
			t.Fatalf("count %d, want %d", w.t.Count(), len(w.m))
		}
		for range 5 {
			k := anyKey().Draw(t, "get")
			e, ok, err := w.t.Get(context.Background(), []byte(k))
			if v, has := w.m[k]; err != nil || ok != has || string(e.Value) != v {
				t.Fatalf("get %q: %v %v", k, ok, err)
			}
		}
	})
}
