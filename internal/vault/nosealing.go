//go:build nosealing

package vault

import (
	"bytes"
	"crypto/cipher"
	"errors"
)

// Sealing reports whether this binary encrypts: here it does not. The build tag
// exists so that the canary test, which looks for plaintext on disk and on the
// wire, can be seen to fail. Never ship it.
const Sealing = false

// encrypt frames like the real one (nonce, content, sixteen bytes of tag) and
// leaves the content readable. The nonce still authenticates it.
func encrypt(_ cipher.AEAD, body, _ []byte) []byte {
	return append(body, make([]byte, tagSize)...)
}

func decrypt(_ cipher.AEAD, body, _ []byte) ([]byte, error) {
	end := len(body) - tagSize
	if !bytes.Equal(body[end:], make([]byte, tagSize)) {
		return nil, errors.New("body of a sealing build")
	}
	return bytes.Clone(body[nonceSize:end]), nil
}
