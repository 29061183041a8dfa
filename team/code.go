package team

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/toftdb/toft/block"
)

// Errors of [ParseCode], each with its own hint for the person who typed it.
var (
	// ErrCodeLetter: a character that is in no code.
	ErrCodeLetter = errors.New("not an invitation code")
	// ErrCodeTruncated: the end is missing.
	ErrCodeTruncated = errors.New("invitation code is cut off: copy all of it")
	// ErrCodeMistyped: complete, but the check does not fit.
	ErrCodeMistyped = errors.New("invitation code is mistyped: compare it again")
	// ErrCodeVersion: made by a newer Toft.
	ErrCodeVersion = errors.New("invitation code of a newer version: upgrade toft")
)

// Code is what an invitation looks like to people: text to copy, to read aloud or
// to scan.
//
//	version 1 | 0x80 if short
//	team id [:20] · invite id 8 · seed 16
//	device of one admitter 32 · n · n × (length · packed multiaddr)    not if short
//	check 4 = SHA-256 of all before it, [:4]
//
// in Crockford's base32 (0-9 A-Z without I L O U), upper case. Case, spaces and
// dashes do not matter, and O, I and L are read as 0, 1 and 1.
type Code struct {
	Team   [20]byte
	Invite block.InviteID
	Seed   [16]byte
	Device block.Device
	Addrs  [][]byte // ≤ MaxCodeAddrs, each ≤ MaxAddr bytes
	Short  bool     // without Device and Addrs
}

const (
	codeVersion  = 1
	codeShort    = 0x80
	codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	codePrefix   = "toft:join/"
	maxCodeText  = 4096 // a code has ≤ 600 characters; the rest is a person's spaces
)

// bytes returns the binary form without its check.
func (c Code) bytes() []byte {
	b := []byte{codeVersion}
	if c.Short {
		b[0] |= codeShort
	}
	b = append(b, c.Team[:]...)
	b = append(b, c.Invite[:]...)
	b = append(b, c.Seed[:]...)
	if !c.Short {
		b = append(b, c.Device[:]...)
		b = append(b, byte(len(c.Addrs)))
		for _, a := range c.Addrs {
			b = append(append(b, byte(len(a))), a...)
		}
	}
	return b
}

// String returns the code: 79 characters if short, about 150 otherwise. It holds
// the seed: whoever reads it can join.
func (c Code) String() string { return encodeChecked(c.bytes()) }

// encodeChecked appends the check to b and writes both in base32.
func encodeChecked(b []byte) string {
	sum := sha256.Sum256(b)
	var s strings.Builder
	acc, bits := 0, 0
	for _, x := range append(b, sum[:4]...) {
		acc, bits = acc<<8|int(x), bits+8
		for ; bits >= 5; bits -= 5 {
			s.WriteByte(codeAlphabet[acc>>(bits-5)&31])
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		s.WriteByte(codeAlphabet[acc<<(5-bits)&31])
	}
	return s.String()
}

// Link returns the code as toft:join/…, for links and QR codes.
func (c Code) Link() string { return codePrefix + c.String() }

// ParseCode reads a code or its link, as typed. Errors are ErrCodeLetter,
// ErrCodeTruncated, ErrCodeMistyped and ErrCodeVersion.
func ParseCode(s string) (Code, error) {
	if len(s) > maxCodeText {
		return Code{}, fmt.Errorf("%w: %d characters", ErrCodeLetter, len(s))
	}
	s = strings.TrimSpace(s)
	if len(s) >= len(codePrefix) && strings.EqualFold(s[:len(codePrefix)], codePrefix) {
		s = s[len(codePrefix):]
	}
	b, exact, err := decodeBase32(s)
	if err != nil {
		return Code{}, err
	}
	if len(b) == 0 {
		return Code{}, ErrCodeTruncated
	}
	if v := b[0] &^ codeShort; v != codeVersion {
		// A newer version keeps the check, so a mistyped first letter is told apart.
		if n := len(b) - 4; n < 1 || !exact || !checked(b[:n], b[n:]) {
			return Code{}, ErrCodeMistyped
		}
		return Code{}, fmt.Errorf("%w: version %d", ErrCodeVersion, v)
	}
	c, want := splitCode(b)
	switch {
	case want > len(b):
		return Code{}, ErrCodeTruncated
	case want < len(b) || !exact || !checked(b[:want-4], b[want-4:]):
		return Code{}, ErrCodeMistyped
	}
	if !c.Short {
		if err := c.Device.Check(); err != nil {
			return Code{}, fmt.Errorf("%w: %w", ErrCodeMistyped, err)
		}
	}
	return c, nil
}

func checked(b, sum []byte) bool {
	want := sha256.Sum256(b)
	return string(want[:4]) == string(sum)
}

// splitCode cuts the fields out of b and returns how many bytes the code needs,
// which is more than len(b) where the end is missing.
func splitCode(b []byte) (c Code, want int) {
	c.Short = b[0]&codeShort != 0
	pos := 1
	take := func(n int) []byte {
		from := pos
		pos += n
		if pos > len(b) {
			return nil
		}
		return b[from:pos]
	}
	copy(c.Team[:], take(20))
	copy(c.Invite[:], take(8))
	copy(c.Seed[:], take(16))
	if c.Short {
		return c, pos + 4
	}
	copy(c.Device[:], take(32))
	count := take(1)
	if count == nil {
		return c, pos + 4
	}
	if count[0] > MaxCodeAddrs {
		return c, 0 // mistyped
	}
	for range count[0] {
		size := take(1)
		if size == nil {
			break
		}
		if size[0] == 0 || size[0] > MaxAddr {
			return c, 0
		}
		c.Addrs = append(c.Addrs, append([]byte(nil), take(int(size[0]))...))
	}
	return c, pos + 4
}

// decodeBase32 reads letters, skipping spaces and dashes. exact is false if bits
// are left over that no encoder would have written.
func decodeBase32(s string) (b []byte, exact bool, err error) {
	acc, bits, n := 0, 0, 0
	for _, r := range s {
		switch {
		case r == ' ' || r == '-' || r == '\t' || r == '\n' || r == '\r':
			continue
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		}
		switch r {
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		v := strings.IndexRune(codeAlphabet, r)
		if v < 0 {
			return nil, false, fmt.Errorf("%w: it has the character %q", ErrCodeLetter, r)
		}
		n++
		acc, bits = acc<<5|v, bits+5
		if bits >= 8 {
			bits -= 8
			b = append(b, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	// Of 8 letters, 1, 3 and 6 encode no whole number of bytes.
	whole := n%8 != 1 && n%8 != 3 && n%8 != 6
	return b, whole && acc == 0, nil
}
