package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
)

// pull fetches what is missing of a tree from one store into another, width nodes
// at a time, and returns how often it had to ask. stop ends it early.
func pull(t failer, from, to *Memory, g *Grove, root Ref, width, stop int) (rounds, nodes int) {
	t.Helper()
	ctx := context.Background()
	f := g.Fetch(root)
	for !f.Done() && (stop == 0 || nodes < stop) {
		refs := must[[]Ref](t)(f.Next(ctx, width))
		if len(refs) > 0 {
			rounds++
		}
		slices.Reverse(refs) // in any order
		for i, ref := range refs {
			if i%3 == 2 { // lost: ask again
				f.Again(ref)
				continue
			}
			plain, links, err := from.Load(ctx, ref)
			if err != nil {
				t.Fatalf("%v", err)
			}
			must[block.ID](t)(to.Save(ctx, Node{ref.Hash, plain, links}))
			if err := f.Add(ref, plain, links); err != nil {
				t.Fatalf("%v", err)
			}
			nodes++
		}
	}
	return rounds, nodes
}

func TestFetchBringsTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		theirs := w.g.store.(*Memory)
		tr := flush(t, apply(t, w.t, anyEdits(t, w.m)...))
		ref, _ := tr.Root()
		ours := &Memory{}
		g, err := New(Config{Shape: w.g.shape, NodeHash: w.g.nodeHash, Store: ours})
		if err != nil {
			t.Fatal(err)
		}
		width := rapid.IntRange(1, 20).Draw(t, "width")
		// Broken off and taken up again, it goes on where it was.
		_, first := pull(t, theirs, ours, g, ref, width, rapid.IntRange(0, 5).Draw(t, "stop"))
		_, rest := pull(t, theirs, ours, g, ref, width, 0)
		got, err := auditOf(must[*Tree](t)(g.Open(t.Context(), ref)))
		if err != nil || !maps.Equal(got, w.m) {
			t.Fatalf("fetched tree: %v", err)
		}
		if n := len(nodesOf(t, tr)); first+rest != max(n, 1) || ours.Len() != max(n, 1) {
			t.Fatalf("fetched %d + %d nodes of %d", first, rest, n)
		}
		// A later state costs the difference.
		later := flush(t, apply(t, tr, anyEdits(t, w.m)...))
		ref, _ = later.Root()
		before := ours.Len()
		_, more := pull(t, theirs, ours, g, ref, width, 0)
		if ours.Len() != before+more {
			t.Fatalf("%d nodes fetched, %d new", more, ours.Len()-before)
		}
		if x := diff(t, must[*Tree](t)(g.Open(t.Context(), ref)), later); len(x) > 0 {
			t.Fatalf("%d differences", len(x))
		}
	})
}

// Cost is round trips, and those are as many as the tree has levels.
func TestFetchTakesARoundPerLevel(t *testing.T) {
	theirs, ours := &Memory{}, &Memory{}
	tr := flush(t, apply(t, newGrove(t, theirs, 0).Empty(), honest(20_000, 100)...))
	ref, _ := tr.Root()
	f := newGrove(t, ours, 0).Fetch(ref)
	var sizes []int
	for !f.Done() {
		refs := must[[]Ref](t)(f.Next(t.Context(), 1<<20))
		sizes = append(sizes, len(refs))
		for _, r := range refs {
			plain, links, _ := theirs.Load(t.Context(), r)
			if err := f.Add(r, plain, links); err != nil {
				t.Fatal(err)
			}
		}
	}
	have, missing := f.Progress()
	if len(sizes) > tr.root.sub.level+1 || have != theirs.Len() || missing != 0 {
		t.Errorf("rounds of %v nodes for %d levels; %d have, %d missing", sizes, tr.root.sub.level+1, have, missing)
	}
}

func TestFetchRefuses(t *testing.T) {
	ctx := t.Context()
	theirs := &Memory{}
	tr := flush(t, apply(t, newGrove(t, theirs, 0).Empty(), honest(1000, 100)...))
	ref, _ := tr.Root()
	f := newGrove(t, &Memory{}, 0).Fetch(ref)
	plain, links, _ := theirs.Load(ctx, ref)
	if err := f.Add(ref, plain, links); err == nil {
		t.Error("took what it had not asked for")
	}
	refs := must[[]Ref](t)(f.Next(ctx, 5))
	if !slices.Equal(refs, []Ref{ref}) {
		t.Fatalf("asks for %v", refs)
	}
	bad := slices.Clone(plain)
	bad[len(bad)-1] ^= 1
	if err := f.Add(ref, bad, links); !errors.Is(err, ErrMalformed) {
		t.Errorf("changed bytes: %v", err)
	}
	if err := f.Add(ref, plain, links[1:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("a link too few: %v", err)
	}
	if more := must[[]Ref](t)(f.Next(ctx, 5)); len(more) > 0 {
		t.Errorf("asked twice for %v", more)
	}
	if f.Again(ref); len(must[[]Ref](t)(f.Next(ctx, 5))) != 1 || f.Add(ref, plain, links) != nil {
		t.Error("does not go on after bad bytes")
	}
	if len(must[[]Ref](t)(f.Next(ctx, 2))) != 2 {
		t.Error("does not ask for two of many")
	}
}

// faulty is a store that fails after some calls.
type faulty struct {
	Store
	left int
}

var errFault = errors.New("fault")

func (f *faulty) Load(ctx context.Context, ref Ref) ([]byte, []block.ID, error) {
	if f.left--; f.left < 0 {
		return nil, nil, errFault
	}
	return f.Store.Load(ctx, ref)
}

func (f *faulty) Save(ctx context.Context, n Node) (block.ID, error) {
	if f.left--; f.left < 0 {
		return block.ID{}, errFault
	}
	return f.Store.Save(ctx, n)
}

// Whatever call of the store fails, the error comes out, the tree one had is as it
// was, and the next try succeeds.
func TestFaultsChangeNothing(t *testing.T) {
	ctx := t.Context()
	disk := &Memory{}
	m := map[string]string{}
	for i := range 600 {
		m[fmt.Sprintf("k%04d", i)] = fmt.Sprintf("%0200d", i)
	}
	ref, _ := flush(t, apply(t, newGrove(t, disk, 0).Empty(), puts(m)...)).Root()
	var edits []Edit
	for i := 0; i < 600; i += 7 {
		edits = append(edits, Delete(fmt.Appendf(nil, "k%04d", i)), Put(fmt.Appendf(nil, "k%04d-", i+1), []byte("new")))
	}
	want := root(t, apply(t, must[*Tree](t)(newGrove(t, disk, 0).Open(ctx, ref)), edits...))
	faults := 0
	for n := 0; ; n++ {
		store := &faulty{disk, n}
		g := newGrove(t, store, 1)
		all := func() (Hash, error) {
			tr, err := g.Open(ctx, ref)
			if err != nil {
				return Hash{}, err
			}
			next, err := tr.Apply(ctx, edits)
			if err == nil {
				next, err = next.Flush(ctx)
			}
			if err == nil {
				got, _ := next.Root()
				return got.Hash, nil
			}
			store.left = 1 << 30
			if got := content(t, tr); !maps.Equal(got, m) {
				t.Fatalf("fault %d changed the tree", n)
			}
			if again := root(t, apply(t, tr, edits...)); again != want {
				t.Fatalf("fault %d: another root at the second try", n)
			}
			return Hash{}, err
		}
		got, err := all()
		if err == nil {
			if got != want {
				t.Fatalf("root %x, want %x", got, want)
			}
			break
		}
		if faults++; !errors.Is(err, errFault) {
			t.Fatalf("fault %d: %v", n, err)
		}
	}
	if faults < 50 {
		t.Errorf("only %d faults", faults)
	}
}
