package block

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// Secret is 32 bytes that must never be printed, logged or compared with ==:
// every text form is REDACTED, and the type is not comparable. It lives here
// because secrets cross rooms (a team link carries a database's secret from one
// device to another) although only internal/vault uses them. The zero Secret is
// unset.
type Secret struct {
	_ [0]func() // not comparable
	// fmt cannot call methods on unexported fields: a Secret inside somebody's
	// struct would print its bytes, and one pointer is followed by verbs that do not
	// fit it (%s, %d). Of two, it prints the address.
	b **[32]byte
}

// NewSecret copies 32 bytes.
func NewSecret(b []byte) (Secret, error) {
	if len(b) != 32 {
		return Secret{}, fmt.Errorf("%w: secret of %d bytes, want 32", ErrIdentity, len(b))
	}
	own := new([32]byte)
	copy(own[:], b)
	return Secret{b: &own}, nil
}

// Reveal returns a copy of the 32 bytes, zeros if unset.
func (s Secret) Reveal() []byte {
	out := make([]byte, 32)
	if s.b != nil {
		copy(out, (*s.b)[:])
	}
	return out
}

// IsZero reports whether the secret is unset.
func (s Secret) IsZero() bool { return s.b == nil || **s.b == [32]byte{} }

// Equal compares in constant time.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare(s.Reveal(), o.Reveal()) == 1
}

const redacted = "REDACTED"

// String keeps the bytes out of every log, error and dump, as do the methods below.
func (s Secret) String() string { return redacted }

// GoString is what %#v prints.
func (s Secret) GoString() string { return redacted }

// Format answers every verb, so that %x and %d show nothing either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is what slog writes.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText fails: a secret in JSON is a mistake to be noticed.
func (s Secret) MarshalText() ([]byte, error) { return nil, errors.New("a secret has no text form") }

// MarshalCBOR writes a byte string of 32: links carry secrets inside sealed layers.
func (s Secret) MarshalCBOR() ([]byte, error) {
	return append([]byte{0x58, 0x20}, s.Reveal()...), nil
}

// UnmarshalCBOR reads what MarshalCBOR writes and nothing else.
func (s *Secret) UnmarshalCBOR(data []byte) error {
	if len(data) != 34 || data[0] != 0x58 || data[1] != 0x20 {
		return errors.New("secret is not a byte string of 32")
	}
	var err error
	*s, err = NewSecret(data[2:])
	return err
}
