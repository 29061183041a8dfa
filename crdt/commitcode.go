package crdt

import (
	"bytes"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// A commit as plaintext, a map of
//
//	 1 version      1
//	 2 secret       number of the database secret; absent: 0
//	 3 incarnation  8 bytes; with the author in the header, the actor
//	 4 seq          ≥ 1
//	 5 prev         ID of the actor's commit before; absent at seq 1, and if it is the
//	                only parent of the author and seq − 1
//	 6 parents      [actor, seq … flat] of the header's parents, in its order; absent
//	                if there is none, or only the actor's own commit before
//	 7 team         [ID …] team heads, sorted, 1–64
//	 8 time         ms
//	 9 actors       [40 bytes …] sorted, without the author; absent if empty
//	10 op blocks    number of linked blocks that hold the operations; absent: 0
//	11 values       number of linked value blocks; absent: 0
//	12 void         32 bytes; absent if no commit in its past is void
//	13 digest       32 bytes; absent only in a merge of the lowest 64 of more heads
//	14 ops          [operation …] in the order they were written; absent if there is
//	                none or they are linked
//
// The header's links are parents, operation blocks, value blocks, file roots.

// body is the plaintext of a commit taken apart.
type body struct {
	secret      uint64
	incarnation block.Incarnation
	seq         uint64
	prev        block.ID
	parents     []parent
	team        []block.ID
	time        wire.Time
	actors      []block.Actor
	ops         []byte
	opBlocks    int
	values      int
	void        [32]byte
	digest      [32]byte
	hasDigest   bool
}

type parent struct {
	actor int
	seq   uint64
}

const bodyVersion = 1

func (x *body) encode() []byte {
	n := uint64(5)
	for _, present := range []bool{
		x.secret != 0, !x.prev.IsZero(), len(x.parents) > 0, len(x.actors) > 0, len(x.ops) > 0,
		x.opBlocks > 0, x.values > 0, x.void != [32]byte{}, x.hasDigest,
	} {
		if present {
			n++
		}
	}
	b := make([]byte, 0, 160+34*len(x.team)+42*len(x.actors)+12*len(x.parents)+len(x.ops))
	b = appendUint(append(appendHead(b, majorMap, n), 1), bodyVersion)
	if x.secret != 0 {
		b = appendUint(append(b, 2), x.secret)
	}
	b = appendBytes(append(b, 3), x.incarnation[:])
	b = appendUint(append(b, 4), x.seq)
	if !x.prev.IsZero() {
		b = appendBytes(append(b, 5), x.prev[:])
	}
	if len(x.parents) > 0 {
		b = appendHead(append(b, 6), majorArray, 2*uint64(len(x.parents)))
		for _, p := range x.parents {
			b = appendUint(appendUint(b, uint64(p.actor)), p.seq)
		}
	}
	b = appendIDs(append(b, 7), x.team)
	b = appendUint(append(b, 8), uint64(x.time))
	if len(x.actors) > 0 {
		b = actorSet(x.actors).append(append(b, 9))
	}
	return x.appendTail(b)
}

func (x *body) appendTail(b []byte) []byte {
	if x.opBlocks > 0 {
		b = appendUint(append(b, 10), uint64(x.opBlocks))
	}
	if x.values > 0 {
		b = appendUint(append(b, 11), uint64(x.values))
	}
	if x.void != [32]byte{} {
		b = appendBytes(append(b, 12), x.void[:])
	}
	if x.hasDigest {
		b = appendBytes(append(b, 13), x.digest[:])
	}
	if len(x.ops) > 0 {
		b = append(append(b, 14), x.ops...)
	}
	return b
}

func appendIDs(b []byte, ids []block.ID) []byte {
	b = appendHead(b, majorArray, uint64(len(ids)))
	for i := range ids {
		b = appendBytes(b, ids[i][:])
	}
	return b
}

// ids reads a sorted list of distinct IDs.
func (r *reader) ids(limit int) []block.ID {
	n := r.array(limit)
	list := make([]block.ID, 0, min(n, len(r.b)/34+1))
	for i := range n {
		id := block.ID(r.bytes(32))
		if i > 0 && r.err == nil && bytes.Compare(list[i-1][:], id[:]) >= 0 {
			r.fail("ids are not sorted")
		}
		if r.err != nil {
			return nil
		}
		list = append(list, id)
	}
	return list
}

func (r *reader) hash() (h [32]byte) {
	h = [32]byte(r.bytes(32))
	if r.err == nil && h == [32]byte{} {
		r.fail("hash of zeros")
	}
	return h
}

// decodeBody reads a commit's plaintext; ops alias it.
func decodeBody(plain []byte) (*body, error) {
	if len(plain) > maxPlain {
		return nil, malformed("commit of %d bytes, at most %d", len(plain), maxPlain)
	}
	x := &body{}
	r := reader{b: plain}
	n, last, seen := r.pairs(14), uint64(0), uint64(0)
	for range n {
		k := r.key(&last)
		if r.err != nil {
			return nil, r.err
		}
		if k == 1 && r.uint(255) != bodyVersion {
			r.fail("commit of a newer version: upgrade toft")
		}
		seen |= 1 << min(k, 63)
		x.field(&r, k)
	}
	const must = 1<<1 | 1<<3 | 1<<4 | 1<<7 | 1<<8
	if r.err == nil && seen&must != must {
		r.fail("a field of the commit is absent")
	}
	if r.err == nil && x.opBlocks > 0 && len(x.ops) > 0 {
		r.fail("operations both in the commit and linked")
	}
	if r.err == nil && !x.hasDigest && (len(x.ops) > 0 || x.opBlocks > 0) {
		r.fail("a commit that changes something has a digest")
	}
	return x, r.end()
}

func (x *body) field(r *reader, k uint64) {
	switch k {
	case 1:
	case 2:
		x.secret = r.positive(1 << 16)
	case 3:
		x.incarnation = block.Incarnation(r.bytes(8))
	case 4:
		x.seq = r.positive(maxSeq)
	case 5:
		x.prev = block.ID(r.hash())
	case 6:
		x.readParents(r)
	case 7:
		if x.team = r.ids(MaxTeamHeads); r.err == nil && len(x.team) == 0 {
			r.fail("no team heads")
		}
	case 8:
		x.time = r.time()
	case 9:
		if x.actors = r.actors(MaxActors); r.err == nil && len(x.actors) == 0 {
			r.fail("empty actor table")
		}
	case 10:
		x.opBlocks = int(r.positive(MaxOpBlocks))
	case 11:
		x.values = int(r.positive(block.MaxLinks))
	case 12:
		x.void = r.hash()
	case 13:
		x.digest, x.hasDigest = r.hash(), true
	case 14:
		x.readOps(r)
	default:
		r.fail("unknown field %d of a commit", k)
	}
}

// positive reads 1…limit: a field whose zero is its absence.
func (r *reader) positive(limit uint64) uint64 {
	n := r.uint(limit)
	if r.err == nil && n == 0 {
		r.fail("zero that should be absent")
	}
	return n
}

func (x *body) readParents(r *reader) {
	n := r.array(2 * block.MaxParents)
	if r.err == nil && (n == 0 || n%2 != 0) {
		r.fail("parents")
	}
	for range n / 2 {
		x.parents = append(x.parents, parent{int(r.uint(MaxActors)), r.uint(maxSeq)})
	}
}

// readOps takes the rest: operations are the last field, and the commit decodes
// them when it knows what their indexes stand for.
func (x *body) readOps(r *reader) {
	x.ops, r.b = r.b, nil
	if len(x.ops) == 0 || len(x.ops) > MaxInlineOps {
		r.fail("%d bytes of operations in the commit, at most %d", len(x.ops), MaxInlineOps)
	}
}
