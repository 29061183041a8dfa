package tree

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A tree built by any path, in any batches, kept in any way, with detours through
// keys that are gone again, has the nodes that the format's words give, under any
// shape function.
func TestSameEntriesSameNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		for range rapid.IntRange(2, 9).Draw(t, "batches") {
			w.t = kept(t, apply(t, w.t, anyEdits(t, w.m)...))
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

// A root stands at no level until the tree grows above it: then its key decides by
// the hash of that level, wherever the root came from. Once it kept a hash of another
// level, or none if it was opened, so that the same entries had two roots.
func TestRootGetsANeighbour(t *testing.T) {
	const all, none = 0, 1 << 31 // every key ends a node, none does
	for _, c := range []struct {
		name string
		hash [4]uint32 // of every key at levels 0 to 3, but b ends a leaf
		want []string
	}{
		{"ends nodes above level 1", [4]uint32{none, none, all, all}, []string{"0: 61 62", "0: 63", "1: 62 63"}},
		{"ends nodes at level 1", [4]uint32{none, all, none, none}, []string{"0: 61 62", "0: 63", "2: 62 63"}},
	} {
		g := must[*Grove](t)(New(Config{NodeHash: mac(nodeKey), Store: &Memory{}, Shape: func(key []byte) (h [32]byte) {
			for l, v := range c.hash {
				binary.BigEndian.PutUint32(h[4*l:], v)
			}
			if string(key) == "b" { // c gets a leaf of its own
				binary.BigEndian.PutUint32(h[:], all)
			}
			return h
		}}))
		a, b, cc := Put([]byte("a"), nil), Put([]byte("b"), nil), Put([]byte("c"), nil)
		leaf := flush(t, apply(t, g.Empty(), a, b))
		ref, _ := leaf.Root()
		want := root(t, apply(t, g.Empty(), a, b, cc))
		for from, tr := range map[string]*Tree{
			"new":      leaf,
			"opened":   must[*Tree](t)(g.Open(t.Context(), ref)),
			"shrunken": apply(t, apply(t, g.Empty(), a, b, cc), Delete([]byte("c"))),
		} {
			tr = apply(t, tr, cc)
			if got := nodesOf(t, tr); root(t, tr) != want || !slices.Equal(got, c.want) {
				t.Errorf("%s, root %s: nodes %q, want %q", c.name, from, got, c.want)
			}
		}
	}
}

// What was put and is deleted again leaves no trace.
func TestUndoReturnsToTheEarlierRoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		w.t = kept(t, apply(t, w.t, anyEdits(t, w.m)...))
		was := root(t, w.t)
		later := kept(t, apply(t, w.t, anyEdits(t, w.m)...))
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
