package tree

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A tree built by any path, in any batches, flushed or not, with detours through
// keys that are gone again, has the nodes that the format's words give, under any
// shape function.
func TestSameEntriesSameNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			w.t = apply(t, w.t, anyEdits(t, w.m)...)
			if rapid.Bool().Draw(t, "flush") {
				w.t = flush(t, w.t)
			}
			if got, want := nodesOf(t, w.t), naiveNodes(w.g.shape, w.m); !slices.Equal(got, want) {
				t.Fatalf("%d entries: %d nodes\n%v\nwant %d\n%v", len(w.m), len(got), got, len(want), want)
			}
			if got := content(t, w.t); !maps.Equal(got, w.m) {
				t.Fatalf("content differs")
			}
		}
		if a, b := root(t, w.t), root(t, apply(t, w.g.Empty(), puts(w.m)...)); a != b {
			t.Fatalf("root %x by edits, %x in one go", a, b)
		}
	})
}

// What was put and is deleted again leaves no trace.
func TestUndoReturnsToTheEarlierRoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		w.t = apply(t, w.t, anyEdits(t, w.m)...)
		was := root(t, w.t)
		later := apply(t, w.t, anyEdits(t, w.m)...)
		if rapid.Bool().Draw(t, "flush") {
			later = flush(t, later)
		}
		var undo []Edit
		for _, c := range diff(t, later, w.t) {
			undo = append(undo, c.Edit())
		}
		if is := root(t, apply(t, later, undo...)); is != was {
			t.Fatalf("root %x, before %x", is, was)
		}
	})
}

// The rule as it is computed, by what lies between smaller hashes, is the rule as it
// is said: split after the least hash, and so on.
func TestCutsAreTheRecursiveRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := anyShape().Draw(t, "shape")
		level := rapid.IntRange(0, 9).Draw(t, "level")
		var items []*item
		for i := range rapid.IntRange(1, 200).Draw(t, "items") {
			key := fmt.Appendf(nil, "k%04d", i)
			size := rapid.SampledFrom([]int{0, 100, 1000, 5000}).Draw(t, "size")
			items = append(items, newEntry(Entry{Key: key, Value: make([]byte, size)}, shape.at(key, level)))
		}
		got := split(items, cuts(level, items, nil, false))
		b := naive{shape: shape}
		if want := b.runs(level, items); !slices.EqualFunc(got, want, sameItems) {
			t.Fatalf("%d runs, want %d", len(got), len(want))
		}
	})
}

// Trees and their grove are used from many goroutines at once.
func TestConcurrentUse(t *testing.T) {
	g := newGrove(t, &Memory{}, 50_000)
	base := flush(t, apply(t, g.Empty(), honest(2_000, 100)...))
	var all sync.WaitGroup
	roots := make([]Hash, 8)
	for i := range roots {
		all.Go(func() {
			tr := base
			for j := range 20 {
				next, err := tr.Apply(t.Context(), []Edit{Put(fmt.Appendf(nil, "doc-%08d", 97*j), []byte("new"))})
				if err != nil {
					t.Error(err)
					return
				}
				tr = next
				for _, err := range Diff(t.Context(), base, tr) {
					if err != nil {
						t.Error(err)
					}
				}
			}
			tr, err := tr.Flush(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			ref, _ := tr.Root()
			roots[i] = ref.Hash
		})
	}
	all.Wait()
	if len(slices.Compact(roots)) != 1 {
		t.Errorf("roots %x", roots)
	}
}
