package vault

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// share returns what alice, who holds gen1, says to bob.
func share(t testing.TB, alice *Keyring, bob *Identity) Share {
	t.Helper()
	to, err := bob.Device().BoxKey()
	if err != nil {
		t.Fatal(err)
	}
	b, commitment, err := alice.Box(teamA, gen1, block.BoxGeneration, to)
	if err != nil {
		t.Fatal(err)
	}
	return Share{
		Team: teamA, Inviter: alice.id.Device(), Recipient: bob.Device(), Addrs: [][]byte{{1, 2}}, Heads: []block.ID{{1}, {2}},
		Boxes: []block.BoxGroup{{Generation: gen1, Purpose: block.BoxGeneration, Commitment: commitment, Boxes: []block.Box{b}}},
	}
}

func TestShareReachesItsRecipient(t *testing.T) {
	alice, bob := aliceRing(t), identity(t, "bob")
	want := share(t, alice, bob)
	b, err := alice.id.SealShare(want)
	if err != nil {
		t.Fatal(err)
	}
	u, err := block.Parse(b.Data)
	if err != nil || u.Kind != block.KindShare {
		t.Fatal(err)
	}
	v, err := u.Verify(block.TeamID{}, block.Generation{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := bob.OpenShare(v.Body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	k := NewKeyring(bob)
	if n, err := k.OpenBoxes(got.Team, u.ID, got.Inviter, got.Boxes); n != 1 || err != nil || !k.Has(teamA, gen1) {
		t.Errorf("its box: %d %v", n, err)
	}
	if _, err := identity(t, "carol").OpenShare(v.Body); !errors.Is(err, ErrSealed) {
		t.Errorf("carol: %v", err)
	}
	for i := range v.Body {
		flipped := slices.Clone(v.Body)
		flipped[i] ^= 0x10
		if _, err := bob.OpenShare(flipped); err == nil {
			t.Fatalf("byte %d flipped: opened", i)
		}
	}
	for _, bad := range [][]byte{nil, v.Body[:32], v.Body[:len(v.Body)-1], make([]byte, maxShare+1)} {
		if _, err := bob.OpenShare(bad); !errors.Is(err, ErrSealed) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func TestShareHasOneForm(t *testing.T) {
	alice, bob := aliceRing(t), identity(t, "bob")
	for name, change := range map[string]func(*Share){
		"another inviter":    func(s *Share) { s.Inviter = bob.Device() },
		"no team":            func(s *Share) { s.Team = block.TeamID{} },
		"recipient no key":   func(s *Share) { s.Recipient = block.Device{2} },
		"no heads":           func(s *Share) { s.Heads = nil },
		"heads unsorted":     func(s *Share) { s.Heads = []block.ID{{2}, {1}} },
		"a head twice":       func(s *Share) { s.Heads = []block.ID{{1}, {1}} },
		"too many heads":     func(s *Share) { s.Heads = make([]block.ID, 65) },
		"too many addresses": func(s *Share) { s.Addrs = slices.Repeat(s.Addrs, 9) },
		"a long address":     func(s *Share) { s.Addrs = [][]byte{make([]byte, 257)} },
		"an empty address":   func(s *Share) { s.Addrs = [][]byte{{}} },
		"no box":             func(s *Share) { s.Boxes = nil },
		"two boxes":          func(s *Share) { s.Boxes[0].Boxes = slices.Repeat(s.Boxes[0].Boxes, 2) },
		"no generation":      func(s *Share) { s.Boxes[0].Generation = block.Generation{} },
	} {
		s := share(t, alice, bob)
		change(&s)
		if _, err := alice.id.SealShare(s); err == nil {
			t.Errorf("%s was sealed", name)
		}
	}
}

// Mallory cannot speak for alice, nor pass on to carol what alice said to bob.
func TestShareIsSignedByItsInviter(t *testing.T) {
	alice, bob, mallory := aliceRing(t), identity(t, "bob"), identity(t, "mallory")
	s := share(t, alice, bob)
	boxes, err := block.EncodeBoxes(s.Boxes)
	if err != nil {
		t.Fatal(err)
	}
	text := wire.Must(storedShare{s.Team[:], s.Inviter[:], s.Recipient[:], s.Addrs, s.Heads, boxes})
	sig := mallory.Sign(block.ForShare, text)
	if _, err := parseShare(append(text, sig[:]...), bob.Device()); !errors.Is(err, block.ErrSignature) {
		t.Errorf("signed by mallory: %v", err)
	}
	sig = alice.id.Sign(block.ForLink, text)
	if _, err := parseShare(append(text, sig[:]...), bob.Device()); !errors.Is(err, block.ErrSignature) {
		t.Errorf("signed for another purpose: %v", err)
	}
	sig = alice.id.Sign(block.ForShare, text)
	if _, err := parseShare(append(text, sig[:]...), mallory.Device()); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("resealed to somebody else: %v", err)
	}
	if _, err := parseShare(append(text, sig[:]...), bob.Device()); err != nil {
		t.Errorf("the honest one: %v", err)
	}
}
