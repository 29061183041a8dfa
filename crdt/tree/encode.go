package tree

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// A node as bytes is canonical CBOR (RFC 8949 §4.2.1):
//
//	leaf   {2: [[key, value, links] …]}                     links: how many
//	inner  {1: level, 3: [[last key, hash, count, level] …]}
//	empty  {}                                               only as a root
//
// Block IDs stand in the envelope alone, in the order of the items: those of a
// leaf are the links of its entries one after another, child i of an inner node is
// link i. So the bytes are the same whatever keys the blocks below are sealed
// under, and clear and sealed links cannot disagree.
//
// The bytes are written and read by hand: a generic decoder took ten times as long
// as everything else in a Get. A fuzz test holds them against internal/wire.

// Major types of CBOR.
const (
	majorUint  = 0
	majorBytes = 2
	majorArray = 4
	majorMap   = 5
)

// Fields of a node.
const (
	fieldLevel    = 1
	fieldEntries  = 2
	fieldChildren = 3
)

func appendHead(b []byte, major byte, n uint64) []byte { return wire.AppendHead(b, major, n) }

func appendBytes(b, v []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(v))), v...) }

// encode returns the plaintext of a node and the blocks it links to. Every child
// has its ref.
func encode(n *node) (plain []byte, links []block.ID) {
	plain = make([]byte, 0, weigh(n.items)+nodeCost)
	if len(n.items) == 0 {
		return appendHead(plain, majorMap, 0), nil
	}
	if n.level == 0 {
		plain = appendHead(append(appendHead(plain, majorMap, 1), fieldEntries), majorArray, uint64(len(n.items)))
		for _, it := range n.items {
			plain = appendBytes(appendBytes(appendHead(plain, majorArray, 3), it.key), it.value)
			plain = appendHead(plain, majorUint, uint64(len(it.links)))
			links = append(links, it.links...)
		}
		return plain, links
	}
	plain = appendHead(append(appendHead(plain, majorMap, 2), fieldLevel), majorUint, uint64(n.level))
	plain = appendHead(append(plain, fieldChildren), majorArray, uint64(len(n.items)))
	links = make([]block.ID, 0, len(n.items))
	for _, it := range n.items {
		plain = appendBytes(appendBytes(appendHead(plain, majorArray, 4), it.key), it.sub.ref.Hash[:])
		plain = appendHead(appendHead(plain, majorUint, it.sub.count), majorUint, uint64(it.sub.level))
		links = append(links, it.sub.ref.ID)
	}
	return plain, links
}
