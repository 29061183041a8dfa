// Package wire is the one encoding of everything Toft stores, signs or sends:
// canonical CBOR, decoded strictly and within bounds.
//
// Canonical means RFC 8949 §4.2.1 (core deterministic encoding): shortest
// integers and floats, definite lengths, map keys sorted bytewise. Every value
// therefore has exactly one encoding, and a hash or a signature over the bytes
// is a hash or a signature over the value. [Decode] re-encodes what it read and
// compares: bytes that any other encoder could have written differently are
// refused, so two peers can never disagree about what was signed.
//
// Messages are Go structs with integer keys and omitted zero values:
//
//	type point struct {
//		X uint64 `cbor:"1,keyasint,omitempty"`
//		Y uint64 `cbor:"2,keyasint,omitempty"`
//	}
//
//	wire.Encode(point{X: 3})        // a1 01 03
//	wire.Decode[point](b, 16)       // at most 16 bytes
//
// An identity is a [32]byte field: a byte string of exactly that length, never
// left out, not even by omitempty. One that may be absent is a []byte whose length
// its room checks.
//
// The package knows no message of Toft; sizes and counts that belong to one
// message are checked by the room that owns it.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of any single message, whatever its kind. A room that knows better
// checks tighter ones after decoding; these keep the decoder itself from
// allocating what a peer asks for.
const (
	// MaxDepth is the deepest nesting of arrays and maps. Documents may be 64
	// deep and travel inside a commit, an op and a set.
	MaxDepth = 80
	// MaxItems bounds the elements of one array and the pairs of one map. The
	// largest honest one is a frontier of 65,536 actors.
	MaxItems = 65_536
)

// ErrTooLong is returned when the input exceeds the caller's byte bound.
var ErrTooLong = errors.New("message too long")

// ErrNotCanonical is returned for well-formed CBOR that is not in canonical form.
var ErrNotCanonical = errors.New("not in canonical form")

// codec pairs the one encoder with the one decoder.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// The modes are immutable once built; building them cannot fail for constant
// options, which the package test pins.
var std = newCodec()

func newCodec() codec {
	encOpts := cbor.CoreDetEncOptions()
	encOpts.IndefLength = cbor.IndefLengthForbidden
	encOpts.TagsMd = cbor.TagsForbidden
	encOpts.NilContainers = cbor.NilContainerAsEmpty
	encOpts.NaNConvert = cbor.NaNConvertReject
	encOpts.InfConvert = cbor.InfConvertReject
	encOpts.BigIntConvert = cbor.BigIntConvertReject
	enc, err := encOpts.EncMode()
	if err != nil {
		panic(fmt.Sprintf("wire: encoder options: %v", err))
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   MaxDepth,
		MaxArrayElements:  MaxItems,
		MaxMapPairs:       MaxItems,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
	}.DecMode()
	if err != nil {
		panic(fmt.Sprintf("wire: decoder options: %v", err))
	}
	return codec{enc: enc, dec: dec}
}

// Encode returns the canonical bytes of v. It fails only for values that have no
// canonical form here: NaN, infinities, channels, functions.
func Encode[T any](v T) ([]byte, error) {
	b, err := std.enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Must is Encode for values whose type cannot fail: structs of integers, byte
// strings and valid text. A panic here is a broken invariant of the caller.
func Must[T any](v T) []byte {
	b, err := Encode(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Decode reads exactly one value of type T from data, which must be canonical
// and at most limit bytes long, and nothing after it.
func Decode[T any](data []byte, limit int) (T, error) {
	var zero T
	if len(data) > limit {
		return zero, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(data), limit)
	}
	v, rest, err := DecodeFirst[T](data)
	if err != nil {
		return zero, err
	}
	if len(rest) != 0 {
		return zero, fmt.Errorf("%w: %d bytes after the value", ErrNotCanonical, len(rest))
	}
	return v, nil
}

// DecodeFirst reads one canonical value of type T from the front of data and
// returns what follows it. The caller has bounded len(data).
func DecodeFirst[T any](data []byte) (v T, rest []byte, err error) {
	var zero T
	rest, err = std.dec.UnmarshalFirst(data, &v)
	if err != nil {
		return zero, nil, fmt.Errorf("decode: %w", err)
	}
	again, err := std.enc.Marshal(v)
	if err != nil {
		return zero, nil, fmt.Errorf("decode: %w", err)
	}
	if !bytes.Equal(again, data[:len(data)-len(rest)]) {
		return zero, nil, ErrNotCanonical
	}
	return v, rest, nil
}

// AppendHead appends the head of one item in canonical form: its major type (RFC
// 8949 §3.1) and argument, in the shortest encoding. It is for rooms that write a
// hot format by hand; they check it against [Decode] in their tests.
func AppendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n <= math.MaxUint8:
		return append(b, m|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, m|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, m|27), n)
}

// Time is a moment in milliseconds since the Unix epoch, UTC. Valid times are
// 0 < t < 2^53, so that every JSON reader keeps them exact.
type Time int64

// MaxTime is the first time that is out of range.
const MaxTime Time = 1 << 53

// Valid reports whether t lies in the range a signed message may carry.
func (t Time) Valid() bool { return t > 0 && t < MaxTime }
