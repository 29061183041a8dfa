package tree

import (
	"bytes"
	"encoding/binary"
)

// hashLevels is how many levels the 32 bytes of a shape hash serve. Above them no
// key ends a node by itself; size alone decides.
const hashLevels = 8

// Shape decides where nodes end: a keyed pseudo-random function of a key, such as
// HMAC-SHA-256. Level l reads bytes 4l…4l+3 as a big-endian number. It must be
// keyed with a secret, or anybody can choose keys that make a bad tree; for those
// who know the secret the package bounds the harm (see attack_test.go).
type Shape func(key []byte) [32]byte

// at is what decides about key at a level. Above level 7 the bytes are used once
// more: there they only say which of two cuts comes first.
func (s Shape) at(key []byte, level int) uint32 {
	h := s(key)
	return binary.BigEndian.Uint32(h[4*(level%hashLevels):])
}

// stand returns an item as it stands at a level. Every way from one level to another
// goes through here: an item that keeps the hash of another level moves cuts.
func (s Shape) stand(it *item, level int) *item {
	moved := *it
	moved.h = s.at(it.key, level)
	return &moved
}

// ends reports whether a key with hash h ends a node at a level by itself.
func ends(level int, h uint32) bool {
	switch {
	case level == 0:
		return h < 1<<32/LeafMean
	case level < hashLevels:
		return h < 1<<32/InnerMean
	}
	return false
}

// less is the order in which cuts are made: by hash, ties by key.
func (it *item) less(o *item) bool {
	return it.h < o.h || it.h == o.h && bytes.Compare(it.key, o.key) < 0
}

// cuts says after which items of a sequence a node ends, the last one left out.
//
// The rule is: a key ends a node by itself if its hash is small; a run that is
// still too heavy is split after the item with the least hash (the last one left
// out), and so are the parts. So the item with the least hash of all that are not
// yet separated goes first, and whether it cuts depends only on what lies between
// the next smaller hashes on both sides of it:
//
//	hash     3   9   7   5   8   6   4        (smaller = cut earlier)
//	                     ↑
//	            └────────┴───────────┘        between 3 and 4: do these weigh too much?
//
// That is why a change cannot move cuts farther than a node's weight away, and why
// a region between two known cuts can be settled alone: left is the cut before it
// (nil: the sequence starts here), and closed says that its last item is a cut
// too (and not the end of the sequence). An item that would be cut before one of
// those, with nothing smaller in between, is a cut: what it would have to hold
// together includes what was too heavy for the other. See [TestCutsAreTheRecursiveRule].
func cuts(level int, items []*item, left *item, closed bool) []int {
	n := len(items)
	if n < 2 {
		return nil
	}
	sums := make([]int, n+1)
	for i, it := range items {
		sums[i+1] = sums[i] + it.weight()
	}
	is := make([]bool, n)
	// decide about item k, where before and after are the nearest smaller ones.
	decide := func(k, before, after int) {
		it := items[k]
		switch {
		case k == n-1:
		case ends(level, it.h), before < 0 && left != nil && it.less(left), after == n && closed:
			is[k] = true
		default:
			is[k] = sums[min(after, n-1)+1]-sums[before+1] > bound(level)
		}
	}
	var stack []int // of items whose next smaller one is not seen yet, hashes rising
	below := func(s []int) int {
		if len(s) == 0 {
			return -1
		}
		return s[len(s)-1]
	}
	for i := 0; i <= n; i++ {
		for len(stack) > 0 && (i == n || items[i].less(items[below(stack)])) {
			k := below(stack)
			stack = stack[:len(stack)-1]
			decide(k, below(stack), i)
		}
		stack = append(stack, i)
	}
	var out []int
	for i, cut := range is {
		if cut {
			out = append(out, i)
		}
	}
	return out
}

// split takes a sequence apart after the given items.
func split(items []*item, cuts []int) [][]*item {
	out := make([][]*item, 0, len(cuts)+1)
	from := 0
	for _, c := range cuts {
		out = append(out, items[from:c+1:c+1])
		from = c + 1
	}
	return append(out, items[from:len(items):len(items)])
}

// joins reports whether cut c, between runs that weigh a and b, must go: it was
// made only because of weight, it comes after both of its neighbours (nil: the
// sequence begins or ends there), and now the two runs fit into one. Any other cut
// stays as long as its neighbours do: next to a later cut, what was too heavy for
// that one includes what lies around this one.
func joins(level int, before, c, after *item, a, b int) bool {
	return !ends(level, c.h) && (before == nil || before.less(c)) && (after == nil || after.less(c)) && a+b <= bound(level)
}
