package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// audit reads a tree through Audit.
func auditOf(tr *Tree) (map[string]string, error) {
	out := map[string]string{}
	for e, err := range tr.Audit(context.Background()) {
		if err != nil {
			return nil, err
		}
		out[string(e.Key)] = string(e.Value)
	}
	return out, nil
}

// forger stores trees that a liar might make: every node in itself as it should be
// or nearly so, and not checked before it is written.
type forger struct {
	t failer
	g *Grove
}

func (f forger) save(n *node) *item {
	plain, links := encode(n)
	ref := Ref{Hash: f.g.nodeHash(plain)}
	id, err := f.g.store.Save(context.Background(), Node{ref.Hash, plain, links})
	if err != nil {
		f.t.Fatalf("%v", err)
	}
	ref.ID = id
	it := above(n)
	it.sub.ref, it.sub.node = ref, nil
	return it
}

// lift saves a run as Grove.lift would.
func (f forger) lift(level int, run []*item) *item {
	it := run[0]
	if level == 0 || len(run) > 1 {
		it = f.save(newNode(level, run))
	}
	return f.g.shape.stand(it, level+1)
}

// build makes a tree whose cuts a liar has changed.
func (f forger) build(items []*item, lie func(level int, items []*item, cuts []int) []int) Ref {
	for level := 0; level == 0 || len(items) > 1; level++ {
		var up []*item
		for _, run := range split(items, lie(level, items, cuts(level, items, nil, false))) {
			up = append(up, f.lift(level, run))
		}
		items = up
	}
	return items[0].sub.ref
}

func (f forger) entries(m map[string]string) []*item {
	var out []*item
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, newEntry(Entry{Key: []byte(k), Value: []byte(m[k])}, f.g.shape.at([]byte(k), 0)))
	}
	return out
}

// Audit finds a tree good exactly if it is the one that its entries make.
func TestAuditKnowsTheOneTree(t *testing.T) {
	lies, missed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		w.t = apply(t, w.t, anyEdits(t, w.m)...)
		if got, err := auditOf(w.t); err != nil || !maps.Equal(got, w.m) {
			t.Fatalf("audit of a good tree: %v", err)
		}
		if len(w.m) == 0 {
			return
		}
		want := root(t, w.t)
		flips := rapid.IntRange(0, 3).Draw(t, "flips")
		ref := forger{t, w.g}.build(forger{t, w.g}.entries(w.m), func(level int, items []*item, cuts []int) []int {
			for ; flips > 0 && len(items) > 1 && rapid.Bool().Draw(t, "here"); flips-- {
				at := rapid.IntRange(0, len(items)-2).Draw(t, "cut")
				if i, ok := slices.BinarySearch(cuts, at); ok {
					cuts = slices.Delete(cuts, i, i+1)
				} else {
					cuts = slices.Insert(cuts, i, at)
				}
			}
			return cuts
		})
		tr, err := w.g.Open(t.Context(), ref)
		if err == nil {
			_, err = auditOf(tr)
		}
		if ref.Hash != want {
			lies++
			if !errors.Is(err, ErrShape) {
				missed++ // the node itself was refused
			}
		}
		if (err == nil) != (ref.Hash == want) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("audit: %v, but the root is %x and should be %x", err, ref.Hash, want)
		}
	})
	if lies < 10 || missed == lies {
		t.Errorf("%d lies, %d of them found before the audit: the test shows nothing", lies, missed)
	}
}

// What a parent may say wrongly of a child.
func TestParentsAreHeldToTheirWord(t *testing.T) {
	ctx := context.Background()
	m := map[string]string{}
	for i := range 200 {
		m[fmt.Sprintf("k%03d", i)] = strings.Repeat("v", 100)
	}
	for _, c := range []struct {
		name string
		lie  func(kids []*item)
	}{
		{"count", func(kids []*item) { kids[1].sub.count++ }},
		{"last key", func(kids []*item) { kids[1].key = append(kids[1].key, 0) }},
		{"level", func(kids []*item) { kids[1].sub.level = 1 }},
		{"hash", func(kids []*item) { kids[1].sub.ref.Hash[3] ^= 1 }},
		{"another child", func(kids []*item) { kids[1].sub.ref = kids[0].sub.ref }},
	} {
		g := newGrove(t, &Memory{}, 1)
		f := forger{t, g}
		items := f.entries(m)
		var kids []*item
		for _, run := range split(items, cuts(0, items, nil, false)) {
			kids = append(kids, f.lift(0, run))
		}
		if len(kids) < 3 || len(cuts(1, kids, nil, false)) > 0 {
			t.Fatalf("%d leaves: choose other entries", len(kids))
		}
		kids[1] = &item{key: slices.Clone(kids[1].key), sub: &child{kids[1].sub.ref, kids[1].sub.count, 0, nil}, h: kids[1].h}
		c.lie(kids)
		n := newNode(2, kids)
		ref := f.save(n).sub.ref
		tr, err := g.Open(ctx, ref)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for what, err := range map[string]error{
			"range": func() error {
				for _, err := range tr.Range(ctx, Span{}) {
					if err != nil {
						return err
					}
				}
				return nil
			}(),
			"get":   second(tr.Get(ctx, kids[1].key)),
			"audit": func() error { _, err := auditOf(tr); return err }(),
			"apply": func() error { _, err := tr.Apply(ctx, []Edit{Put(kids[1].key, nil)}); return err }(),
			"fetch": fetchAll(g, ref),
			"diff": func() error {
				for _, err := range Diff(ctx, tr, g.Empty()) {
					if err != nil {
						return err
					}
				}
				return nil
			}(),
		} {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %s: %v", c.name, what, err)
			}
		}
	}
}

func second(_ Entry, _ bool, err error) error { return err }

// fetchAll walks a tree that the store holds already.
func fetchAll(g *Grove, ref Ref) error {
	_, err := g.Fetch(ref).Next(context.Background(), 1)
	return err
}

// Two leaves that overlap: each is what its parent says, but a key stands in both.
func TestOverlapIsFound(t *testing.T) {
	ctx := context.Background()
	g := newGrove(t, &Memory{}, 0)
	f := forger{t, g}
	leaf := func(keys ...string) *item {
		m := map[string]string{}
		for _, k := range keys {
			m[k] = ""
		}
		return f.lift(0, f.entries(m))
	}
	ref := f.save(newNode(1, []*item{leaf("a", "k"), leaf("c", "z")})).sub.ref
	tr := must[*Tree](t)(g.Open(ctx, ref))
	if _, err := auditOf(tr); !errors.Is(err, ErrShape) {
		t.Errorf("audit: %v", err)
	}
	if err := fetchAll(g, ref); !errors.Is(err, ErrMalformed) {
		t.Errorf("fetch: %v", err)
	}
}
