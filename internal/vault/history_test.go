package vault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// G1 -> G2 -> G3, and a merge G4 of G3 and a concurrent H: one box of G4 opens all
// of them, for a member and, as route keys, for a replica.
func TestOneBoxOpensThePast(t *testing.T) {
	alice := NewKeyring(identity(t, "alice"))
	type rotation struct {
		gen             block.Generation
		header          block.Header
		history, routes []byte
	}
	gen := func(n byte) block.Generation { return block.Generation{n} }
	var past []rotation
	rotate := func(n byte, parents ...block.Generation) {
		s := secret(t, fmt.Sprint("generation ", n))
		h := with(linkHeader(teamA, gen(1), alice.id.Device()), func(h *block.Header) { h.Links = []block.ID{{n}} })
		history, routes, err := alice.SealHistory(s, h, parents)
		if err != nil {
			t.Fatal(err)
		}
		if err := alice.Add(teamA, gen(n), s); err != nil {
			t.Fatal(err)
		}
		past = append([]rotation{{gen(n), h, history, routes}}, past...) // newest first
	}
	rotate(1)
	rotate(2, gen(1))
	rotate(3, gen(2))
	rotate(9, gen(2))
	rotate(4, gen(9), gen(3), gen(3)) // unsorted and doubled by the caller

	for _, p := range []block.BoxPurpose{block.BoxGeneration, block.BoxRoute} {
		s, err := alice.secret(name{teamA, gen(4)}, p)
		if err != nil {
			t.Fatal(err)
		}
		k := NewKeyring(identity(t, "bob"))
		if err := k.add(name{teamA, gen(4)}, p, s); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, r := range past {
			n, err := k.OpenHistory(r.header, r.gen, r.history, r.routes)
			if err != nil {
				t.Errorf("purpose %d, %s: %v", p, r.gen, err)
			}
			total += n
		}
		if total != 4 {
			t.Errorf("purpose %d: %d keys added, want 4", p, total)
		}
		for _, n := range []byte{1, 2, 3, 9, 4} {
			if k.Has(teamA, gen(n)) != (p == block.BoxGeneration) || !k.HasRoute(teamA, gen(n)) {
				t.Errorf("purpose %d: generation %d", p, n)
			}
			want, _ := alice.Topic(teamA, gen(n))
			if got, _ := k.Topic(teamA, gen(n)); got != want {
				t.Errorf("purpose %d: generation %d has another route key", p, n)
			}
		}
	}
}

// What a replica is given never gives it more than route keys.
func TestRouteHistoryHoldsNoGeneration(t *testing.T) {
	alice := aliceRing(t)
	h := linkHeader(teamA, gen1, alice.id.Device())
	s := secret(t, "new")
	history, _, err := alice.SealHistory(s, h, []block.Generation{gen1})
	if err != nil {
		t.Fatal(err)
	}
	replica := NewKeyring(identity(t, "replica"))
	if err := replica.add(name{teamA, gen2}, block.BoxRoute, RouteKey(teamA, s)); err != nil {
		t.Fatal(err)
	}
	if n, err := replica.OpenHistory(h, gen2, history, history); n != 0 || !errors.Is(err, ErrSealed) {
		t.Errorf("the members' layer: %d, %v", n, err)
	}
}

func TestHistoryDoesNotMove(t *testing.T) {
	alice := aliceRing(t)
	h := linkHeader(teamA, gen1, alice.id.Device())
	s, err := alice.secret(name{teamA, gen2}, block.BoxGeneration)
	if err != nil {
		t.Fatal(err)
	}
	history, routes, err := alice.SealHistory(s, h, []block.Generation{gen1})
	if err != nil {
		t.Fatal(err)
	}
	bob := func() *Keyring {
		k := NewKeyring(identity(t, "bob"))
		if err := k.Add(teamA, gen2, s); err != nil {
			t.Fatal(err)
		}
		return k
	}
	if n, err := bob().OpenHistory(h, gen2, history, routes); n != 1 || err != nil {
		t.Fatalf("in its place: %d %v", n, err)
	}
	if n, err := bob().OpenHistory(h, gen2, nil, nil); n != 0 || err != nil {
		t.Errorf("empty layers: %d %v", n, err)
	}
	other := with(h, func(h *block.Header) { h.Links = []block.ID{{0xee}} })
	for name, try := range map[string]func() (int, error){
		"other link":  func() (int, error) { return bob().OpenHistory(other, gen2, history, routes) },
		"route layer": func() (int, error) { return bob().OpenHistory(h, gen2, routes, history) },
		"cut short":   func() (int, error) { return bob().OpenHistory(h, gen2, history[:len(history)-1], routes) },
		"as a message": func() (int, error) {
			m, _ := alice.SealMessage(teamA, gen2, []byte("x"))
			return bob().OpenHistory(h, gen2, m, m)
		},
	} {
		if n, err := try(); n != 0 || !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
	// A key that the generation's own link did not commit to is not taken.
	k := bob()
	k.learn(name{teamA, gen1}, block.BoxGeneration, Commitment(secret(t, "the true one")))
	if n, err := k.OpenHistory(h, gen2, history, routes); n != 0 || !errors.Is(err, ErrOtherKey) || k.Has(teamA, gen1) {
		t.Errorf("against the commitment: %d %v", n, err)
	}
}

func TestHistoryLayerHasOneForm(t *testing.T) {
	a, b := pastKey{Generation: gen1, Key: secret(t, "a")}, pastKey{Generation: gen2, Key: secret(t, "b")}
	var many []pastKey
	for i := range maxHistory + 1 {
		many = append(many, pastKey{Generation: block.Generation{byte(i + 1)}, Key: secret(t, "x")})
	}
	if got, err := parsePast(wire.Must([]pastKey{a, b})); err != nil || len(got) != 2 || !got[1].Key.Equal(b.Key) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parsePast(wire.Must(many[:maxHistory])); err != nil {
		t.Errorf("%d parents: %v", maxHistory, err)
	}
	for name, in := range map[string][]pastKey{
		"none": {}, "unsorted": {b, a}, "one twice": {a, a}, "zero generation": {{Key: a.Key}}, "zero key": {{Generation: gen1}}, "too many": many,
	} {
		if _, err := parsePast(wire.Must(in)); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parsePast([]byte{0x81, 0x81, 0x40}); !errors.Is(err, ErrSealed) {
		t.Errorf("garbage: %v", err)
	}
}
