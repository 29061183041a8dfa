package vault

import (
	"crypto/hpke"
	"fmt"

	"github.com/toftdb/toft/block"
)

// SealAnswer seals what a joiner says of itself (names, keys, proof) to the device
// that will admit it, under the X25519 key its PeerID maps to, bound to the nonce
// of the challenge. Transport encryption hides it too; this keeps a name from
// whoever sits above it: a relay, a recorder, a host that is shared.
//
// Output: HPKE enc 32 ‖ ciphertext, plaintext padded like any other.
func SealAnswer(to block.Device, nonce [32]byte, plain []byte) ([]byte, error) {
	key, err := to.BoxKey()
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	public, err := key.Parse()
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	if !Sealing {
		return plain, nil
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), answerInfo(to, nonce), pad(plain))
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	return sealed, nil
}

// OpenAnswer opens what SealAnswer sealed to this device; the caller has bounded
// its length.
func (id *Identity) OpenAnswer(nonce [32]byte, sealed []byte) ([]byte, error) {
	if !Sealing {
		return sealed, nil
	}
	did := id.openers[len(id.openers)-1]
	padded, err := hpke.Open(did.private(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), answerInfo(id.device, nonce), sealed)
	if err != nil {
		return nil, fmt.Errorf("open answer: %w: it is sealed to another device or for another challenge", ErrSealed)
	}
	plain, ok := unpad(padded)
	if !ok {
		return nil, fmt.Errorf("open answer: %w: padding", ErrSealed)
	}
	return plain, nil
}

func answerInfo(to block.Device, nonce [32]byte) []byte { return info(labelAnswer, to[:], nonce[:]) }
