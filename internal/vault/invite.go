package vault

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"

	"github.com/toftdb/toft/block"
	"golang.org/x/crypto/argon2"
)

// Seed is the secret of an invitation code: 16 random bytes.
type Seed [16]byte

// String shows nothing, as do all the methods below.
func (Seed) String() string { return redacted }

// GoString is what %#v prints.
func (Seed) GoString() string { return redacted }

// Format answers every verb.
func (Seed) Format(f fmt.State, v rune) { hidden{}.Format(f, v) }

// LogValue is what slog writes.
func (Seed) LogValue() slog.Value { return hidden{}.LogValue() }

// MarshalText fails: a secret in JSON is a mistake to be noticed.
func (Seed) MarshalText() ([]byte, error) { return hidden{}.MarshalText() }

// NewSeed reads 16 bytes of rand.
func NewSeed(rand io.Reader) (Seed, error) {
	var s Seed
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return Seed{}, fmt.Errorf("new invitation seed: %w", err)
	}
	return s, nil
}

// The cost of guessing a seed or a passphrase: Argon2id (RFC 9106), 64 MiB, three
// passes, four lanes, 32 bytes out; about a tenth of a second. The same for all
// invitations, random seeds included: a code must not say how strong its seed is.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
)

// MaxSeed bounds a seed of one's own, in bytes.
const MaxSeed = 1024

// InviteSigner is the Ed25519 key of one invitation. It proves that a joiner has
// the seed, and unlocks nothing.
type InviteSigner struct {
	hidden
	key kept[ed25519.PrivateKey]
}

// InviteKey derives the key of an invitation from its seed (random bytes of a
// code, or a normalized seed of one's own):
//
//	Argon2id(seed, salt = team id[:20] ‖ invite id) → HKDF("invite", salt = team
//	id[:20]) → Ed25519 seed
//
// It takes about 0.1 s and 64 MiB: callers bound how many run at once.
func InviteKey(team20 [20]byte, id block.InviteID, seed []byte) (*InviteSigner, error) {
	if len(seed) == 0 || len(seed) > MaxSeed {
		return nil, fmt.Errorf("invitation seed of %d bytes, want 1 to %d", len(seed), MaxSeed)
	}
	salt := append(team20[:], id[:]...)
	stretched := argon2.IDKey(seed, salt, argonTime, argonMemory, argonThreads, 32)
	key := derive(stretched, team20[:], labelInvite)
	return &InviteSigner{key: keep(ed25519.NewKeyFromSeed(key[:]))}, nil
}

// Public returns the public half, which stands in the private layer of INVITE.
func (s *InviteSigner) Public() block.Device {
	return block.Device(s.key().Public().(ed25519.PublicKey))
}

// Sign returns the Ed25519ctx signature of msg for one purpose (block.ForJoin).
func (s *InviteSigner) Sign(p block.Purpose, msg []byte) block.Signature {
	return sign(s.key(), p, msg)
}

// JoinTag is what a joiner shows first, and what members look for while an
// invitation is open: HMAC-SHA-256(invite id, "tag" ‖ team id[:20] ‖ le64(day)).
// day counts days since the Unix epoch in UTC. It says nothing about the seed.
func JoinTag(id block.InviteID, team20 [20]byte, day int64) (tag [32]byte) {
	h := hmac.New(sha256.New, id[:])
	h.Write([]byte("tag"))
	h.Write(team20[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(day)))
	h.Sum(tag[:0])
	return tag
}
