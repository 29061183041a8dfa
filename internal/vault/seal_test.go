package vault

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(slices.Concat(parts...))
	return h.Sum(nil)
}

func testPair(mac, enc byte) *pair {
	return newPair([32]byte(bytes.Repeat([]byte{mac}, 32)), [32]byte(bytes.Repeat([]byte{enc}, 32)))
}

func TestPadme(t *testing.T) {
	for n, want := range map[int]int{
		0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 7, 8: 8, 9: 10, 11: 12, 15: 16, 16: 16, 17: 18, 33: 36, 100: 104, 301: 304, 1000: 1024,
		4097: 4352, 65_535: 65_536, 1_000_000: 1_015_808,
		1_032_192: 1_032_192, // a file chunk with its mark: nothing is added
		1_032_193: 1_048_576,
	} {
		if got := padme(n); got != want {
			t.Errorf("padme(%d) = %d, want %d", n, got, want)
		}
	}
	last := 0
	for n := 1; n < 1<<21; n++ {
		p := padme(n)
		switch {
		case p < n, p < last, padme(p) != p:
			t.Fatalf("padme(%d) = %d", n, p)
		case n > 8 && float64(p-n) > 0.12*float64(n):
			t.Fatalf("padme(%d) = %d adds more than 12 %%", n, p)
		}
		last = p
	}
}

// Padding has one form. A holder of the key who pads otherwise would have two
// bodies, and two CIDs, for one content.
func TestOtherPaddingIsRefused(t *testing.T) {
	p, a := testPair(1, 2), []byte("header")
	sealRaw := func(padded []byte) []byte { // what seal does, with padding of one's own
		nonce := p.nonce(a, padded)
		return encrypt(p.aead, append(append(make([]byte, 0, 2048), nonce[:]...), padded...), a)
	}
	if got, err := p.open(a, sealRaw([]byte("hello\x80"))); err != nil || string(got) != "hello" {
		t.Fatalf("the canonical one: %q %v", got, err)
	}
	for name, padded := range map[string]string{
		"no mark":           "hello\x00",
		"all zeros":         "\x00\x00",
		"zeros to the next": "hello\x80\x00",
		"more zeros":        "hello\x80\x00\x00",
		"zeros to 8":        "hello12\x80\x00\x00",
		"a size unknown":    "123456789\x80\x00",
		"dirt in it":        "hello\x80\x01\x00",
	} {
		if got, err := p.open(a, sealRaw([]byte(padded))); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: opened as %q, %v", name, got, err)
		}
	}
}

// draft-irtf-cfrg-xchacha-03, A.3.1.
func TestXChaCha20Poly1305Vector(t *testing.T) {
	key := unhex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
	nonce := unhex(t, "404142434445464748494a4b4c4d4e4f5051525354555657")
	ad := unhex(t, "50515253c0c1c2c3c4c5c6c7")
	plain := []byte("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
	want := "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452" +
		"2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e" + "c0875924c1c7987947deafd8780acf49"
	p := newPair([32]byte{}, [32]byte(key))
	if got := hex.EncodeToString(p.aead.Seal(nil, nonce, plain, ad)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The construction once more, written out from the format.
func TestSealIsWhatTheFormatSays(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	p, a, plain := testPair(1, 2), []byte("associated data"), []byte("nine byte")
	padded := append(slices.Clone(plain), 0x80) // 10 = padme(10)
	nonce := mac(bytes.Repeat([]byte{1}, 32), []byte("toft seal 1"), binary.LittleEndian.AppendUint64(nil, uint64(len(a))), a, padded)[:24]
	x, err := chacha20poly1305.NewX(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	want := x.Seal(slices.Clone(nonce), nonce, padded, a)
	got, err := p.seal(a, plain)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("seal = %x, %v\nwant   %x", got, err, want)
	}
}

func TestOpenIsTheInverseOfSeal(t *testing.T) {
	p, q := testPair(1, 2), testPair(3, 4)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOf(rapid.Byte()).Draw(t, "a")
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		body, err := p.seal(a, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) != nonceSize+padme(len(plain)+1)+tagSize {
			t.Fatalf("%d bytes sealed to %d", len(plain), len(body))
		}
		if back, err := p.open(a, body); err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("opened %x, %v", back, err)
		}
		if again, _ := p.seal(a, plain); !bytes.Equal(again, body) {
			t.Fatal("sealing is not deterministic")
		}
		if _, err := q.open(a, body); !errors.Is(err, ErrSealed) {
			t.Fatalf("another key opens it: %v", err)
		}
		if _, err := p.open(append(a, 0), body); !errors.Is(err, ErrSealed) {
			t.Fatalf("another header opens it: %v", err)
		}
		if Sealing && len(plain) > 16 && bytes.Contains(body, plain) {
			t.Fatal("plaintext in the body")
		}
	})
}

// The border between A and P is part of what is authenticated.
func TestBytesCannotMoveBetweenHeaderAndContent(t *testing.T) {
	p := testPair(1, 2)
	seen := map[[nonceSize]byte]bool{}
	for _, split := range []int{0, 1, 5, 11} {
		all := []byte("hello world")
		seen[p.nonce(all[:split], all[split:])] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d nonces for 4 splits", len(seen))
	}
}

func TestFlippedAndTruncatedBodiesDoNotOpen(t *testing.T) {
	p, a := testPair(1, 2), []byte("header")
	body, err := p.seal(a, []byte("some content"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		for bit := range 8 {
			flipped := slices.Clone(body)
			flipped[i] ^= 1 << bit
			if _, err := p.open(a, flipped); !errors.Is(err, ErrSealed) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for n := range body {
		if _, err := p.open(a, body[:n]); !errors.Is(err, ErrSealed) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
	for _, more := range [][]byte{append(slices.Clone(body), 0), append([]byte{0}, body...), nil} {
		if _, err := p.open(a, more); !errors.Is(err, ErrSealed) {
			t.Errorf("%d bytes: %v", len(more), err)
		}
	}
}

func TestOversizeIsNotSealed(t *testing.T) {
	if _, err := testPair(1, 2).seal(nil, make([]byte, 1<<20+1)); err == nil {
		t.Error("more than a block was sealed")
	}
}

// A body under a nonce of somebody's choice authenticates, and is refused: it would
// be a second body, and a second CID, for one content.
func TestNonceMustBeThatOfTheContent(t *testing.T) {
	p, a := testPair(1, 2), []byte("header")
	for _, n := range []byte{0, 1, 255} {
		body := append(bytes.Repeat([]byte{n}, nonceSize), "hello\x80"...)
		body = encrypt(p.aead, append(make([]byte, 0, 100), body...), a)
		if _, err := decrypt(p.aead, body, a); err != nil {
			t.Fatal(err)
		}
		if got, err := p.open(a, body); !errors.Is(err, ErrSealed) {
			t.Errorf("opened %q, %v", got, err)
		}
	}
}

// Poly1305 does not commit to its key: a body can be made that two keys open, to
// different plaintexts, both well padded. Here is one. The nonce, which is a MAC
// of the content, stops it.
func TestKeyCommitment(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	nonce := bytes.Repeat([]byte{9}, nonceSize)
	enc1, enc2, last := keysOfOneByte(t, nonce)
	body := collide(t, enc1, enc2, nonce, last)
	for _, enc := range [][]byte{enc1, enc2} {
		p := newPair([32]byte{5}, [32]byte(enc))
		padded, err := decrypt(p.aead, body, nil)
		if err != nil {
			t.Fatalf("the collision is none: %v", err)
		}
		if _, ok := unpad(padded); !ok {
			t.Fatal("the collision is badly padded")
		}
		if got, err := p.open(nil, body); !errors.Is(err, ErrSealed) {
			t.Errorf("opened under %x…: %x, %v", enc[:2], got, err)
		}
	}
}

// keysOfOneByte finds two keys whose keystreams agree in byte 31, and returns the
// ciphertext byte that both decrypt to the padding mark.
func keysOfOneByte(t *testing.T, nonce []byte) (enc1, enc2 []byte, last byte) {
	t.Helper()
	streams := map[byte][]byte{}
	for i := range 256 {
		enc := bytes.Repeat([]byte{byte(i)}, 32)
		c, err := chacha20.NewUnauthenticatedCipher(enc, nonce)
		if err != nil {
			t.Fatal(err)
		}
		c.SetCounter(1)
		var b [32]byte
		c.XORKeyStream(b[:], b[:])
		if other, ok := streams[b[31]]; ok {
			return other, enc, b[31] ^ padMark
		}
		streams[b[31]] = enc
	}
	t.Fatal("no two keys of 256 agree in a byte")
	return nil, nil, 0
}

// collide returns nonce ‖ ciphertext of 32 bytes ‖ tag that authenticates under
// both keys and ends with a given byte. The tag is ((c1·r³ + c2·r² + len·r) mod p +
// s) mod 2^128, linear in c1: choose c2, solve for the c1 at which both tags agree,
// until it fits sixteen bytes.
func collide(t *testing.T, enc1, enc2, nonce []byte, last byte) []byte {
	t.Helper()
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	high := new(big.Int).Lsh(big.NewInt(1), 128)
	type key struct{ r, s *big.Int }
	oneTime := func(enc []byte) key {
		c, err := chacha20.NewUnauthenticatedCipher(enc, nonce)
		if err != nil {
			t.Fatal(err)
		}
		var b [32]byte
		c.XORKeyStream(b[:], b[:])
		for _, i := range []int{3, 7, 11, 15} {
			b[i] &= 15
		}
		for _, i := range []int{4, 8, 12} {
			b[i] &= 252
		}
		return key{little(b[:16]), little(b[16:])}
	}
	k1, k2 := oneTime(enc1), oneTime(enc2)
	power := func(k key, n int64) *big.Int { return new(big.Int).Exp(k.r, big.NewInt(n), p) }
	lengths := new(big.Int).Add(little(append(make([]byte, 8), 32, 0, 0, 0, 0, 0, 0, 0)), high)
	rest := func(k key, c2 *big.Int) *big.Int { // everything but c1·r³
		v := new(big.Int).Mul(c2, power(k, 2))
		return v.Add(v, new(big.Int).Mul(lengths, k.r)).Mod(v, p)
	}
	slope := new(big.Int).Sub(power(k1, 3), power(k2, 3))
	inverse := new(big.Int).ModInverse(slope.Mod(slope, p), p)
	x, err := chacha20poly1305.NewX(enc2)
	if err != nil {
		t.Fatal(err)
	}
	for try := range int64(1000) {
		block2 := littleBytes(big.NewInt(try))
		block2[15] = last
		c2 := new(big.Int).Add(little(block2), high)
		for wrap := int64(-4); wrap <= 4; wrap++ {
			c1 := new(big.Int).Sub(k2.s, k1.s)
			c1.Add(c1, new(big.Int).Mul(big.NewInt(wrap), high))
			c1.Add(c1, rest(k2, c2)).Sub(c1, rest(k1, c2)).Mul(c1, inverse).Mod(c1, p)
			c1.Sub(c1, high)
			if c1.Sign() < 0 || c1.Cmp(high) >= 0 {
				continue
			}
			tag := new(big.Int).Mul(new(big.Int).Add(c1, high), power(k1, 3))
			tag.Add(tag, rest(k1, c2)).Mod(tag, p).Add(tag, k1.s).Mod(tag, high)
			body := slices.Concat(nonce, littleBytes(c1), block2, littleBytes(tag))
			if _, err := x.Open(nil, nonce, body[nonceSize:], nil); err == nil {
				return body
			}
		}
	}
	t.Fatal("no collision found")
	return nil
}

func little(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func littleBytes(v *big.Int) []byte {
	b := v.FillBytes(make([]byte, 16))
	slices.Reverse(b)
	return b
}
