package tree

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The keys of all tests and vectors: what a member of the database knows, so that
// an attack can be prepared with them.
const (
	shapeKey = "toft tree test shape"
	nodeKey  = "toft tree test nodes"
)

// mac is HMAC-SHA-256 written out: tests call it millions of times, which makes it
// most of what they take. [TestMacIsHMAC] holds it against crypto/hmac.
func mac(key string) func([]byte) [32]byte {
	var in, out [64]byte
	copy(in[:], key)
	copy(out[:], key)
	for i := range in {
		in[i] ^= 0x36
		out[i] ^= 0x5c
	}
	return func(b []byte) [32]byte {
		inner := sha256.Sum256(append(append(make([]byte, 0, 512), in[:]...), b...))
		return sha256.Sum256(append(append(make([]byte, 0, 96), out[:]...), inner[:]...))
	}
}

func TestMacIsHMAC(t *testing.T) {
	for _, n := range []int{0, 1, 500, 5000} {
		h := hmac.New(sha256.New, []byte(shapeKey))
		h.Write(make([]byte, n))
		if got := mac(shapeKey)(make([]byte, n)); !bytes.Equal(got[:], h.Sum(nil)) {
			t.Errorf("%d bytes: %x", n, got)
		}
	}
}

func newGrove(t testing.TB, store Store, cacheBytes int) *Grove {
	t.Helper()
	g, err := New(Config{Shape: mac(shapeKey), NodeHash: mac(nodeKey), Store: store, CacheBytes: cacheBytes})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// failer is what the helpers need of testing.TB and *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must[T any](t failer) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%v", err)
		}
		return v
	}
}

func apply(t failer, tr *Tree, edits ...Edit) *Tree {
	t.Helper()
	return must[*Tree](t)(tr.Apply(context.Background(), edits))
}

func flush(t failer, tr *Tree) *Tree {
	t.Helper()
	return must[*Tree](t)(tr.Flush(context.Background()))
}

func root(t failer, tr *Tree) Hash {
	t.Helper()
	ref, ok := flush(t, tr).Root()
	if !ok {
		t.Fatalf("flushed tree is dirty")
	}
	return ref.Hash
}

// content reads a tree as a map.
func content(t failer, tr *Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	for e, err := range tr.Range(context.Background(), Span{}) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		out[string(e.Key)] = string(e.Value)
	}
	return out
}

// puts are the edits that make a map, sorted by key.
func puts(m map[string]string) []Edit {
	var out []Edit
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Put([]byte(k), []byte(m[k])))
	}
	return out
}

// naive builds the nodes of a map by the words of the format, without any of the
// cleverness of the package: whole levels, split recursively. It returns the nodes
// of every level as lists of last keys, and the root.
type naive struct {
	shape func([]byte) [32]byte
	nodes []string // "level: last keys of the items", every node, bottom up
	depth int
}

func (b *naive) build(m map[string]string) {
	var level []*item
	for _, k := range slices.Sorted(maps.Keys(m)) {
		level = append(level, newEntry(Entry{Key: []byte(k), Value: []byte(m[k])}, 0))
	}
	for l := 0; l == 0 || len(level) > 1; l++ {
		var up []*item
		for _, run := range b.runs(l, level) {
			if l > 0 && len(run) == 1 {
				up = append(up, run[0])
				continue
			}
			b.note(l, run)
			up = append(up, above(newNode(l, run)))
			b.depth = l
		}
		level = up
	}
}

func (b *naive) note(level int, run []*item) {
	line := fmt.Sprintf("%d:", level)
	for _, it := range run {
		line += fmt.Sprintf(" %x", it.key)
	}
	b.nodes = append(b.nodes, line)
}

// runs first ends a run at every key that ends one, then splits.
func (b *naive) runs(level int, items []*item) [][]*item {
	var out [][]*item
	var run []*item
	for _, it := range items {
		it.h = Shape(b.shape).at(it.key, level)
		run = append(run, it)
		if ends(level, it.h) {
			out, run = append(out, b.parts(level, run)...), nil
		}
	}
	if len(run) > 0 {
		out = append(out, b.parts(level, run)...)
	}
	return out
}

func (b *naive) parts(level int, run []*item) [][]*item {
	if len(run) == 1 || weigh(run) <= bound(level) {
		return [][]*item{run}
	}
	least := 0
	for i, it := range run[:len(run)-1] {
		if it.h < run[least].h || it.h == run[least].h && bytes.Compare(it.key, run[least].key) < 0 {
			least = i
		}
	}
	return append(b.parts(level, run[:least+1]), b.parts(level, run[least+1:])...)
}

// nodesIn visits all nodes of a tree, children first.
func nodesIn(t failer, tr *Tree) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		var visit func(it *item) bool
		visit = func(it *item) bool {
			n := must[*node](t)(tr.g.load(context.Background(), it))
			for _, below := range n.items {
				if below.sub != nil && !visit(below) {
					return false
				}
			}
			return yield(n)
		}
		if tr.Count() > 0 {
			visit(tr.root)
		}
	}
}

// nodesOf lists the nodes of a tree as naive does, in any order.
func nodesOf(t failer, tr *Tree) []string {
	t.Helper()
	var b naive
	for n := range nodesIn(t, tr) {
		b.note(n.level, n.items)
	}
	slices.Sort(b.nodes)
	return b.nodes
}

func naiveNodes(shape Shape, m map[string]string) []string {
	b := naive{shape: shape}
	if len(m) > 0 {
		b.build(m)
	}
	slices.Sort(b.nodes)
	return b.nodes
}

// anyKey draws keys that make ties, long ones and neighbours likely.
func anyKey() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 400), func(i int) string { return fmt.Sprintf("k%03d", i) }),
		rapid.StringN(1, 3, 8),
		rapid.Map(rapid.IntRange(1, 12), func(i int) string {
			return string(bytes.Repeat([]byte{byte('a' + i)}, 159*i+1))
		}),
	)
}

// anyValue draws values from nothing to more than a leaf.
func anyValue() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		size := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(200, 900), rapid.SampledFrom([]int{3000, 7000})).Draw(t, "size")
		return string(bytes.Repeat([]byte{byte(rapid.IntRange('a', 'c').Draw(t, "letter"))}, size))
	})
}

// anyShape draws a shape function: the keyed one, or one that an attacker who could
// grind without end would get: at every level hashes that are all equal, all small,
// rising or falling with the keys, or of few values.
func anyShape() *rapid.Generator[Shape] {
	honest := mac(shapeKey)
	kinds := []func(key []byte, h uint32) uint32{
		func(_ []byte, h uint32) uint32 { return h },
		func([]byte, uint32) uint32 { return 0 },
		func([]byte, uint32) uint32 { return 1 << 31 },
		func(key []byte, _ uint32) uint32 { return 1<<31 | prefix(key)>>1 },
		func(key []byte, _ uint32) uint32 { return ^prefix(key)>>1 | 1<<30 },
		func(_ []byte, h uint32) uint32 { return 1<<31 | h%5 },
		func(_ []byte, h uint32) uint32 { return h % 3 << 26 },
	}
	return rapid.Custom(func(t *rapid.T) Shape {
		var level [hashLevels]int
		for l := range level {
			if rapid.Bool().Draw(t, "ground") {
				level[l] = rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")
			}
		}
		return func(key []byte) [32]byte {
			h := honest(key)
			for l, k := range level {
				binary.BigEndian.PutUint32(h[4*l:], kinds[k](key, binary.BigEndian.Uint32(h[4*l:])))
			}
			return h
		}
	})
}

// prefix is a number that rises with the key.
func prefix(key []byte) uint32 {
	var b [8]byte
	copy(b[:], key)
	return uint32(binary.BigEndian.Uint64(b[:]) >> 26)
}

// world is a grove with a drawn shape, and a tree in it with a drawn content.
type world struct {
	g *Grove
	t *Tree
	m map[string]string
}

func anyWorld(t *rapid.T) world {
	t.Helper()
	g := must[*Grove](t)(New(Config{
		Shape: anyShape().Draw(t, "shape"), NodeHash: mac(nodeKey), Store: &Memory{},
		CacheBytes: rapid.SampledFrom([]int{1, 40_000, 1 << 20}).Draw(t, "cache"),
	}))
	m := map[string]string{}
	long := rapid.SampledFrom([]int{0, 0, 300, 1900}).Draw(t, "long")
	size := rapid.SampledFrom([]int{5, 300, 1500}).Draw(t, "size")
	for i := range rapid.OneOf(rapid.IntRange(0, 4), rapid.IntRange(0, 400)).Draw(t, "entries") {
		m[fmt.Sprintf("k%03d%s", i, strings.Repeat("x", long))] = strings.Repeat("v", size+i%7)
	}
	return world{g, kept(t, apply(t, g.Empty(), puts(m)...)), m}
}

// kept draws what happens to a tree between two edits: it stays dirty, it is stored,
// or it is found again by its root, after a restart.
func kept(t *rapid.T, tr *Tree) *Tree {
	t.Helper()
	switch rapid.SampledFrom([]string{"dirty", "flushed", "reopened"}).Draw(t, "kept") {
	case "dirty":
		return tr
	case "flushed":
		return flush(t, tr)
	}
	ref, _ := flush(t, tr).Root()
	return must[*Tree](t)(tr.g.Open(context.Background(), ref))
}

func anyMap(least, most int) *rapid.Generator[map[string]string] {
	return rapid.MapOfN(anyKey(), anyValue(), least, most)
}

// anyEdits draws a batch; it also makes the edits on the map. Some leave little of
// the tree, from which it grows again, or put only what comes after all of it: then
// a root gets neighbours, at whatever level it stands.
func anyEdits(t *rapid.T, m map[string]string) []Edit {
	var out []Edit
	put := func(k string) {
		m[k] = anyValue().Draw(t, "value")
		out = append(out, Put([]byte(k), []byte(m[k])))
	}
	del := func(k string) {
		delete(m, k)
		out = append(out, Delete([]byte(k)))
	}
	have := slices.Sorted(maps.Keys(m))
	switch rapid.SampledFrom([]string{"mixed", "shrink", "append"}).Draw(t, "batch") {
	case "shrink":
		from := rapid.IntRange(0, len(have)).Draw(t, "from")
		to := rapid.IntRange(from, min(len(have), from+4)).Draw(t, "to")
		for _, k := range slices.Concat(have[:from], have[to:]) {
			del(k)
		}
		return out
	case "append":
		last := ""
		if len(have) > 0 {
			last = have[len(have)-1]
		}
		for range rapid.IntRange(1, 3).Draw(t, "edits") {
			if last += rapid.StringN(1, 3, 8).Draw(t, "more"); len(last) <= MaxKey {
				put(last)
			}
		}
		return out
	}
	for range rapid.IntRange(1, 30).Draw(t, "edits") {
		k := anyKey().Draw(t, "key")
		if have := slices.Sorted(maps.Keys(m)); len(have) > 0 && rapid.Bool().Draw(t, "known") {
			k = rapid.SampledFrom(have).Draw(t, "known key")
		}
		if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
			del(k)
			continue
		}
		put(k)
	}
	return out
}
