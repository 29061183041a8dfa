package vault

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"sync"

	"github.com/toftdb/toft/block"
	"golang.org/x/crypto/chacha20poly1305"
)

// Errors of opening; callers branch on them.
var (
	// ErrNoKey: this device does not hold the key (yet). Park, ask for a box.
	ErrNoKey = errors.New("key missing")
	// ErrSealed: the key is right by name but the bytes do not open under it:
	// damaged, moved from elsewhere, or made by somebody who broke the format.
	ErrSealed = errors.New("sealed bytes do not open")
)

const (
	sealContext = "toft seal 1"
	nonceSize   = chacha20poly1305.NonceSizeX
	tagSize     = chacha20poly1305.Overhead
	padMark     = 0x80
)

// pair is the two keys of one layer. Sealing with it:
//
//	P     = plaintext ‖ 0x80 ‖ zeros, to padme(len(plaintext)+1) bytes
//	nonce = HMAC-SHA-256(K_mac, "toft seal 1" ‖ le64(|A|) ‖ A ‖ P)[:24]
//	body  = nonce ‖ XChaCha20-Poly1305(K_enc, nonce, A, P)
//
// This is SIV: the nonce is a MAC of everything, so it repeats only for equal
// input, and a body opens under one key only (about 2^96 work for a second),
// which Poly1305 alone does not promise.
type pair struct {
	macs sync.Pool // of hash.Hash: HMAC-SHA-256 keyed with K_mac, after Reset
	aead cipher.AEAD
}

func newPair(mac, enc [32]byte) *pair {
	aead, err := chacha20poly1305.NewX(enc[:])
	if err != nil {
		panic(fmt.Sprintf("vault: xchacha20-poly1305 key: %v", err)) // 32 bytes never fail
	}
	return &pair{aead: aead, macs: sync.Pool{New: func() any { return hmac.New(sha256.New, mac[:]) }}}
}

func (p *pair) nonce(a, padded []byte) [nonceSize]byte {
	h := p.macs.Get().(hash.Hash)
	defer p.macs.Put(h)
	h.Reset()
	var size [len(sealContext) + 8]byte
	copy(size[:], sealContext)
	binary.LittleEndian.PutUint64(size[len(sealContext):], uint64(len(a)))
	h.Write(size[:])
	h.Write(a)
	h.Write(padded)
	var sum [32]byte
	return [nonceSize]byte(h.Sum(sum[:0]))
}

// seal returns the body of plain under associated data a.
func (p *pair) seal(a, plain []byte) ([]byte, error) {
	if len(plain) > block.MaxSize {
		return nil, fmt.Errorf("seal %d bytes: a block has at most %d", len(plain), block.MaxSize)
	}
	n := padme(len(plain) + 1)
	body := make([]byte, nonceSize+n, nonceSize+n+tagSize)
	padded := body[nonceSize:]
	padInto(padded, plain)
	nonce := p.nonce(a, padded)
	copy(body, nonce[:])
	return encrypt(p.aead, body, a), nil
}

// open is the inverse of seal. Nothing is released before the tag, the nonce and
// the padding are all found good.
func (p *pair) open(a, body []byte) ([]byte, error) {
	n := len(body) - nonceSize - tagSize
	if n < 1 || n != padme(n) {
		return nil, fmt.Errorf("%w: %d bytes is no length of a sealed body", ErrSealed, len(body))
	}
	padded, err := decrypt(p.aead, body, a)
	if err != nil {
		return nil, fmt.Errorf("%w: wrong key, header or bytes", ErrSealed)
	}
	if nonce := p.nonce(a, padded); !hmac.Equal(nonce[:], body[:nonceSize]) {
		return nil, fmt.Errorf("%w: nonce is not that of the content", ErrSealed)
	}
	plain, ok := unpad(padded)
	if !ok {
		return nil, fmt.Errorf("%w: padding", ErrSealed)
	}
	return plain, nil
}

// padme rounds n up so that at most ⌊log2 log2 n⌋+1 leading bits of a length vary
// (Nikitin et al. 2019, "Reducing Metadata Leakage from Encrypted Files"): lengths
// leak O(log log n) bits for at most 12 % more bytes.
func padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1 // ⌊log2 n⌋
	s := bits.Len(uint(e))     // ⌊log2 e⌋ + 1
	mask := 1<<(e-s) - 1       // low bits that must be zero
	return (n + mask) &^ mask
}

// padInto writes plain ‖ 0x80 to dst, which is zero and as long as padme says.
func padInto(dst, plain []byte) {
	copy(dst, plain)
	dst[len(plain)] = padMark
}

// pad returns plain ‖ 0x80 ‖ zeros.
func pad(plain []byte) []byte {
	out := make([]byte, padme(len(plain)+1))
	padInto(out, plain)
	return out
}

// unpad strips 0x80 ‖ zeros and refuses any padding that padme would not have
// chosen, so that one plaintext has one body.
func unpad(padded []byte) ([]byte, bool) {
	n := len(bytes.TrimRight(padded, "\x00")) - 1
	if n < 0 || padded[n] != padMark || padme(n+1) != len(padded) {
		return nil, false
	}
	return padded[:n:n], true
}
