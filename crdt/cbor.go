package crdt

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/toftdb/toft/internal/wire"
)

// The canonical CBOR of documents and operations is written and read by hand:
// [wire] decodes into structs and re-encodes to compare, which for a value of any
// shape costs several times what applying it does. The rules are the same (RFC
// 8949 §4.2.1), and a test holds the two encoders against each other.

// Major types.
const (
	majorUint  = 0
	majorNeg   = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorOther = 7
)

const (
	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
	cborF16   = 0xf9
	cborF32   = 0xfa
	cborF64   = 0xfb
)

func appendHead(b []byte, major byte, n uint64) []byte { return wire.AppendHead(b, major, n) }

func appendUint(b []byte, n uint64) []byte { return appendHead(b, majorUint, n) }

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNeg, uint64(^n))
	}
	return appendHead(b, majorUint, uint64(n))
}

func appendBytes(b, v []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(v))), v...) }

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// appendFloat writes a finite float in the shortest form that keeps it; −0 is 0.
func appendFloat(b []byte, f float64) []byte {
	if f == 0 {
		return append(b, cborF16, 0, 0)
	}
	s := float32(f)
	if float64(s) != f {
		return binary.BigEndian.AppendUint64(append(b, cborF64), math.Float64bits(f))
	}
	if h, ok := half(s); ok {
		return binary.BigEndian.AppendUint16(append(b, cborF16), h)
	}
	return binary.BigEndian.AppendUint32(append(b, cborF32), math.Float32bits(s))
}

// half returns the IEEE 754 binary16 form of f if it is exact.
func half(f float32) (uint16, bool) {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	exp, man := int(bits>>23&0xff)-127, bits&0x7f_ffff
	switch {
	case exp >= -14 && exp <= 15 && man&0x1fff == 0:
		return sign | uint16(exp+15)<<10 | uint16(man>>13), true
	case exp >= -24 && exp < -14: // subnormal: units of 2^-24
		man |= 1 << 23
		shift := uint(-exp - 1)
		if man&(1<<shift-1) == 0 {
			return sign | uint16(man>>shift), true
		}
	}
	return 0, false
}

// unhalf is the value of a binary16; ok is false for infinities and NaN.
func unhalf(h uint16) (f float64, ok bool) {
	exp, man := int(h>>10&0x1f), float64(h&0x3ff)
	switch exp {
	case 0:
		f = math.Ldexp(man, -24)
	case 31:
		return 0, false
	default:
		f = math.Ldexp(man+1024, exp-25)
	}
	if h&0x8000 != 0 {
		f = -f
	}
	return f, true
}

// reader takes canonical CBOR apart. The first breach sticks in err and every
// later call returns zeros, so that callers check once, at the end. Nothing it
// returns is longer than what it was given; slices alias the input.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.b = nil
}

// head reads one initial byte and its argument, in shortest form.
func (r *reader) head() (major byte, n uint64) {
	if len(r.b) == 0 {
		r.fail("bytes end early")
		return 0, 0
	}
	first := r.b[0]
	major, info := first>>5, first&31
	if info < 24 {
		r.b = r.b[1:]
		return major, uint64(info)
	}
	size := 1 << (info - 24)
	if info > 27 || len(r.b) < 1+size {
		r.fail("bytes end early or are of indefinite length")
		return 0, 0
	}
	for _, c := range r.b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	if n < 24 || size > 1 && n>>(4*size) == 0 {
		r.fail("number is not in its shortest form")
		return 0, 0
	}
	r.b = r.b[1+size:]
	return major, n
}

func (r *reader) want(major byte, what string) uint64 {
	m, n := r.head()
	if r.err == nil && m != major {
		r.fail("expected %s", what)
		return 0
	}
	return n
}

// uint reads an unsigned integer of at most limit.
func (r *reader) uint(limit uint64) uint64 {
	n := r.want(majorUint, "an unsigned integer")
	if n > limit {
		r.fail("number %d is beyond %d", n, limit)
		return 0
	}
	return n
}

// int reads an integer of int64 range.
func (r *reader) int() int64 {
	m, n := r.head()
	if r.err != nil {
		return 0
	}
	if m > majorNeg || n > math.MaxInt64 {
		r.fail("expected an integer of 64 bits")
		return 0
	}
	if m == majorNeg {
		return ^int64(n)
	}
	return int64(n)
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("bytes end early")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// bytes reads a byte string of exactly size bytes.
func (r *reader) bytes(size int) []byte {
	n := r.want(majorBytes, "a byte string")
	if r.err == nil && n != uint64(size) {
		r.fail("byte string of %d bytes, want %d", n, size)
	}
	if r.err != nil {
		return make([]byte, size)
	}
	v := r.take(n)
	if r.err != nil {
		return make([]byte, size)
	}
	return v
}

// text reads a text of at most limit bytes of valid UTF-8.
func (r *reader) text(limit int) string { return string(r.textBytes(limit)) }

func (r *reader) textBytes(limit int) []byte {
	n := r.want(majorText, "a text")
	if n > uint64(limit) {
		r.fail("text of %d bytes, at most %d", n, limit)
	}
	if r.err != nil {
		return nil
	}
	v := r.take(n)
	if !utf8.Valid(v) {
		r.fail("text is not UTF-8")
		return nil
	}
	return v
}

// array reads the head of an array of at most limit elements. No more elements
// than bytes are left can follow, so what the caller allocates is bounded twice.
func (r *reader) array(limit int) int { return r.count(majorArray, "an array", limit) }

// pairs reads the head of a map of at most limit pairs.
func (r *reader) pairs(limit int) int { return r.count(majorMap, "a map", limit) }

func (r *reader) count(major byte, what string, limit int) int {
	n := r.want(major, what)
	if n > uint64(limit) || n > uint64(len(r.b)) {
		r.fail("%s of %d elements is too long", what, n)
		return 0
	}
	return int(n)
}

// key reads the next integer key of a map of fields; it must be greater than
// last, which makes the order canonical and a duplicate impossible.
func (r *reader) key(last *uint64) uint64 {
	k := r.uint(math.MaxUint32)
	if r.err == nil && k <= *last {
		r.fail("fields are not sorted")
		return 0
	}
	*last = k
	return k
}

// end fails if anything is left, and returns the first error.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail("%d bytes after the end", len(r.b))
	}
	return r.err
}

// float reads the argument of a float head (info 25, 26 or 27) in shortest form.
func (r *reader) float() float64 {
	first := r.b[0]
	size := 2 << (first - cborF16)
	raw := r.take(1 + uint64(size))
	if r.err != nil {
		return 0
	}
	var f float64
	ok := true
	switch first {
	case cborF16:
		f, ok = unhalf(binary.BigEndian.Uint16(raw[1:]))
	case cborF32:
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(raw[1:])))
	default:
		f = math.Float64frombits(binary.BigEndian.Uint64(raw[1:]))
	}
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		r.fail("NaN or infinity")
		return 0
	}
	var buf [9]byte
	if string(appendFloat(buf[:0], f)) != string(raw) {
		r.fail("float is not in its shortest form")
		return 0
	}
	return f
}
