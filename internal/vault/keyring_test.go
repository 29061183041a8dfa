package vault

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/toftdb/toft/block"
)

// A body opens in the place it was sealed for and in no other: each row moves it
// somewhere else.
func TestSealedBytesDoNotMove(t *testing.T) {
	k := aliceRing(t)
	alice := k.id.Device()
	link := linkHeader(teamA, gen1, alice)
	value := valueHeader(teamA, gen1, db1)
	plain := []byte("content")
	for name, c := range map[string]struct {
		from, to   block.Header
		seal, open Layer
	}{
		"value to other team":         {value, valueHeader(teamB, gen1, db1), Data, Data},
		"value to other generation":   {value, valueHeader(teamA, gen2, db1), Data, Data},
		"value to other database":     {value, valueHeader(teamA, gen1, db2), Data, Data},
		"value to other kind":         {value, with(value, func(h *block.Header) { h.Kind = block.KindNode }), Data, Data},
		"value gets links":            {value, with(value, func(h *block.Header) { h.Links = []block.ID{{1}} }), Data, Data},
		"roster to private":           {link, link, Roster, Private},
		"private to roster":           {link, link, Private, Roster},
		"roster to other link":        {link, with(link, func(h *block.Header) { h.Links = []block.ID{{7}} }), Roster, Roster},
		"roster to other author":      {link, linkHeader(teamA, gen1, block.Device{1}), Roster, Roster},
		"roster to other seat":        {link, with(link, func(h *block.Header) { h.Seat = block.ID{9} }), Roster, Roster},
		"roster to critical":          {link, with(link, func(h *block.Header) { h.Critical = true }), Roster, Roster},
		"roster to other team":        {link, linkHeader(teamB, gen1, alice), Roster, Roster},
		"private to other generation": {link, linkHeader(teamA, gen2, alice), Private, Private},
		"roster beside other boxes": {link, with(link, func(h *block.Header) {
			h.Boxes = []block.BoxGroup{{Purpose: block.BoxGeneration}}
		}), Roster, Roster},
	} {
		body, err := k.Seal(c.seal, c.from, plain)
		if err != nil {
			t.Errorf("%s: seal: %v", name, err)
			continue
		}
		if got, err := k.Open(c.seal, c.from, body); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: in its place: %q, %v", name, got, err)
		}
		if got, err := k.Open(c.open, c.to, body); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: opened %q, %v, want ErrSealed", name, got, err)
		}
	}
	// An announcement is no layer and no layer is an announcement.
	sealed, err := k.SealMessage(teamA, gen1, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.OpenMessage(teamA, gen1, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("announcement: %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"other team":       func() ([]byte, error) { return k.OpenMessage(teamB, gen1, sealed) },
		"other generation": func() ([]byte, error) { return k.OpenMessage(teamA, gen2, sealed) },
		"as a roster":      func() ([]byte, error) { return k.Open(Roster, link, sealed) },
		"as data":          func() ([]byte, error) { return k.Open(Data, value, sealed) },
	} {
		if got, err := open(); !errors.Is(err, ErrSealed) {
			t.Errorf("announcement %s: %q, %v", name, got, err)
		}
	}
}

func with(h block.Header, change func(*block.Header)) block.Header {
	change(&h)
	return h
}

// A layer has its place; asking for it elsewhere is a mistake of the caller, not a
// body that fails.
func TestLayersBelongToKinds(t *testing.T) {
	k := aliceRing(t)
	link, value := linkHeader(teamA, gen1, k.id.Device()), valueHeader(teamA, gen1, db1)
	for name, c := range map[string]struct {
		l Layer
		h block.Header
	}{"data of a link": {Data, link}, "roster of a value": {Roster, value}, "private of a value": {Private, value}, "layer 0": {0, link}, "layer 4": {4, link}} {
		if _, err := k.Seal(c.l, c.h, nil); err == nil {
			t.Errorf("%s was sealed", name)
		}
		if _, err := k.Open(c.l, c.h, make([]byte, 100)); err == nil || errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutTheKey(t *testing.T) {
	k := NewKeyring(identity(t, "bob"))
	link, value := linkHeader(teamA, gen1, k.id.Device()), valueHeader(teamA, gen1, db1)
	for name, try := range map[string]func() error{
		"seal":            func() error { _, err := k.Seal(Data, value, nil); return err },
		"open":            func() error { _, err := k.Open(Roster, link, nil); return err },
		"seal message":    func() error { _, err := k.SealMessage(teamA, gen1, nil); return err },
		"open message":    func() error { _, err := k.OpenMessage(teamA, gen1, nil); return err },
		"topic":           func() error { _, err := k.Topic(teamA, gen1); return err },
		"box":             func() error { _, _, err := k.Box(teamA, gen1, block.BoxRoute, k.id.BoxKey()); return err },
		"seal history":    func() error { _, _, err := k.SealHistory(secret(t, "new"), link, []block.Generation{gen1}); return err },
		"open history":    func() error { _, err := k.OpenHistory(link, gen2, []byte{1}, []byte{1}); return err },
		"database":        func() error { _, err := k.Database(db1); return err },
		"genesis body":    func() error { _, err := k.Open(Roster, block.Header{Kind: block.KindLink}, nil); return err },
		"generation zero": func() error { _, err := k.SealMessage(teamA, block.Generation{}, nil); return err },
	} {
		if err := try(); !errors.Is(err, ErrNoKey) {
			t.Errorf("%s: %v, want ErrNoKey", name, err)
		}
	}
	if k.Has(teamA, gen1) || k.HasRoute(teamA, gen1) {
		t.Error("an empty keyring has a key")
	}
}

// A replica holds route keys: it reads rosters and announcements, and nothing else.
func TestReplicaReadsRostersOnly(t *testing.T) {
	member := aliceRing(t)
	s, err := member.secret(name{teamA, gen1}, block.BoxRoute)
	if err != nil {
		t.Fatal(err)
	}
	replica := NewKeyring(identity(t, "replica"))
	if err := replica.add(name{teamA, gen1}, block.BoxRoute, s); err != nil {
		t.Fatal(err)
	}
	if replica.Has(teamA, gen1) || !replica.HasRoute(teamA, gen1) {
		t.Error("Has or HasRoute is wrong")
	}
	link, value := linkHeader(teamA, gen1, member.id.Device()), valueHeader(teamA, gen1, db1)
	roster, _ := member.Seal(Roster, link, []byte("roster"))
	private, _ := member.Seal(Private, link, []byte("private"))
	data, _ := member.Seal(Data, value, []byte("data"))
	if got, err := replica.Open(Roster, link, roster); err != nil || string(got) != "roster" {
		t.Errorf("roster: %q %v", got, err)
	}
	if _, err := replica.Open(Private, link, private); !errors.Is(err, ErrNoKey) {
		t.Errorf("private: %v", err)
	}
	if _, err := replica.Open(Data, value, data); !errors.Is(err, ErrNoKey) {
		t.Errorf("data: %v", err)
	}
	if _, _, err := replica.Box(teamA, gen1, block.BoxGeneration, member.id.BoxKey()); !errors.Is(err, ErrNoKey) {
		t.Errorf("boxing a generation: %v", err)
	}
	mine, _ := member.Topic(teamA, gen1)
	if topic, err := replica.Topic(teamA, gen1); err != nil || topic != mine || len(topic) != 52 {
		t.Errorf("topic %q, the member's %q, %v", topic, mine, err)
	}
	other, _ := member.Topic(teamA, gen2)
	if other == mine {
		t.Error("two generations share a topic")
	}
	// Becoming a member later adds the rest.
	full, _ := member.secret(name{teamA, gen1}, block.BoxGeneration)
	if err := replica.Add(teamA, gen1, full); err != nil || !replica.Has(teamA, gen1) {
		t.Errorf("promoted: %v", err)
	}
	if got, err := replica.Open(Data, value, data); err != nil || string(got) != "data" {
		t.Errorf("data after promotion: %q %v", got, err)
	}
}

func TestAKeyIsNotReplacedByAnother(t *testing.T) {
	k := aliceRing(t)
	if err := k.Add(teamA, gen1, secret(t, "other")); !errors.Is(err, ErrOtherKey) {
		t.Errorf("other generation: %v", err)
	}
	if err := k.add(name{teamA, gen1}, block.BoxRoute, secret(t, "other")); !errors.Is(err, ErrOtherKey) {
		t.Errorf("other route key: %v", err)
	}
	same, _ := k.secret(name{teamA, gen1}, block.BoxGeneration)
	if err := k.Add(teamA, gen1, same); err != nil {
		t.Errorf("the same again: %v", err)
	}
	replica := NewKeyring(k.id)
	route := secret(t, "route")
	replica.learn(name{teamA, gen1}, block.BoxRoute, RouteCommitment(route))
	if err := replica.add(name{teamA, gen1}, block.BoxRoute, route); err != nil {
		t.Fatal(err)
	}
	if err := replica.Add(teamA, gen1, same); !errors.Is(err, ErrOtherKey) {
		t.Errorf("generation whose route key is not the one committed to: %v", err)
	}
	for name, try := range map[string]error{
		"zero team":       k.Add(block.TeamID{}, gen1, same),
		"zero generation": k.Add(teamA, block.Generation{}, same),
		"zero key":        k.Add(teamA, gen1, block.Secret{}),
	} {
		if try == nil {
			t.Errorf("%s was added", name)
		}
	}
}

func TestKeyringIsSafeForConcurrentUse(t *testing.T) {
	k := aliceRing(t)
	value := valueHeader(teamA, gen1, db1)
	want, err := k.Seal(Data, value, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				h := valueHeader(teamA, gen1, block.DBID{byte(j + 1), byte(i / 4)})
				body, err := k.Seal(Data, h, []byte("x"))
				if err == nil {
					_, err = k.Open(Data, h, body)
				}
				if err != nil {
					t.Error(err)
				}
				if again, err := k.Seal(Data, value, []byte("content")); err != nil || !bytes.Equal(again, want) {
					t.Error("sealing differs between goroutines", err)
				}
				_ = k.Add(teamB, block.Generation{byte(j), 9}, secret(t, string(rune(j))))
				k.HasRoute(teamB, block.Generation{byte(j), 9})
			}
		})
	}
	wg.Wait()
}
