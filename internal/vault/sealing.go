//go:build !nosealing

package vault

import "crypto/cipher"

// Sealing reports whether this binary encrypts. It is false only in builds with
// tag nosealing, with which tests show that they would notice a leak.
const Sealing = true

// encrypt seals body[24:] in place under the nonce body[:24]. body has room for
// the tag.
func encrypt(aead cipher.AEAD, body, a []byte) []byte {
	return aead.Seal(body[:nonceSize], body[:nonceSize], body[nonceSize:], a)
}

func decrypt(aead cipher.AEAD, body, a []byte) ([]byte, error) {
	return aead.Open(nil, body[:nonceSize], body[nonceSize:], a)
}
