// Package words writes bytes as words that people can read aloud and compare:
// fingerprints of devices, the transcript of a join, the recovery kit.
//
// The list is EFF's short word list with one word changed: 1,296 words of three to
// five letters, in alphabetical order, so a word is worth 10.3 bits. Bytes are read as one
// big-endian number and written in base 1,296, most significant word first, a
// fixed number of words:
//
//	Words([]byte{0x05, 0x10}, 2)   // 0x0510 = 1296 = 1·1296 + 0 → "acorn acid"
//
// Eight words of a hash are 82 bits: enough against somebody who grinds keys for
// a look-alike. Four words of a transcript are 41 bits: enough where he has one
// try. The package hashes; it holds no secret and knows nobody's meaning.
package words

import (
	"crypto/sha256"
	_ "embed" // the list is data
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/toftdb/toft/block"
)

// eff_short.txt is "EFF's Short Wordlist #1" by Joseph Bonneau and the Electronic
// Frontier Foundation (https://www.eff.org/dice), Creative Commons Attribution
// 3.0 US, without the dice numbers and with one change: the original has both
// "yoyo" and "yo-yo", which nobody can tell apart by ear; the second is "yolk" here.
// The order is part of the format.
//
//go:embed eff_short.txt
var text string

// Count is the number of words in the list.
const Count = 1296

// ErrWord is returned for words that are not in the list.
var ErrWord = errors.New("not a word of the list")

// table is the list in both directions.
type table struct {
	words []string
	index map[string]int64
}

var list = sync.OnceValue(func() table {
	t := table{words: strings.Fields(text), index: make(map[string]int64, Count)}
	for i, w := range t.words {
		t.index[w] = int64(i)
	}
	return t
})

// Words returns n words for b: the number b (big-endian) modulo 1296^n. Where
// 1296^n exceeds 256^len(b) nothing is lost and [Bytes] is the inverse.
func Words(b []byte, n int) []string {
	v, base, digit := new(big.Int).SetBytes(b), big.NewInt(Count), new(big.Int)
	out := make([]string, n)
	for i := n - 1; i >= 0; i-- {
		v.DivMod(v, base, digit)
		out[i] = list().words[digit.Int64()]
	}
	return out
}

// Bytes is the inverse of [Words] for exactly size bytes. It fails on words that
// are not in the list, naming their place and not the word (it may be a secret),
// and on words that stand for no size bytes.
func Bytes(in []string, size int) ([]byte, error) {
	v, base := new(big.Int), big.NewInt(Count)
	for i, w := range in {
		digit, ok := list().index[strings.ToLower(w)]
		if !ok {
			return nil, fmt.Errorf("%w: word %d", ErrWord, i+1)
		}
		v.Add(v.Mul(v, base), big.NewInt(digit))
	}
	if v.BitLen() > 8*size {
		return nil, fmt.Errorf("%w: these words stand for more than %d bytes", ErrWord, size)
	}
	return v.FillBytes(make([]byte, size)), nil
}

// Fingerprint returns the 8 words of a device: SHA-256("toft fingerprint" ‖ key).
func Fingerprint(d block.Device) []string {
	return hashed("toft fingerprint", d)
}

// Transcript returns the 4 words both sides of a join print, from the hash of the
// transcript: SHA-256("toft transcript" ‖ hash).
func Transcript(hash [32]byte) []string {
	return hashed("toft transcript", hash)[:4]
}

// hashed returns 8 words of a hash made for one use: the top 2^-173 of bias that
// the modulus leaves in 256 bits is nothing.
func hashed(use string, b [32]byte) []string {
	sum := sha256.Sum256(append([]byte(use), b[:]...))
	return Words(sum[:], 8)
}
