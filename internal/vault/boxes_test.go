package vault

import (
	"errors"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
)

// Alice founds a team: her genesis boxes the first generation to herself and to
// bob's recovery kit. Both open it; nobody else finds anything.
func TestGenesisBoxesOpenUnderItsOwnName(t *testing.T) {
	alice, bob := identity(t, "alice"), identity(t, "bob")
	s := secret(t, "generation")
	c := BoxContext{Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	genesis := block.ID{0x77}
	groups := []block.BoxGroup{boxFor(t, c, s, alice.BoxKey(), bob.BoxKey())}
	team, gen := block.TeamID(genesis), block.Generation(genesis)
	for _, given := range []block.TeamID{{}, team} {
		for _, id := range []*Identity{alice, bob} {
			k := NewKeyring(id)
			if n, err := k.OpenBoxes(given, genesis, alice.Device(), groups); n != 1 || err != nil {
				t.Fatalf("opened %d, %v", n, err)
			}
			if !k.Has(team, gen) || k.Has(block.TeamID{}, gen) {
				t.Error("stored under another name")
			}
			if n, err := k.OpenBoxes(given, genesis, alice.Device(), groups); n != 0 || err != nil {
				t.Errorf("the second time: %d, %v", n, err)
			}
		}
		carol := NewKeyring(identity(t, "carol"))
		if n, err := carol.OpenBoxes(given, genesis, alice.Device(), groups); n != 0 || err != nil || carol.HasRoute(team, gen) {
			t.Errorf("carol opened %d, %v", n, err)
		}
	}
}

// Box and OpenBoxes across devices: a member boxes what it holds to a hybrid key,
// to a bare did:key, and route keys to a replica.
func TestBoxReachesEveryKindOfRecipient(t *testing.T) {
	alice := aliceRing(t)
	bob := identity(t, "bob")
	did, err := bob.Device().BoxKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]block.BoxKey{"hybrid": bob.BoxKey(), "did:key": did} {
		for _, p := range []block.BoxPurpose{block.BoxGeneration, block.BoxRoute} {
			b, commitment, err := alice.Box(teamA, gen1, p, to)
			if err != nil {
				t.Fatal(err)
			}
			g := block.BoxGroup{Generation: gen1, Purpose: p, Commitment: commitment, Boxes: []block.Box{b}}
			k := NewKeyring(bob)
			if n, err := k.OpenBoxes(teamA, block.ID{3}, alice.id.Device(), []block.BoxGroup{g}); n != 1 || err != nil {
				t.Errorf("%s, purpose %d: %d, %v", name, p, n, err)
			}
			if k.Has(teamA, gen1) != (p == block.BoxGeneration) || !k.HasRoute(teamA, gen1) {
				t.Errorf("%s, purpose %d: wrong keys", name, p)
			}
			body, err := alice.Seal(Roster, linkHeader(teamA, gen1, bob.Device()), []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Open(Roster, linkHeader(teamA, gen1, bob.Device()), body); err != nil {
				t.Errorf("%s, purpose %d: the key is wrong: %v", name, p, err)
			}
		}
	}
}

// A box taken from its place does not open, and is reported with its author.
func TestBoxesDoNotMove(t *testing.T) {
	alice, bob := identity(t, "alice"), identity(t, "bob")
	s, other := secret(t, "generation"), secret(t, "other")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	good := boxFor(t, c, s, bob.BoxKey())
	link := block.ID{9}
	open := func(team block.TeamID, author block.Device, g block.BoxGroup) (int, *Keyring, error) {
		k := NewKeyring(bob)
		n, err := k.OpenBoxes(team, link, author, []block.BoxGroup{g})
		return n, k, err
	}
	if n, _, err := open(teamA, alice.Device(), good); n != 1 || err != nil {
		t.Fatalf("in its place: %d %v", n, err)
	}
	changed := func(f func(*block.BoxGroup)) block.BoxGroup {
		g := good
		g.Boxes = slices.Clone(good.Boxes)
		f(&g)
		return g
	}
	for name, c := range map[string]struct {
		team   block.TeamID
		author block.Device
		g      block.BoxGroup
	}{
		"other team":   {teamB, alice.Device(), good},
		"other author": {teamA, bob.Device(), good},
		"into genesis": {block.TeamID{}, alice.Device(), good},
		"other purpose": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Purpose = block.BoxRoute
		})},
		"other commitment": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Commitment = Commitment(other)
			g.Boxes[0].Hint = block.BoxHint(g.Commitment, bob.BoxKey())
		})},
		"flipped text": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Boxes[0].Text = slices.Clone(g.Boxes[0].Text)
			g.Boxes[0].Text[0] ^= 1
		})},
		"flipped enc": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Boxes[0].Enc = slices.Clone(g.Boxes[0].Enc)
			g.Boxes[0].Enc[0] ^= 1
		})},
		"other kem": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Boxes[0].KEM = block.KEMX25519
		})},
		"empty": {teamA, alice.Device(), changed(func(g *block.BoxGroup) {
			g.Boxes[0].Enc, g.Boxes[0].Text = nil, nil
		})},
	} {
		n, k, err := open(c.team, c.author, c.g)
		var report *BoxError
		if n != 0 || !errors.As(err, &report) || report.Link != link || report.Author != c.author {
			t.Errorf("%s: opened %d, %v", name, n, err)
		}
		if k.HasRoute(c.team, block.Generation(link)) {
			t.Errorf("%s: a key was added", name)
		}
	}
	// For somebody else, or under another hint, it is simply not ours.
	foreign := changed(func(g *block.BoxGroup) { g.Boxes[0].Hint = block.Hint{1} })
	if n, _, err := open(teamA, alice.Device(), foreign); n != 0 || err != nil {
		t.Errorf("other hint: %d %v", n, err)
	}
}

// The author seals a key that is not the committed one: the promise is checked
// when sealing, so he must forge; the receiver notices.
func TestBoxWithAnotherKeyThanCommitted(t *testing.T) {
	alice, bob := identity(t, "alice"), identity(t, "bob")
	s, other := secret(t, "generation"), secret(t, "other")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	if _, err := SealBox(c, bob.BoxKey(), other); err == nil {
		t.Error("SealBox sealed a key that the commitment does not fit")
	}
	forged := forgeBox(t, c, bob.BoxKey(), other.Reveal())
	short := forgeBox(t, c, bob.BoxKey(), []byte("short"))
	for name, b := range map[string]block.Box{"another key": forged, "no key": short} {
		k := NewKeyring(bob)
		g := block.BoxGroup{Purpose: c.Purpose, Commitment: c.Commitment, Boxes: []block.Box{b}}
		var report *BoxError
		if n, err := k.OpenBoxes(teamA, block.ID{9}, alice.Device(), []block.BoxGroup{g}); n != 0 || !errors.As(err, &report) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		g.Generation = gen2 // nothing is known of this one but what the group says
		if n, err := k.OpenBoxes(teamA, block.ID{9}, alice.Device(), []block.BoxGroup{g}); n != 0 || !errors.As(err, &report) || k.Has(teamA, gen2) {
			t.Errorf("%s of another generation: %d, %v", name, n, err)
		}
		g.Generation = block.Generation{}
		// A bad box first does not hide the good one behind it.
		good := boxFor(t, c, s, bob.BoxKey())
		g.Boxes = []block.Box{b, good.Boxes[0]}
		if n, err := k.OpenBoxes(teamA, block.ID{9}, alice.Device(), []block.BoxGroup{g}); n != 1 || err != nil {
			t.Errorf("%s, then the good one: %d, %v", name, n, err)
		}
	}
}

// Mallory, a member, boxes bob a key of his own under the name of the generation
// that alice made. Bob knows what alice's link committed to, before or afterwards.
func TestNobodyRenamesAKey(t *testing.T) {
	alice, bob, mallory := identity(t, "alice"), identity(t, "bob"), identity(t, "mallory")
	s, fake := secret(t, "generation"), secret(t, "fake")
	link := block.ID{1}
	gen := block.Generation(link)
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	honest := boxFor(t, c, s, alice.BoxKey()) // bob is not among the recipients
	lie := boxFor(t, BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(fake), Author: mallory.Device()}, fake, bob.BoxKey())
	lie.Generation = gen
	toBob := boxFor(t, c, s, bob.BoxKey())
	toBob.Generation = gen

	k := NewKeyring(bob)
	if _, err := k.OpenBoxes(teamA, link, alice.Device(), []block.BoxGroup{honest}); err != nil {
		t.Fatal(err)
	}
	var report *BoxError
	if n, err := k.OpenBoxes(teamA, block.ID{2}, mallory.Device(), []block.BoxGroup{lie}); n != 0 || !errors.As(err, &report) || k.Has(teamA, gen) {
		t.Errorf("the lie after the link: %d, %v", n, err)
	}
	if n, err := k.OpenBoxes(teamA, block.ID{3}, alice.Device(), []block.BoxGroup{toBob}); n != 1 || err != nil {
		t.Errorf("the true box: %d, %v", n, err)
	}

	k = NewKeyring(bob)
	if n, err := k.OpenBoxes(teamA, block.ID{2}, mallory.Device(), []block.BoxGroup{lie}); n != 1 || err != nil {
		t.Fatalf("nothing known yet: %d, %v", n, err)
	}
	if _, err := k.OpenBoxes(teamA, link, alice.Device(), []block.BoxGroup{honest}); err != nil || k.Has(teamA, gen) {
		t.Errorf("the link came, and the false key stays: %v", err)
	}
	if n, err := k.OpenBoxes(teamA, block.ID{3}, alice.Device(), []block.BoxGroup{toBob}); n != 1 || err != nil {
		t.Errorf("the true box: %d, %v", n, err)
	}
	if err := k.Add(teamA, gen, fake); !errors.Is(err, ErrOtherKey) {
		t.Errorf("Add of the false key: %v", err)
	}
}

// A recipient whose key cannot receive is an error of that recipient alone.
func TestSealingToABadKey(t *testing.T) {
	s := secret(t, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s)}
	hybrid := slices.Clone(identity(t, "bob").BoxKey().Public)
	clear(hybrid[1184:]) // the X25519 half is of low order
	for name, key := range map[string]block.BoxKey{
		"unset":     {},
		"low order": {KEM: block.KEMX25519, Public: make([]byte, 32)},
		"low half":  {KEM: block.KEMHybrid, Public: hybrid},
		"short":     {KEM: block.KEMHybrid, Public: hybrid[:100]},
	} {
		if _, err := SealBox(c, key, s); !errors.Is(err, block.ErrKey) {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
}

// Flooded with boxes under its hint, a device tries a few.
func TestTriesAreBounded(t *testing.T) {
	alice, bob := identity(t, "alice"), identity(t, "bob")
	s := secret(t, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	bad := forgeBox(t, c, bob.BoxKey(), []byte("bad"))
	g := block.BoxGroup{Purpose: c.Purpose, Commitment: c.Commitment, Boxes: slices.Repeat([]block.Box{bad}, maxTries)}
	g.Boxes = append(g.Boxes, boxFor(t, c, s, bob.BoxKey()).Boxes[0])
	if n, err := NewKeyring(bob).OpenBoxes(teamA, block.ID{9}, alice.Device(), []block.BoxGroup{g}); n != 0 || err == nil {
		t.Errorf("opened %d, %v", n, err)
	}
}

// Somebody boxes a route key of his own under the name of a generation whose route key
// no link commits to. The generation itself opens all the same, and what follows from it.
func TestAWrongRouteKeyIsReplacedByTheGeneration(t *testing.T) {
	alice, bob, eve := identity(t, "alice"), identity(t, "bob"), identity(t, "eve")
	s, wrong := secret(t, "generation"), secret(t, "wrong")
	lie := BoxContext{Team: teamA, Purpose: block.BoxRoute, Commitment: RouteCommitment(wrong), Author: eve.Device()}
	bad := boxFor(t, lie, wrong, bob.BoxKey())
	right := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	good := boxFor(t, right, s, bob.BoxKey())
	bad.Generation, good.Generation = gen1, gen1
	k := NewKeyring(bob)
	if n, err := k.OpenBoxes(teamA, block.ID{3}, eve.Device(), []block.BoxGroup{bad}); n != 1 || err != nil {
		t.Fatalf("opened %d, %v", n, err)
	}
	if n, err := k.OpenBoxes(teamA, block.ID{4}, alice.Device(), []block.BoxGroup{good}); n != 1 || err != nil {
		t.Fatalf("opened %d, %v", n, err)
	}
	honest := NewKeyring(alice)
	if err := honest.Add(teamA, gen1, s); err != nil {
		t.Fatal(err)
	}
	for _, l := range []Layer{Roster, Private} {
		h := linkHeader(teamA, gen1, alice.Device())
		body, err := honest.Seal(l, h, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(l, h, body); err != nil {
			t.Errorf("layer %d: %v", l, err)
		}
	}
}
