package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// The attack suite. An ex-member keeps the shape key (SECURITY.md), so an attacker
// may know it and choose keys whose hashes fall where he wants. Each plan grinds keys
// that should make the tree as bad as can be; whatever he does, an insert costs at
// most three stored nodes on average, and no node breaks its bound.

// plan is one way to choose keys.
type plan struct {
	name string
	want func(i int, h [32]byte) bool
	n    int
}

func level(h [32]byte, l int) uint32 {
	return Shape(func([]byte) [32]byte { return h }).at(nil, l)
}

// chain is how many keys in a row have rising or falling hashes. Grinding one key
// takes as many tries; longer ones change nothing, a node's weight is reached.
const chain = 128

func window(j int) (from, to uint32) {
	const least = 1 << 28 // no key ends a leaf
	width := uint32((1<<32 - least) / chain)
	return least + uint32(j)*width, least + uint32(j+1)*width - 1
}

func in(h uint32, j int) bool {
	from, to := window(j)
	return from <= h && h <= to
}

func plans() []plan {
	return []plan{
		{"honest", func(int, [32]byte) bool { return true }, 5_000},
		{"every key ends a leaf", func(_ int, h [32]byte) bool { return ends(0, level(h, 0)) }, 50_000},
		{"every key ends leaf and inner node", func(_ int, h [32]byte) bool { return ends(0, level(h, 0)) && ends(1, level(h, 1)) }, 1_000},
		{"every second key ends leaf and inner node", func(i int, h [32]byte) bool {
			return ends(0, level(h, 0)) && (i%2 == 0 || ends(1, level(h, 1)))
		}, 1_000},
		{"no key ends a leaf", func(_ int, h [32]byte) bool { return !ends(0, level(h, 0)) }, 5_000},
		{"no key ends anything", func(_ int, h [32]byte) bool {
			return !ends(0, level(h, 0)) && !ends(1, level(h, 1)) && !ends(2, level(h, 2)) && !ends(3, level(h, 3))
		}, 5_000},
		{"rising", func(i int, h [32]byte) bool { return in(level(h, 0), i%chain) }, 50_000},
		{"falling", func(i int, h [32]byte) bool { return in(level(h, 0), chain-1-i%chain) }, 5_000},
		{"valley", func(i int, h [32]byte) bool { return in(level(h, 0), max(i%chain, chain-1-i%chain)) }, 5_000},
	}
}

// grind returns the keys of a plan, in order, all between two keys of an honest
// tree so that they fall into one leaf of it.
func (p plan) grind(tries *int) [][]byte {
	shape := mac(shapeKey)
	out := make([][]byte, p.n)
	for i := range out {
		k := fmt.Appendf(nil, "doc-00001000-%06d-", i)
		for n, nonce := len(k), int64(0); ; nonce++ {
			*tries++
			if k = strconv.AppendInt(k[:n], nonce, 36); p.want(i, shape(k)) {
				out[i] = k
				break
			}
		}
	}
	return out
}

func honest(n, size int) []Edit {
	var out []Edit
	for i := range n {
		out = append(out, Put(fmt.Appendf(nil, "doc-%08d", i), make([]byte, size)))
	}
	return out
}

// inserted puts keys into an honest tree, a hundred between two flushes as in a
// busy database, and returns the tree and what it cost.
func inserted(t *testing.T, keys [][]byte, size int) (*Tree, Stats) {
	g := newGrove(t, &Memory{}, 0)
	tr := flush(t, apply(t, g.Empty(), honest(2_000, 300)...))
	before := g.Stats()
	for batch := range slices.Chunk(keys, 100) {
		var edits []Edit
		for _, k := range batch {
			edits = append(edits, Put(k, make([]byte, size)))
		}
		tr = flush(t, apply(t, tr, edits...))
	}
	return tr, g.Stats().Sub(before)
}

func TestGroundKeys(t *testing.T) {
	for _, p := range plans() {
		t.Run(p.name, func(t *testing.T) {
			tries := 0
			p.n = min(p.n, groundKeys)
			keys := p.grind(&tries)
			t.Logf("%d keys of %.0f tries each", p.n, float64(tries)/float64(p.n))
			few := slices.Clone(keys[:min(len(keys), 2_000)])
			down := slices.Clone(few)
			slices.Reverse(down)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for _, c := range []struct {
				order string
				keys  [][]byte
				size  int
			}{{"up", few, 300}, {"down", down, 300}, {"down, small", down, 0}, {"any, small", keys[:len(few)], 0}, {"any", keys, 300}} {
				tr, s := inserted(t, c.keys, c.size)
				n := float64(len(c.keys))
				t.Logf("%-12s %.2f nodes saved per insert, %.2f visited; %d levels", c.order, float64(s.Saved)/n, float64(s.Visited)/n, tr.root.sub.level+1)
				if float64(s.Saved) > 3*n {
					t.Errorf("%s: %.2f nodes saved per insert", c.order, float64(s.Saved)/n)
				}
				if l := tr.root.sub.level; l > 5 {
					t.Errorf("%s: %d levels", c.order, l+1)
				}
				if got, err := auditOf(tr); err != nil || len(got) != 2_000+len(c.keys) {
					t.Errorf("%s: %d entries, %v", c.order, len(got), err)
				}
				for node := range nodesIn(t, tr) {
					if plain, _ := encode(node); len(node.items) > 1 && len(plain) > bound(node.level)+nodeCost {
						t.Errorf("%s: node of %d items and %d bytes", c.order, len(node.items), len(plain))
					}
				}
			}
		})
	}
}

// Flushed one by one, an insert costs its path and little more.
func TestGroundKeysOneByOne(t *testing.T) {
	for _, p := range plans() {
		p.n = 3 * chain
		keys := p.grind(new(int))
		rand.New(rand.NewPCG(3, 4)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		f := newField(t, 10_000)
		worst := uint64(0)
		all := f.cost(func() {
			for _, k := range keys {
				s := f.cost(func() { f.tree = flush(t, apply(t, f.tree, Put(k, make([]byte, 300)))) })
				worst = max(worst, s.Saved)
			}
		})
		per, levels := float64(all.Saved)/float64(len(keys)), f.tree.root.sub.level+1
		t.Logf("%-42s %.2f nodes saved per insert, at most %d; %d levels", p.name, per, worst, levels)
		if per > float64(levels)+1.5 || worst > 40 {
			t.Errorf("%s: %.2f nodes saved per insert, at most %d; %d levels", p.name, per, worst, levels)
		}
	}
}

// The worst single edit: keys with rising hashes fit one leaf just so, and a heavy
// entry behind them makes every one of them a cut; without it they unite again. The
// harm ends where a node's weight ends: it is the same in a small and in a large
// tree, and an attacker pays for it with as many entries of his own.
func TestTheWorstEditIsBounded(t *testing.T) {
	p := plans()[6]
	if p.name != "rising" {
		t.Fatal(p.name)
	}
	p.n = chain
	keys := p.grind(new(int))
	heavy := append(slices.Clone(keys[chain-1]), 'z')
	for _, n := range []int{1_000, 20_000} {
		f := newField(t, n)
		var edits []Edit
		for _, k := range keys {
			edits = append(edits, Put(k, nil))
		}
		f.tree = flush(t, apply(t, f.tree, edits...))
		on := f.cost(func() { f.tree = flush(t, apply(t, f.tree, Put(heavy, make([]byte, LeafBytes)))) })
		off := f.cost(func() { f.tree = flush(t, apply(t, f.tree, Delete(heavy))) })
		t.Logf("%d documents: %d nodes saved with the heavy entry, %d without", n, on.Saved, off.Saved)
		if on.Saved < chain/2 || on.Saved > 2*LeafBytes/entryCost/2 || off.Saved > 2*f.levels()+4 {
			t.Errorf("%d documents: %d nodes saved, then %d", n, on.Saved, off.Saved)
		}
	}
}
