package vault

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Bodies come from anybody: nothing that was not sealed opens, nothing panics.
func FuzzOpen(f *testing.F) {
	k := aliceRing(f)
	h := valueHeader(teamA, gen1, db1)
	for _, plain := range []string{"", "x", "some content of a few bytes"} {
		body, err := k.Seal(Data, h, []byte(plain))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		plain, err := k.Open(Data, h, body)
		if err != nil {
			return
		}
		if again, err := k.Seal(Data, h, plain); err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x opens, and is not how it seals: %x %v", body, again, err)
		}
	})
}

// What a key holder pads and seals himself.
func FuzzUnpad(f *testing.F) {
	f.Add([]byte("hello\x80"))
	f.Add([]byte("123456789\x80"))
	f.Fuzz(func(t *testing.T, padded []byte) {
		if plain, ok := unpad(padded); ok && !bytes.Equal(pad(plain), padded) {
			t.Fatalf("%x unpads to %x, which pads otherwise", padded, plain)
		}
	})
}

func FuzzKeystore(f *testing.F) {
	id := identity(f, "alice")
	h := keystoreHeader{Version: 1, Lock: LockFile, Salt: make([]byte, saltSize)}
	kek := make([]byte, 32)
	data, err := sealKeystore(h, kek, id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[len(keystoreMagic) : len(data)-sumSize])
	pass := keystoreHeader{Version: 1, Lock: LockPassphrase, Salt: make([]byte, saltSize), Time: 3, Memory: 1 << 16, Threads: 4, Wrapped: []byte{1}}
	f.Add(wire.Must(pass))
	f.Fuzz(func(t *testing.T, inner []byte) {
		_, _, _ = parseKeystore(inner)
		whole := sum(inner)
		h, sealed, err := parseKeystore(whole)
		if err != nil {
			return
		}
		if !bytes.Equal(frame(h, sealed), whole) {
			t.Fatalf("%x reads as another file", whole)
		}
		if plain, err := h.keystorePair(kek).open(h.authenticated(), sealed); err == nil {
			_, _ = parseIdentity(plain)
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	id := identity(f, "alice")
	device, key, seed := id.Recovery()
	f.Add(wire.Must(storedIdentity{Sign: id.sign().Seed(), Box: id.boxSeeds(), Seed: seed.reveal(), RecoveryKey: device[:], RecoveryBox: &key}))
	f.Add(wire.Must(storedIdentity{Sign: id.sign().Seed(), Box: id.boxSeeds()}))
	f.Fuzz(func(t *testing.T, plain []byte) {
		if id, err := parseIdentity(plain); err == nil && id.BoxKey().Check() != nil {
			t.Fatal("an identity that cannot receive")
		}
	})
}

// Lockboxes come from any author in any link.
func FuzzOpenBoxes(f *testing.F) {
	alice, bob := identity(f, "alice"), identity(f, "bob")
	s := secret(f, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	did, err := bob.Device().BoxKey()
	if err != nil {
		f.Fatal(err)
	}
	for _, to := range []block.BoxKey{bob.BoxKey(), did} {
		g := boxFor(f, c, s, to)
		f.Add(uint16(to.KEM), g.Boxes[0].Enc, g.Boxes[0].Text)
	}
	f.Fuzz(func(t *testing.T, kem uint16, enc, text []byte) {
		for _, to := range []block.BoxKey{bob.BoxKey(), did} {
			b := block.Box{Hint: block.BoxHint(c.Commitment, to), KEM: block.KEM(kem), Enc: enc, Text: text}
			k := NewKeyring(bob)
			n, _ := k.OpenBoxes(teamA, block.ID{1}, alice.Device(), []block.BoxGroup{{Purpose: c.Purpose, Commitment: c.Commitment, Boxes: []block.Box{b}}})
			if held, err := k.secret(name{teamA, block.Generation{1}}, block.BoxGeneration); n == 1 && (err != nil || !held.Equal(s)) {
				t.Fatal("another key than committed was taken")
			}
		}
	})
}

func FuzzHistory(f *testing.F) {
	f.Add(wire.Must([]pastKey{{Generation: gen1, Key: secret(f, "a")}, {Generation: gen2, Key: secret(f, "b")}}))
	f.Fuzz(func(t *testing.T, plain []byte) {
		if past, err := parsePast(plain); err == nil && !bytes.Equal(wire.Must(past), plain) {
			t.Fatalf("%x is not canonical", plain)
		}
	})
}

func FuzzShare(f *testing.F) {
	alice, bob := aliceRing(f), identity(f, "bob")
	s := share(f, alice, bob)
	boxes, err := block.EncodeBoxes(s.Boxes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire.Must(storedShare{s.Team[:], s.Inviter[:], s.Recipient[:], s.Addrs, s.Heads, boxes}))
	f.Fuzz(func(t *testing.T, text []byte) {
		sig := alice.id.Sign(block.ForShare, text) // an inviter may sign anything
		got, err := parseShare(append(bytes.Clone(text), sig[:]...), bob.Device())
		if err != nil {
			return
		}
		if _, err := alice.id.SealShare(got); err != nil {
			t.Fatalf("read, and cannot be written: %v", err)
		}
	})
}

func FuzzRecoveryWords(f *testing.F) {
	_, _, seed := identity(f, "alice").Recovery()
	f.Add(bytes.Join([][]byte{[]byte("a"), []byte("b")}, []byte(" ")))
	words := ""
	for _, w := range seed.Words() {
		words += w + " "
	}
	f.Add([]byte(words))
	f.Fuzz(func(t *testing.T, text []byte) {
		var list []string
		for _, w := range bytes.Fields(text) {
			list = append(list, string(w))
		}
		if s, err := ParseRecovery(list); err == nil && len(s.Words()) != len(list) {
			t.Fatal("other words")
		}
	})
}

// sum puts the magic before and the right checksum behind.
func sum(inner []byte) []byte {
	data := append([]byte(keystoreMagic), inner...)
	s := sha256.Sum256(data)
	return append(data, s[:]...)
}
