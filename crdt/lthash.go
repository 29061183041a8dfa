package crdt

import (
	"crypto/sha256"
	"encoding/binary"
)

// accumulator is an LtHash (Lewi, Kim, Maykov, Weis: "Securing Update Propagation
// with Homomorphic Hashing", 2019) of 1,024 lanes of 16 bits: the sum, lane by
// lane, of the expansions of all entries. Adding or removing an entry costs the
// same however many there are, and the order does not matter. Four lanes share a
// word.
type accumulator [256]uint64

const (
	laneHigh = 0x8000_8000_8000_8000
	laneLow  = 0x7fff_7fff_7fff_7fff
)

func (a *accumulator) add(x *[2048]byte) {
	for i := range a {
		v := binary.LittleEndian.Uint64(x[8*i:])
		a[i] = (a[i]&laneLow + v&laneLow) ^ (a[i]^v)&laneHigh
	}
}

func (a *accumulator) sub(x *[2048]byte) {
	for i := range a {
		v := binary.LittleEndian.Uint64(x[8*i:])
		a[i] = (a[i] | laneHigh - v&laneLow) ^ (a[i]^^v)&laneHigh
	}
}

// bytes returns the lanes as little-endian uint16.
func (a *accumulator) bytes() (b [2048]byte) {
	for i, v := range a {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return b
}

// load is the reverse of bytes.
func (a *accumulator) load(b *[2048]byte) {
	for i := range a {
		a[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
}

// digest is the SHA-256 of the lanes.
func (a *accumulator) digest() [32]byte {
	b := a.bytes()
	return sha256.Sum256(b[:])
}
