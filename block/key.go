package block

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
)

// Device is a device's Ed25519 public key. It is the libp2p PeerID, the author
// of links and commits, and what a seat admits.
type Device [32]byte

// Signature is an Ed25519ctx signature (RFC 8032).
type Signature [64]byte

// Purpose is the context of a signature. One key signs for many purposes; the
// context makes a signature for one worthless for any other.
type Purpose string

// The purposes of a device signature, one per signed message.
const (
	ForLink       Purpose = "toft/v1/link"
	ForCommit     Purpose = "toft/v1/commit"
	ForCheckpoint Purpose = "toft/v1/checkpoint"
	ForAnnounce   Purpose = "toft/v1/announce"
	ForJoin       Purpose = "toft/v1/join"
	ForReceipt    Purpose = "toft/v1/receipt"
	ForDevice     Purpose = "toft/v1/device"
	ForShare      Purpose = "toft/v1/share"
)

// ErrSignature is returned when a signature does not verify.
var ErrSignature = errors.New("signature does not verify")

// ErrKey is returned for public keys that no honest device has: small order or
// not canonical. Go's Ed25519 would accept them, and with them one signature
// fits many messages.
var ErrKey = errors.New("refused public key")

// IsZero reports whether the key is unset.
func (d Device) IsZero() bool { return d == Device{} }

// Check refuses small-order and non-canonical keys. It must be called wherever a
// key enters (an admission, a genesis, a join, a parsed PeerID); a key that was
// admitted needs no second check.
func (d Device) Check() error {
	p, err := new(edwards25519.Point).SetBytes(d[:])
	if err != nil {
		return fmt.Errorf("%w: not a point on the curve", ErrKey)
	}
	if !bytes.Equal(p.Bytes(), d[:]) {
		return fmt.Errorf("%w: encoding is not canonical", ErrKey)
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return fmt.Errorf("%w: small order", ErrKey)
	}
	return nil
}

// Verify checks the signature of message made for purpose p.
func (d Device) Verify(p Purpose, message []byte, sig Signature) error {
	opt := &ed25519.Options{Hash: crypto.Hash(0), Context: string(p)}
	if err := ed25519.VerifyWithOptions(d[:], message, sig[:], opt); err != nil {
		return fmt.Errorf("%w: %s by %s", ErrSignature, p, d)
	}
	return nil
}

// KEM is an HPKE key encapsulation mechanism by its IANA number (RFC 9180).
type KEM uint16

// The two mechanisms of suite 1.
const (
	// KEMHybrid is MLKEM768X25519 (X-Wing): the key every device publishes.
	KEMHybrid KEM = 0x647a
	// KEMX25519 is DHKEM(X25519, HKDF-SHA256): derived from the Ed25519 key of a
	// device that is known only by its did:key.
	KEMX25519 KEM = 0x0020
)

// BoxKey is the HPKE public key that receives a device's lockboxes. Its encoding
// is the array [kem, key]: 1,216 key bytes for KEMHybrid, 32 for KEMX25519.
type BoxKey struct {
	_      struct{} `cbor:",toarray"`
	KEM    KEM
	Public []byte
}

// Equal reports whether both name the same key.
func (k BoxKey) Equal(o BoxKey) bool { return k.KEM == o.KEM && bytes.Equal(k.Public, o.Public) }

// IsZero reports whether no key is set.
func (k BoxKey) IsZero() bool { return k.KEM == 0 && len(k.Public) == 0 }

// Parse returns the key for sealing, refusing unknown mechanisms and wrong sizes.
// A key of low order parses, and sealing to it fails: see Check.
func (k BoxKey) Parse() (hpke.PublicKey, error) {
	var kem hpke.KEM
	switch {
	case k.KEM == KEMHybrid && len(k.Public) == 1216:
		kem = hpke.MLKEM768X25519()
	case k.KEM == KEMX25519 && len(k.Public) == 32:
		kem = hpke.DHKEM(ecdh.X25519())
	default:
		return nil, fmt.Errorf("%w: HPKE key of kem %#04x with %d bytes", ErrKey, uint16(k.KEM), len(k.Public))
	}
	pk, err := kem.NewPublicKey(k.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return pk, nil
}

// Check reports whether the key can receive a lockbox: it parses, and its X25519
// half is not of low order. Such a key would fail only when somebody seals to it,
// so it must not enter a chain. Check it wherever one enters, as a [Device].
func (k BoxKey) Check() error {
	if _, err := k.Parse(); err != nil {
		return err
	}
	pub, err := ecdh.X25519().NewPublicKey(k.Public[len(k.Public)-32:]) // X-Wing ends with it
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	// Any scalar shows a low-order point: the product is zero and ECDH refuses.
	probe, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{0x42}, 32))
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	if _, err := probe.ECDH(pub); err != nil {
		return fmt.Errorf("%w: low-order X25519 key", ErrKey)
	}
	return nil
}

// BoxKey returns the X25519 key that the device's Ed25519 key maps to (RFC 7748
// birational map), for devices known only by their did:key.
func (d Device) BoxKey() (BoxKey, error) {
	p, err := new(edwards25519.Point).SetBytes(d[:])
	if err != nil {
		return BoxKey{}, fmt.Errorf("%w: not a point on the curve", ErrKey)
	}
	return BoxKey{KEM: KEMX25519, Public: p.BytesMontgomery()}, nil
}
