package vault

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

func TestIdentitySignsPerPurpose(t *testing.T) {
	id := identity(t, "alice")
	purposes := []block.Purpose{block.ForLink, block.ForCommit, block.ForCheckpoint, block.ForAnnounce, block.ForJoin, block.ForReceipt, block.ForDevice, block.ForShare}
	for _, p := range purposes {
		sig := id.Sign(p, []byte("message"))
		for _, q := range purposes {
			if err := id.Device().Verify(q, []byte("message"), sig); (err == nil) != (p == q) {
				t.Errorf("signed for %s, verified for %s: %v", p, q, err)
			}
		}
		if ed25519.Verify(id.PrivateKey().Public().(ed25519.PublicKey), []byte("message"), sig[:]) {
			t.Errorf("signed for %s and good without a context", p)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("signed without a purpose, as libp2p's handshake does")
		}
	}()
	id.Sign("", []byte("message"))
}

func TestSignBlock(t *testing.T) {
	k := aliceRing(t)
	h := linkHeader(teamA, gen1, k.id.Device())
	b, err := k.id.SignBlock(h, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := block.Parse(b.Data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Verify(teamA, gen1); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]block.Header{
		"another author": linkHeader(teamA, gen1, block.Device{1}),
		"unsigned kind":  valueHeader(teamA, gen1, db1),
		"half a header":  {Kind: block.KindCommit, Author: k.id.Device()},
	} {
		if _, err := k.id.SignBlock(bad, nil); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestIdentityDependsOnItsRandomnessOnly(t *testing.T) {
	a, b, other := identity(t, "alice"), identity(t, "alice"), identity(t, "bob")
	if a.Device() != b.Device() || !a.BoxKey().Equal(b.BoxKey()) {
		t.Error("same randomness, other keys")
	}
	if a.Device() == other.Device() || a.BoxKey().Equal(other.BoxKey()) {
		t.Error("other randomness, same keys")
	}
	if a.BoxKey().KEM != block.KEMHybrid || a.BoxKey().Check() != nil || a.Device().Check() != nil {
		t.Error("keys of a new identity are refused")
	}
	for _, n := range []int64{0, 31, 32, 63, 79} {
		if _, err := NewIdentity(io.LimitReader(from("x"), n)); err == nil {
			t.Errorf("an identity was made of %d bytes", n)
		}
	}
	// A host's own key keeps its PeerID.
	host, err := NewIdentityOf(a.PrivateKey(), from("box"))
	if err != nil || host.Device() != a.Device() || host.BoxKey().Equal(a.BoxKey()) {
		t.Errorf("around an existing key: %v", err)
	}
	if _, err := NewIdentityOf(nil, from("x")); err == nil {
		t.Error("an identity was made around no key")
	}
	a.PrivateKey()[0] ^= 1
	if a.Device() != block.Device(a.PrivateKey().Public().(ed25519.PublicKey)) || !bytes.Equal(a.PrivateKey(), b.PrivateKey()) {
		t.Error("PrivateKey gives the key itself away")
	}
}

// Boxes sealed to an older HPKE key of this device still open.
func TestOlderBoxKeysStillOpen(t *testing.T) {
	seeds := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}
	sign := bytes.Repeat([]byte{3}, 32)
	before, err := newIdentity(sign, seeds[:1])
	if err != nil {
		t.Fatal(err)
	}
	after, err := newIdentity(sign, seeds)
	if err != nil {
		t.Fatal(err)
	}
	if before.BoxKey().Equal(after.BoxKey()) || before.Device() != after.Device() {
		t.Fatal("the newest key is not the one given out")
	}
	s := secret(t, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: before.Device()}
	for _, to := range []block.BoxKey{before.BoxKey(), after.BoxKey()} {
		k := NewKeyring(after)
		if n, err := k.OpenBoxes(teamA, block.ID{1}, before.Device(), []block.BoxGroup{boxFor(t, c, s, to)}); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	for name, boxSeeds := range map[string][][]byte{"none": nil, "too many": slices.Repeat(seeds, 9), "short": {make([]byte, 31)}} {
		if _, err := newIdentity(sign, boxSeeds); err == nil {
			t.Errorf("%s HPKE seeds were taken", name)
		}
	}
}

func TestRecoveryKit(t *testing.T) {
	id := identity(t, "alice")
	device, key, seed := id.Recovery()
	words := seed.Words()
	if len(words) != RecoveryWords {
		t.Fatalf("%d words", len(words))
	}
	for _, spelling := range [][]string{words, strings.Fields(strings.ToUpper(strings.Join(words, " ")))} {
		back, err := ParseRecovery(spelling)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := back.Identity()
		if err != nil || rec.Device() != device || !rec.BoxKey().Equal(key) {
			t.Fatalf("the words lead to another device: %v", err)
		}
		// What was boxed to the public half in CREATE opens with the words.
		s := secret(t, "generation")
		c := BoxContext{Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: id.Device()}
		if n, err := NewKeyring(rec).OpenBoxes(block.TeamID{}, block.ID{1}, id.Device(), []block.BoxGroup{boxFor(t, c, s, key)}); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if d, _, none := rec.Recovery(); !d.IsZero() || !none.IsZero() {
			t.Error("a recovery device has a recovery device")
		}
	}
	after := id.WithoutRecoverySeed()
	if d, k, s := after.Recovery(); d != device || !k.Equal(key) || !s.IsZero() {
		t.Error("after export")
	}
	if _, _, s := id.Recovery(); s.IsZero() {
		t.Error("WithoutRecoverySeed changed the original")
	}
	if _, err := (RecoverySeed{}).Identity(); !errors.Is(err, ErrRecoveryWords) {
		t.Errorf("identity of no seed: %v", err)
	}
}

// Mistyped words are noticed, and the error tells where without telling what.
func TestMistypedRecoveryWords(t *testing.T) {
	_, _, seed := identity(t, "alice").Recovery()
	good := seed.Words()
	change := func(f func([]string) []string) []string { return f(slices.Clone(good)) }
	for name, list := range map[string][]string{
		"none":      nil,
		"fifteen":   good[:15],
		"seventeen": append(slices.Clone(good), "acid"),
		"unknown":   change(func(w []string) []string { w[7] = "xyzzy"; return w }),
		"empty":     change(func(w []string) []string { w[7] = ""; return w }),
		"too large": slices.Repeat([]string{"zoom"}, 16),
		"all first": slices.Repeat([]string{"acid"}, 16),
	} {
		_, err := ParseRecovery(list)
		if !errors.Is(err, ErrRecoveryWords) || strings.Contains(err.Error(), "xyzzy") {
			t.Errorf("%s: %v", name, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, 15).Draw(t, "i")
		j := rapid.IntRange(0, 15).Draw(t, "j")
		w := slices.Clone(good)
		w[i], w[j] = w[j], w[i]
		if _, err := ParseRecovery(w); (err == nil) != slices.Equal(w, good) {
			t.Fatalf("words %d and %d swapped: %v", i, j, err)
		}
	})
}
