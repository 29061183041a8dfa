package block

import (
	"errors"
	"fmt"
	"log/slog"
)

// Secret is 32 bytes that must never be printed, logged or compared with ==:
// every text form is REDACTED, and the type is not comparable. It lives here
// because secrets cross rooms (a team link carries a database's secret from one
// device to another) although only internal/vault uses them.
type Secret struct {
	_ [0]func() // not comparable
	b [32]byte
}

// NewSecret copies 32 bytes.
func NewSecret(b []byte) (Secret, error) {
	if len(b) != 32 {
		return Secret{}, fmt.Errorf("%w: secret of %d bytes, want 32", ErrIdentity, len(b))
	}
	return Secret{b: [32]byte(b)}, nil
}

// Reveal returns a copy of the bytes.
func (s Secret) Reveal() []byte { return append([]byte(nil), s.b[:]...) }

// IsZero reports whether the secret is unset.
func (s Secret) IsZero() bool { return s.b == [32]byte{} }

const redacted = "REDACTED"

// String, GoString, Format, LogValue and MarshalText keep the bytes out of
// every log, error and dump.
func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return nil, errors.New("a secret has no text form") }
func (s Secret) MarshalCBOR() ([]byte, error) { return append([]byte{0x58, 0x20}, s.b[:]...), nil }
func (s *Secret) UnmarshalCBOR(data []byte) error {
	if len(data) != 34 || data[0] != 0x58 || data[1] != 0x20 {
		return errors.New("secret is not a byte string of 32")
	}
	s.b = [32]byte(data[2:])
	return nil
}
