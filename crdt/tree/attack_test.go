package tree

import (
	"context"
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
		{"honest", func(int, [32]byte) bool { return true }, 50_000},
		{"every key ends a leaf", func(_ int, h [32]byte) bool { return ends(0, level(h, 0)) }, 50_000},
		{"every key ends leaf and inner node", func(_ int, h [32]byte) bool { return ends(0, level(h, 0)) && ends(1, level(h, 1)) }, 2_000},
		{"every second key ends leaf and inner node", func(i int, h [32]byte) bool {
			return ends(0, level(h, 0)) && (i%2 == 0 || ends(1, level(h, 1)))
		}, 2_000},
		{"no key ends a leaf", func(_ int, h [32]byte) bool { return !ends(0, level(h, 0)) }, 50_000},
		{"no key ends anything", func(_ int, h [32]byte) bool {
			return !ends(0, level(h, 0)) && !ends(1, level(h, 1)) && !ends(2, level(h, 2)) && !ends(3, level(h, 3))
		}, 50_000},
		{"rising", func(i int, h [32]byte) bool { return in(level(h, 0), i%chain) }, 50_000},
		{"falling", func(i int, h [32]byte) bool { return in(level(h, 0), chain-1-i%chain) }, 50_000},
		{"valley", func(i int, h [32]byte) bool { return in(level(h, 0), max(i%chain, chain-1-i%chain)) }, 50_000},
	}
}

// grind returns the keys of a plan, in order, all between two keys of an honest
// tree so that they fall into one leaf of it.
func (p plan) grind(tries *int) [][]byte {
	shape := mac(shapeKey)
	out := make([][]byte, p.n)
	for i := range out {
		for nonce := 0; ; nonce++ {
			*tries++
			k := fmt.Appendf(nil, "doc-00005000-%06d-", i)
			k = strconv.AppendInt(k, int64(nonce), 36)
			if p.want(i, shape(k)) {
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

func TestGroundKeys(t *testing.T) {
	ctx := context.Background()
	for _, p := range plans() {
		t.Run(p.name, func(t *testing.T) {
			tries := 0
			keys := p.grind(&tries)
			for _, order := range []string{"up", "down", "any"} {
				for _, size := range []int{0, 300} {
					keys := slices.Clone(keys)
					switch order {
					case "down":
						slices.Reverse(keys)
					case "any":
						rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
					}
					g := newGrove(t, &Memory{}, 0)
					tr := flush(t, apply(t, g.Empty(), honest(10_000, 300)...))
					before := g.Stats()
					for batch := range slices.Chunk(keys, 100) {
						var edits []Edit
						for _, k := range batch {
							edits = append(edits, Put(k, make([]byte, size)))
						}
						tr = flush(t, apply(t, tr, edits...))
					}
					n := float64(len(keys))
					s := g.Stats().Sub(before)
					levels := tr.root.sub.level
					t.Logf("%-5s %3d B: %.1f tries/key; per insert %.2f saved %.2f built %.2f visited, %.0f B saved; level %d nodes %d", order, size, float64(tries)/n, float64(s.Saved)/n, float64(s.Built)/n, float64(s.Visited)/n, float64(s.SavedBytes)/n, levels, len(nodesOf(t, tr)))
					for _, err := range tr.Audit(ctx) {
						if err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		})
	}
}
