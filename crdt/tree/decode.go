package tree

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
)

// ErrMalformed is returned for bytes that no tree contains: a node that is not in
// canonical form, breaks a bound, is cut where its keys do not end a node, or is
// not what its parent said.
var ErrMalformed = errors.New("malformed tree node")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// decode reads a node. It keeps plain and links: nothing else is allocated but
// what is bounded by their length.
func decode(shape Shape, plain []byte, links []block.ID) (*node, error) {
	if len(plain) > maxPlain {
		return nil, malformed("%d bytes, at most %d", len(plain), maxPlain)
	}
	r := reader{b: plain, links: links}
	n := &node{}
	fields := r.count(majorMap, 2, 1)
	field := uint64(0)
	if fields == 2 {
		if r.uint(fieldLevel) != fieldLevel {
			r.fail("level expected")
		}
		if n.level = int(r.uint(MaxLevel)); n.level == 0 {
			r.fail("level 0 is not written")
		}
	}
	if fields > 0 {
		field = r.uint(fieldChildren)
	}
	switch {
	case fields == 1 && field == fieldEntries:
		n.items = r.entries(shape)
	case fields == 2 && field == fieldChildren:
		n.items = r.children(shape, n.level)
	case fields != 0:
		r.fail("unknown field")
	}
	if len(r.b) != 0 {
		r.fail("%d bytes after the node", len(r.b))
	}
	if len(r.links) != 0 {
		r.fail("%d links that nothing refers to", len(r.links))
	}
	if r.err != nil {
		return nil, r.err
	}
	n.sum()
	return n, check(n)
}

// check holds a node against the rules that can be seen from it alone.
func check(n *node) error {
	last := len(n.items) - 1
	if n.level > 0 && last < 1 {
		return malformed("inner node of %d children", last+1)
	}
	if last > 0 && weigh(n.items) > bound(n.level) {
		return malformed("level %d: %d items of %d bytes in one node", n.level, last+1, weigh(n.items))
	}
	for i, it := range n.items {
		if i > 0 && bytes.Compare(n.items[i-1].key, it.key) >= 0 {
			return malformed("level %d: keys are not in order at item %d", n.level, i)
		}
		if i < last && ends(n.level, it.h) {
			return malformed("level %d: item %d should have ended the node", n.level, i)
		}
	}
	return nil
}

// claims holds a node against what its parent said of it.
func (it *item) claims(n *node) error {
	c := it.sub
	if n.level != c.level || n.count != c.count || len(n.items) == 0 || !bytes.Equal(lastKey(n.items), it.key) {
		return malformed("level %d with %d entries is not what its parent says (level %d, %d entries)", n.level, n.count, c.level, c.count)
	}
	return nil
}

// reader takes a node apart. The first breach sticks, and then all reads are zero.
type reader struct {
	b     []byte
	links []block.ID
	err   error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.b, r.links = nil, nil
}

// head reads the head of a value of the given type, in its shortest form.
func (r *reader) head(major byte) uint64 {
	if len(r.b) == 0 || r.b[0]>>5 != major {
		r.fail("CBOR type %d expected", major)
		return 0
	}
	info := r.b[0] & 31
	if info < 24 {
		r.b = r.b[1:]
		return uint64(info)
	}
	size := 1 << (info - 24)
	if info > 27 || len(r.b) <= size {
		r.fail("bytes end early, or length is indefinite")
		return 0
	}
	n := uint64(0)
	for _, c := range r.b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	if n < 24 || size > 1 && n>>(4*size) == 0 {
		r.fail("number is not in its shortest form")
		return 0
	}
	r.b = r.b[1+size:]
	return n
}

func (r *reader) uint(limit uint64) uint64 {
	n := r.head(majorUint)
	if n > limit {
		r.fail("number %d, at most %d", n, limit)
		return 0
	}
	return n
}

// count reads how many elements follow, each of at least size bytes.
func (r *reader) count(major byte, limit, size int) int {
	n := r.head(major)
	if n > uint64(limit) || int(n)*size > len(r.b) {
		r.fail("%d elements are too many", n)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(least, most int) []byte {
	n := r.head(majorBytes)
	if r.err == nil && (n < uint64(least) || n > uint64(most) || n > uint64(len(r.b))) {
		r.fail("byte string of %d bytes", n)
	}
	if r.err != nil {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) tuple(size uint64) {
	if n := r.head(majorArray); r.err == nil && n != size {
		r.fail("item of %d fields", n)
	}
}

func (r *reader) take(n uint64) []block.ID {
	if n > uint64(len(r.links)) {
		r.fail("%d links where %d are left", n, len(r.links))
	}
	if r.err != nil || n == 0 {
		return nil
	}
	ids := r.links[:n:n]
	r.links = r.links[n:]
	return ids
}

func (r *reader) items() (slab []item, list []*item) {
	n := r.count(majorArray, maxItems, 4)
	if r.err == nil && n == 0 {
		r.fail("no items")
	}
	slab, list = make([]item, n), make([]*item, n)
	for i := range slab {
		list[i] = &slab[i]
	}
	return slab, list
}

func (r *reader) entries(shape Shape) []*item {
	slab, list := r.items()
	for i := range slab {
		it := &slab[i]
		r.tuple(3)
		it.key, it.value = r.bytes(1, MaxKey), r.bytes(0, MaxValue)
		it.links = r.take(r.uint(MaxLinks))
		if r.err != nil {
			return nil
		}
		it.h = shape.at(it.key, 0)
	}
	return list
}

func (r *reader) children(shape Shape, level int) []*item {
	slab, list := r.items()
	subs := make([]child, len(slab))
	for i := range slab {
		it, sub := &slab[i], &subs[i]
		r.tuple(4)
		it.key = r.bytes(1, MaxKey)
		copy(sub.ref.Hash[:], r.bytes(32, 32))
		sub.count, sub.level = r.uint(maxCount/maxItems), int(r.uint(uint64(level-1)))
		if id := r.take(1); r.err == nil {
			sub.ref.ID = id[0]
		}
		if r.err == nil && sub.count == 0 {
			r.fail("child of no entries")
		}
		if r.err != nil {
			return nil
		}
		it.sub, it.h = sub, shape.at(it.key, level)
	}
	return list
}
