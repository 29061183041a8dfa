package tree

import "github.com/toftdb/toft/block"

// Sizes and bounds of a tree, each with its reason. Those that decide about the
// shape are part of the format: change one and every root changes.
const (
	// LeafMean and InnerMean are how many entries and children stand in a node on
	// average where sizes allow: one key in LeafMean ends a leaf.
	LeafMean  = 32
	InnerMean = 64
	// LeafBytes and InnerBytes bound the plaintext of a node that holds more than
	// one item. A leaf is what one changed entry costs to seal, store and send; an
	// inner node is larger because it stays cached.
	LeafBytes  = 6 << 10
	InnerBytes = 8 << 10

	// MaxKey is the longest key in bytes: a document id of 1,024 bytes with what an
	// index puts before it. Any four children fit into one inner node, so every level
	// is shorter than the one below, whatever the hashes.
	MaxKey = 1920
	// MaxValue is the largest value in bytes. An entry too large for LeafBytes has a
	// leaf to itself; larger data belongs into blocks of its own, which it links.
	MaxValue = 64 << 10
	// MaxLinks bounds the blocks one leaf may link to: its envelope names them.
	MaxLinks = block.MaxLinks
	// MaxLevel is the highest level of a node. With 10,000 entries, keys of up to 64
	// bytes reach level 3, random keys of 1,024 bytes level 6, of MaxKey bytes level 9;
	// ten times as many add one, two or three.
	MaxLevel = 31

	// maxItems bounds the items of a node; LeafBytes is reached before.
	maxItems = 1024
	// maxPlain bounds the plaintext of any node: one entry of the largest size.
	maxPlain = MaxKey + MaxValue + entryCost + nodeCost
	// maxCount keeps subtree counts exact in every JSON reader, and sums of them
	// from overflowing.
	maxCount = 1 << 53
)

// What an item weighs beyond its keys and its value: the most its CBOR can take.
// Weights are not exact sizes so that a count or a length that needs one more byte
// moves no cut.
const (
	entryCost = 12 // array 1, key head 3, value head 5, links 3
	linkCost  = 32 // a link costs the envelope its block ID
	childCost = 49 // array 1, key head 3, hash 34, count 9, level 2
	nodeCost  = 8  // map 1, level 3, field 1, array head 3
)

// bound is the most that the items of one node at a level may weigh together.
func bound(level int) int {
	if level == 0 {
		return LeafBytes - nodeCost
	}
	return InnerBytes - nodeCost
}
