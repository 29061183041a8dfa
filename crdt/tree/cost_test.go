package tree

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// What operations cost, in nodes. All of it must follow the change, not the tree.

// field is a stored tree of n documents, and a way to see what something costs.
type field struct {
	t    testing.TB
	g    *Grove
	tree *Tree
	n    int
	rnd  *rand.Rand
}

func newField(t testing.TB, n int) *field {
	g := newGrove(t, &Memory{}, 0)
	return &field{t, g, flush(t, apply(t, g.Empty(), honest(n, 250)...)), n, rand.New(rand.NewPCG(7, uint64(n)))}
}

func (f *field) levels() uint64 { return uint64(f.tree.root.sub.level + 1) }

// puts are n edits of different keys: updates and new ones, anywhere.
func (f *field) puts(n int) []Edit {
	var out []Edit
	for _, i := range f.rnd.Perm(f.n)[:n] {
		key := fmt.Appendf(nil, "doc-%08d", i)
		if f.rnd.IntN(2) == 0 {
			key = fmt.Appendf(key, "-%d", f.rnd.Uint32())
		}
		out = append(out, Put(key, fmt.Appendf(nil, "%0240d", f.rnd.Uint64())))
	}
	return out
}

func (f *field) cost(do func()) Stats {
	before := f.g.Stats()
	do()
	return f.g.Stats().Sub(before)
}

func TestOneUpdateRewritesOnePath(t *testing.T) {
	for _, n := range []int{1_000, largest} {
		f := newField(t, n)
		for range 200 {
			key := fmt.Appendf(nil, "doc-%08d", f.rnd.IntN(n))
			s := f.cost(func() { f.tree = flush(t, apply(t, f.tree, Put(key, fmt.Appendf(nil, "%0250d", f.rnd.Uint64())))) })
			if s.Saved > f.levels() || s.Built != s.Saved || s.Visited > 4*f.levels() {
				t.Fatalf("%d documents: an update of equal size saved %d nodes, visited %d; the tree has %d levels", n, s.Saved, s.Visited, f.levels())
			}
		}
	}
}

func TestInsertsAndDeletesStayLocal(t *testing.T) {
	for _, n := range []int{1_000, 10_000, largest} {
		f := newField(t, n)
		var sum Stats
		worst := uint64(0)
		const rounds = 500
		for i := range rounds {
			edit := f.puts(1)[0]
			if i%2 == 0 {
				edit = Delete(fmt.Appendf(nil, "doc-%08d", f.rnd.IntN(n)))
			}
			s := f.cost(func() { f.tree = flush(t, apply(t, f.tree, edit)) })
			sum.Saved += s.Saved
			sum.Visited += s.Visited
			worst = max(worst, s.Saved)
		}
		saved, visited := float64(sum.Saved)/rounds, float64(sum.Visited)/rounds
		t.Logf("%d documents, %d levels: %.2f nodes saved per edit, at most %d; %.1f visited", n, f.levels(), saved, worst, visited)
		if levels := float64(f.levels()); saved > levels+1 || worst > 2*f.levels()+4 || visited > 6*levels {
			t.Errorf("%d documents: %.2f nodes saved per edit, at most %d; %.1f visited", n, saved, worst, visited)
		}
	}
}

func TestPutsBetweenFlushesAreSavedOnce(t *testing.T) {
	f := newField(t, 10_000)
	s := f.cost(func() {
		tr := f.tree
		for i := range 1000 {
			tr = apply(t, tr, Put([]byte("doc-00005000"), fmt.Appendf(nil, "%0250d", i)))
		}
		flush(t, tr)
	})
	if s.Saved > f.levels() {
		t.Errorf("1,000 updates of one key saved %d nodes, the tree has %d levels", s.Saved, f.levels())
	}
	same := apply(t, f.tree, Put([]byte("doc-00000001"), make([]byte, 250)), Delete([]byte("doc-00000001-none")))
	if same != f.tree {
		t.Error("edits that change nothing made another tree")
	}
}

func TestDiffVisitsTheDifference(t *testing.T) {
	for _, n := range []int{10_000, largest} {
		f := newField(t, n)
		for _, d := range []int{0, 1, 10, 100} {
			visited, most := 0.0, uint64(0)
			const rounds = 30
			for range rounds {
				other := flush(t, apply(t, f.tree, f.puts(d)...))
				s := f.cost(func() {
					if found := len(diff(t, f.tree, other)); found != d {
						t.Fatalf("%d differences, want %d", found, d)
					}
				})
				visited, most = visited+float64(s.Visited)/rounds, max(most, s.Visited)
			}
			t.Logf("%d documents, %d levels: diff of %d visits %.1f nodes, at most %d", n, f.levels(), d, visited, most)
			// On each side a path for each, and now and then a neighbour.
			if limit := 2*float64(d)*float64(f.levels()) + 0.5*float64(d); visited > limit || float64(most) > 2*limit {
				t.Errorf("%d documents: diff of %d visits %.1f nodes, at most %d", n, d, visited, most)
			}
		}
		// One side lacks a stretch: of the other only what is in it is read.
		var gap []Edit
		for i := 2_000; i < 3_000; i++ {
			gap = append(gap, Delete(fmt.Appendf(nil, "doc-%08d", i)))
		}
		other := apply(t, f.tree, gap...)
		inside := f.cost(func() {
			for range f.tree.Range(t.Context(), Span{From: gap[0].Key, To: gap[999].Key}) {
				continue
			}
		}).Visited
		if s := f.cost(func() { diff(t, f.tree, other) }); s.Visited > inside+4*f.levels() {
			t.Errorf("%d documents: diff visits %d nodes, the stretch that is gone has %d", n, s.Visited, inside)
		}
	}
}

// Two replicas write at once and merge, again and again: round 20 costs what round
// 1 did, and both always come to one root.
func TestMergesDoNotBlowUp(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct{ rounds, puts int }{{14, 1}, {20, 50}} {
		f := newField(t, 20_000)
		a, b := f.tree, f.tree
		for round := range c.rounds {
			a = flush(t, apply(t, a, f.puts(c.puts)...))
			b = flush(t, apply(t, b, f.puts(c.puts)...))
			var x, y *Tree
			s := f.cost(func() {
				x = flush(t, must[*Tree](t)(Join(ctx, a, b, greater)))
				y = flush(t, must[*Tree](t)(Join(ctx, b, a, greater)))
			})
			if root(t, x) != root(t, y) {
				t.Fatalf("round %d: two roots", round)
			}
			// Each of the two joins: a diff of both sides' puts, and one side's applied.
			if limit := uint64(2 * c.puts * (4*int(f.levels()+1) + 4*int(f.levels()))); s.Visited > limit {
				t.Fatalf("round %d of %d puts a side: %d nodes visited, more than %d", round, c.puts, s.Visited, limit)
			}
			if round%5 == 0 {
				t.Logf("round %d of %d puts a side: %d visited, %d saved", round, c.puts, s.Visited, s.Saved)
			}
			a, b = x, y
		}
	}
}

// The cache is a bound on memory, whatever is read.
func TestCacheIsBounded(t *testing.T) {
	const bytes = 200_000
	disk := &Memory{}
	ref, _ := flush(t, apply(t, newGrove(t, disk, 0).Empty(), honest(20_000, 250)...)).Root()
	g := newGrove(t, disk, bytes)
	tr := must[*Tree](t)(g.Open(t.Context(), ref))
	for range 2 {
		if n := len(content(t, tr)); n != 20_000 {
			t.Fatalf("%d entries", n)
		}
		held := 0
		for _, gen := range []map[Hash]*node{g.cache.young, g.cache.old} {
			for _, n := range gen {
				held += n.cost
			}
		}
		if held > bytes || held < bytes/2 {
			t.Errorf("cache of %d bytes holds %d", bytes, held)
		}
	}
	// A path that is used stays: gets of one key load it once.
	key := []byte("doc-00010000")
	if _, ok, _ := tr.Get(t.Context(), key); !ok {
		t.Fatal("not found")
	}
	before := g.Stats()
	for range 50 {
		if _, ok, _ := tr.Get(t.Context(), key); !ok {
			t.Fatal("not found")
		}
	}
	if s := g.Stats().Sub(before); s.Loaded > 0 || s.Visited != 50*uint64(tr.root.sub.level+1) {
		t.Errorf("50 gets load %d nodes and visit %d", s.Loaded, s.Visited)
	}
}
