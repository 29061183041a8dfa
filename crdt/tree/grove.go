package tree

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/toftdb/toft/block"
)

// ErrMissing is what a Store returns for a node it does not hold.
var ErrMissing = errors.New("tree node is missing: fetch it or rebuild the tree")

// Node is a node as it is stored: its plaintext, the hash of that, and the blocks
// it links to, in the order in which its envelope must name them.
type Node struct {
	Hash  Hash
	Plain []byte
	Links []block.ID
}

// Store keeps nodes: it seals what it saves and opens what it loads. It is called
// from whichever goroutine uses a tree.
type Store interface {
	// Load returns the plaintext of a node and its links; the caller keeps both. A
	// store may go by either half of ref. ErrMissing: it is not there.
	Load(ctx context.Context, ref Ref) (plain []byte, links []block.ID, err error)
	// Save stores a node and returns the ID of its block. It must not change or keep
	// n. A store that holds the hash already may return the ID it has.
	Save(ctx context.Context, n Node) (block.ID, error)
}

// Config is what trees of one kind share. Two replicas that shall have equal roots
// must agree in Shape and NodeHash, and in nothing else.
type Config struct {
	// Shape decides where nodes end.
	Shape Shape
	// NodeHash is a collision-resistant function of a node's plaintext; keyed, so
	// that a hash shown to outsiders says nothing about what it names.
	NodeHash func(plain []byte) [32]byte
	Store    Store
	// CacheBytes bounds the memory of decoded nodes; 0 means 16 MiB. The inner nodes of
	// a million entries take about 18 MiB, and half of the cache may be cold: with
	// 16 MiB a random Get among so many loads 1.6 nodes. A smaller cache costs loads,
	// never correctness.
	CacheBytes int
}

// Grove is where the trees of one key grow: they share a store, a cache and
// counters, and nodes where they are equal. It is safe for concurrent use.
type Grove struct {
	shape    Shape
	nodeHash func([]byte) [32]byte
	store    Store
	cache    *cache
	counters counters
}

// New returns the grove of a config. Shape, NodeHash and Store must be given.
func New(c Config) (*Grove, error) {
	if c.Shape == nil || c.NodeHash == nil || c.Store == nil {
		return nil, errors.New("tree: Shape, NodeHash and Store must be set")
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	return &Grove{shape: c.Shape, nodeHash: c.NodeHash, store: c.Store, cache: newCache(c.CacheBytes)}, nil
}

// Stats counts work since the grove was made; a difference of two says what one
// operation cost.
type Stats struct {
	Visited uint64 // nodes looked into, wherever they came from
	Loaded  uint64 // nodes read from the store
	Built   uint64 // nodes made in memory by Apply
	Saved   uint64 // nodes written to the store
	// LoadedBytes and SavedBytes are plaintext.
	LoadedBytes, SavedBytes uint64
}

type counters struct {
	visited, loaded, built, saved, loadedBytes, savedBytes atomic.Uint64
}

// Stats returns the counters.
func (g *Grove) Stats() Stats {
	c := &g.counters
	return Stats{c.visited.Load(), c.loaded.Load(), c.built.Load(), c.saved.Load(), c.loadedBytes.Load(), c.savedBytes.Load()}
}

// Sub returns what was added to the counters since an earlier reading.
func (s Stats) Sub(o Stats) Stats {
	return Stats{s.Visited - o.Visited, s.Loaded - o.Loaded, s.Built - o.Built, s.Saved - o.Saved, s.LoadedBytes - o.LoadedBytes, s.SavedBytes - o.SavedBytes}
}

// Empty returns the tree that holds nothing.
func (g *Grove) Empty() *Tree { return &Tree{g: g, root: above(newNode(0, nil))} }

// Open returns the stored tree with the given root. It loads the root node alone.
// Whether the tree below is a proper one is not known before it is read: every node
// is held against its hash and its parent as it is loaded, but only
// [Tree.Audit] says that the root is the root of the entries.
func (g *Grove) Open(ctx context.Context, root Ref) (*Tree, error) {
	n, err := g.fetch(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	it := above(n)
	it.sub.ref, it.sub.node = root, nil
	return &Tree{g: g, root: it}, nil
}

// load returns the node below an item.
func (g *Grove) load(ctx context.Context, it *item) (*node, error) {
	if n := it.sub.node; n != nil {
		g.counters.visited.Add(1)
		return n, nil
	}
	n, err := g.fetch(ctx, it.sub.ref)
	if err != nil {
		return nil, err
	}
	// An empty tree has an item without keys, and no parent that could claim anything.
	if it.sub.count == 0 && n.count == 0 {
		return n, nil
	}
	// The cache may have it from a parent that told the truth.
	return n, it.claims(n)
}

// fetch returns a stored node, from the cache if it is there.
func (g *Grove) fetch(ctx context.Context, ref Ref) (*node, error) {
	g.counters.visited.Add(1)
	if n := g.cache.get(ref.Hash); n != nil {
		return n, nil
	}
	n, err := g.stored(ctx, ref)
	if err == nil {
		g.cache.put(ref.Hash, n)
	}
	return n, err
}

// stored returns a node from the store.
func (g *Grove) stored(ctx context.Context, ref Ref) (*node, error) {
	plain, links, err := g.store.Load(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("load node %x (%s): %w", ref.Hash[:8], ref.ID, err)
	}
	g.counters.loaded.Add(1)
	g.counters.loadedBytes.Add(uint64(len(plain)))
	return g.read(ref, plain, links)
}

// read holds bytes against the hash they came for, and decodes them.
func (g *Grove) read(ref Ref, plain []byte, links []block.ID) (*node, error) {
	if len(plain) > maxPlain {
		return nil, malformed("node %s: %d bytes, at most %d", ref.ID, len(plain), maxPlain)
	}
	if h := Hash(g.nodeHash(plain)); h != ref.Hash {
		return nil, malformed("node %s has hash %x, its parent says %x", ref.ID, h[:8], ref.Hash[:8])
	}
	n, err := decode(g.shape, plain, links)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", ref.ID, err)
	}
	return n, nil
}

// lift returns the item that stands for a run in the level above: a node, or, for
// a run of one child, that child itself.
func (g *Grove) lift(level int, run []*item) *item {
	it := run[0]
	if level == 0 || len(run) > 1 {
		g.counters.built.Add(1)
		it = above(newNode(level, run))
	}
	return g.shape.stand(it, level+1)
}
