package block_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
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

// The device of the all-zero seed, as the did:key specification and libp2p's tools
// print it.
const (
	zeroDevice = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
	zeroPeer   = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	zeroDID    = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
)

func TestTextForms(t *testing.T) {
	d := block.Device(unhex(t, zeroDevice))
	if d.String() != zeroPeer || d.DID() != zeroDID {
		t.Errorf("device prints as %s and %s", d, d.DID())
	}
	for _, text := range []string{zeroPeer, zeroDID} {
		if back, err := block.ParseDevice(text); err != nil || back != d {
			t.Errorf("ParseDevice(%s) = %s, %v", text, back, err)
		}
	}
	// `ipfs block put` of "hello" prints this CID.
	id := block.Sum([]byte("hello"))
	const cid = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
	if id.String() != cid {
		t.Errorf("CID of hello = %s, want %s", id, cid)
	}
	if back, err := block.ParseID(cid); err != nil || back != id {
		t.Errorf("ParseID = %s, %v", back, err)
	}
	team, db, inv := block.TeamID(id), block.DBID(id[:16]), block.InviteID(id[:8])
	if back, err := block.ParseTeamID(team.String()); err != nil || back != team {
		t.Errorf("%s: %s %v", team, back, err)
	}
	if back, err := block.ParseDBID(db.String()); err != nil || back != db {
		t.Errorf("%s: %s %v", db, back, err)
	}
	if back, err := block.ParseInviteID(inv.String()); err != nil || back != inv {
		t.Errorf("%s: %s %v", inv, back, err)
	}
	if got, want := db.String(), "db-ftze3os7wcrq4jxihmvmlopcty"; got != want {
		t.Errorf("database prints as %s, want %s", got, want)
	}
	if got, want := inv.String(), "inv-ftze3os7wcrq4"; got != want {
		t.Errorf("invitation prints as %s, want %s", got, want)
	}
}

// One identity, one text: a second spelling would be a second name in a log, a
// config file or a block list.
func TestOtherSpellingsAreRefused(t *testing.T) {
	id := block.Sum([]byte("hello"))
	team, db := block.TeamID(id).String(), block.DBID(id[:16]).String()
	inv := block.InviteID(id[:8]).String()
	for name, parse := range map[string]func(string) error{
		"device": func(s string) error { _, err := block.ParseDevice(s); return err },
		"block":  func(s string) error { _, err := block.ParseID(s); return err },
		"team":   func(s string) error { _, err := block.ParseTeamID(s); return err },
		"db":     func(s string) error { _, err := block.ParseDBID(s); return err },
		"invite": func(s string) error { _, err := block.ParseInviteID(s); return err },
	} {
		good := map[string][]string{"device": {zeroPeer, zeroDID}, "block": {id.String()}, "team": {team}, "db": {db}, "invite": {inv}}[name]
		for _, s := range good {
			// Unpadded base32 leaves bits over in its last letter; they must be zero.
			last := s[:len(s)-1] + string(s[len(s)-1]+1)
			for _, bad := range []string{"", s[1:], s[:len(s)-1], s + "a", "1" + s, strings.ToUpper(s), " " + s, s + "\n", s + "=", strings.Repeat("a", 1<<16), "\x00", s[:5] + "l0O" + s[8:]} {
				if err := parse(bad); err == nil {
					t.Errorf("%s: %.80q was read", name, bad)
				}
			}
			if name != "device" {
				if err := parse(last); err == nil && name != "block" {
					t.Errorf("%s: %q with a dirty last letter was read", name, last)
				}
			}
		}
		for _, other := range []string{zeroPeer, id.String(), team, db, inv, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"} {
			if len(good) > 0 && other == good[0] {
				continue
			}
			if err := parse(other); !errors.Is(err, block.ErrIdentity) {
				t.Errorf("%s: %q: %v, want ErrIdentity", name, other, err)
			}
		}
	}
}

func TestActorsOrderBytewise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) block.Actor {
			b := rapid.SliceOfN(rapid.ByteRange(0, 3), 40, 40).Draw(t, label)
			return block.ActorFrom([40]byte(b))
		}
		a, b := draw("a"), draw("b")
		x, y := a.Bytes(), b.Bytes()
		if a.Compare(b) != bytes.Compare(x[:], y[:]) {
			t.Fatalf("%x against %x", x, y)
		}
		if block.ActorFrom(a.Bytes()) != a {
			t.Fatal("actor does not survive its bytes")
		}
	})
}

func FuzzParseText(f *testing.F) {
	id := block.Sum(nil)
	for _, s := range []string{zeroPeer, zeroDID, id.String(), block.TeamID(id).String(), block.DBID(id[:16]).String()} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := block.ParseDevice(s); err == nil && d.String() != s && d.DID() != s {
			t.Fatalf("device %q prints as %s", s, d)
		}
		if id, err := block.ParseID(s); err == nil && id.String() != s {
			t.Fatalf("id %q prints as %s", s, id)
		}
		if id, err := block.ParseTeamID(s); err == nil && id.String() != s {
			t.Fatalf("team %q prints as %s", s, id)
		}
		if id, err := block.ParseDBID(s); err == nil && id.String() != s {
			t.Fatalf("db %q prints as %s", s, id)
		}
		if id, err := block.ParseInviteID(s); err == nil && id.String() != s {
			t.Fatalf("invitation %q prints as %s", s, id)
		}
	})
}
