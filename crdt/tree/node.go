package tree

import (
	"bytes"
	"slices"
	"sort"

	"github.com/toftdb/toft/block"
)

// Hash names a node by what it holds: the keyed hash of its plaintext, in which
// children appear by their hashes. Equal trees have equal hashes, whatever keys
// their blocks are sealed under.
type Hash [32]byte

// Ref names a stored node: Hash to compare it, ID to fetch it.
type Ref struct {
	Hash Hash
	ID   block.ID
}

// Entry is what a tree holds under a key. Links are blocks the value refers to:
// the leaf's envelope names them, so that they are found without opening it. They
// are no part of what an entry means: entries that differ only in them are equal.
type Entry struct {
	Key   []byte // 1 to MaxKey bytes
	Value []byte // at most MaxValue bytes
	Links []block.ID
}

// item is one element of a node: an entry in a leaf, a child in an inner node. It
// never changes once it stands in a node.
type item struct {
	key   []byte // of the entry, or the last one below the child
	value []byte
	links []block.ID
	sub   *child // nil: an entry
	h     uint32 // what decides about key at the level where the item stands; of a root it says nothing
}

// child is a subtree seen from above.
type child struct {
	ref   Ref
	count uint64
	level int
	node  *node // set as long as the subtree is dirty, then ref is not
}

// node is a run of items. It never changes: what changes a tree makes new nodes.
type node struct {
	level int
	items []*item
	count uint64
	cost  int    // bytes of memory, for the cache
	dirty Amount // of this node and those below that are not stored yet
}

// Amount counts nodes and the bytes of memory they take.
type Amount struct{ Nodes, Bytes int }

func newEntry(e Entry, h uint32) *item {
	return &item{key: e.Key, value: e.Value, links: e.Links, h: h}
}

func (it *item) entry() Entry { return Entry{it.key, it.value, it.links} }

func (it *item) weight() int {
	if it.sub != nil {
		return len(it.key) + childCost
	}
	return len(it.key) + len(it.value) + linkCost*len(it.links) + entryCost
}

func weigh(items []*item) int {
	sum := 0
	for _, it := range items {
		sum += it.weight()
	}
	return sum
}

// same reports whether two items with one key mean the same.
func (it *item) same(o *item) bool {
	if it == o {
		return true
	}
	if it.sub == nil || o.sub == nil {
		return it.sub == o.sub && bytes.Equal(it.key, o.key) && bytes.Equal(it.value, o.value)
	}
	return it.sub.same(o.sub)
}

func (c *child) same(o *child) bool {
	if c.node != nil || o.node != nil {
		return c.node == o.node
	}
	return c.ref.Hash == o.ref.Hash
}

func sameItems(a, b []*item) bool { return slices.EqualFunc(a, b, (*item).same) }

// Memory taken by the structs of a node, an entry and a child, in bytes.
const (
	nodeMemory  = 96
	itemMemory  = 8 + 88
	childMemory = 88
)

// newNode makes a dirty node of a run.
func newNode(level int, items []*item) *node {
	n := &node{level: level, items: items}
	n.sum()
	n.dirty.Nodes++
	n.dirty.Bytes += n.cost
	return n
}

// sum adds up what stands below.
func (n *node) sum() {
	n.cost = nodeMemory
	for _, it := range n.items {
		n.cost += itemMemory + len(it.key) + len(it.value) + 32*len(it.links)
		if it.sub == nil {
			n.count++
			continue
		}
		n.cost += childMemory
		n.count += it.sub.count
		if d := it.sub.node; d != nil {
			n.dirty.Nodes += d.dirty.Nodes
			n.dirty.Bytes += d.dirty.Bytes
		}
	}
}

// find returns the index of the first item whose key is not below key.
func (n *node) find(key []byte) int {
	return sort.Search(len(n.items), func(i int) bool { return bytes.Compare(n.items[i].key, key) >= 0 })
}

// above returns the item that stands for a dirty node in the level above it.
func above(n *node) *item {
	it := &item{sub: &child{count: n.count, level: n.level, node: n}}
	if len(n.items) > 0 {
		it.key = n.items[len(n.items)-1].key
	}
	return it
}
