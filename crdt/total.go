package crdt

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

// total is a sum of increments, exact to 128 bits: an actor makes fewer than 2^37
// increments of 64 bits, and a document sums fewer than 2^17 actors.
type total struct {
	hi int64
	lo uint64
}

// maxTotalHi bounds what an operation may claim: |total| < 2^100.
const maxTotalHi = 1 << 36

func totalOf(n int64) total { return total{hi: n >> 63, lo: uint64(n)} }

func (t total) add(o total) total {
	lo, carry := bits.Add64(t.lo, o.lo, 0)
	return total{hi: t.hi + o.hi + int64(carry), lo: lo}
}

func (t total) sub(o total) total {
	lo, borrow := bits.Sub64(t.lo, o.lo, 0)
	return total{hi: t.hi - o.hi - int64(borrow), lo: lo}
}

func (t total) less(o total) bool { return t.hi < o.hi || t.hi == o.hi && t.lo < o.lo }

func (t total) bounded() bool { return t.hi >= -maxTotalHi && t.hi < maxTotalHi }

// small reports whether t is an int64.
func (t total) small() bool { return t.hi == int64(t.lo)>>63 }

// clamp returns t as an int64, the nearest one if it is beyond.
func (t total) clamp() int64 {
	switch {
	case t.small():
		return int64(t.lo)
	case t.hi < 0:
		return -1 << 63
	}
	return 1<<63 - 1
}

// float returns the float64 nearest to t.
func (t total) float() float64 {
	if t.small() {
		return float64(int64(t.lo))
	}
	n := new(big.Int).Lsh(big.NewInt(t.hi), 64)
	f, _ := new(big.Float).SetInt(n.Add(n, new(big.Int).SetUint64(t.lo))).Float64()
	return f
}

// append writes t: an integer if it is an int64, else 16 bytes, two's complement,
// most significant first.
func (t total) append(b []byte) []byte {
	if t.small() {
		return appendInt(b, int64(t.lo))
	}
	b = binary.BigEndian.AppendUint64(appendHead(b, majorBytes, 16), uint64(t.hi))
	return binary.BigEndian.AppendUint64(b, t.lo)
}

func (r *reader) total() total {
	if len(r.b) == 0 || r.b[0]>>5 != majorBytes {
		return totalOf(r.int())
	}
	raw := r.bytes(16)
	t := total{hi: int64(binary.BigEndian.Uint64(raw)), lo: binary.BigEndian.Uint64(raw[8:])}
	if r.err == nil && (t.small() || !t.bounded()) {
		r.fail("counter total out of range or not in its shortest form")
	}
	return t
}
