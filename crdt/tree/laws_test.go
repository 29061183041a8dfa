package tree

import (
	"maps"
	"slices"
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
