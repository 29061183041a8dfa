package vault

import (
	"crypto/hpke"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/toftdb/toft/block"
)

// stream is endless bytes that depend on a name: SHA-256(name ‖ counter)….
type stream struct {
	name string
	n    byte
	rest []byte
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		sum := sha256.Sum256(append([]byte(s.name), s.n))
		s.rest = sum[:]
		s.n++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func from(name string) io.Reader { return &stream{name: name} }

func identity(t testing.TB, name string) *Identity {
	t.Helper()
	id, err := NewIdentity(from(name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func secret(t testing.TB, name string) block.Secret {
	t.Helper()
	s, err := NewSecret(from(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	teamA, teamB = block.TeamID{0xa}, block.TeamID{0xb}
	gen1, gen2   = block.Generation{1}, block.Generation{2}
	db1, db2     = block.DBID{1}, block.DBID{2}
)

// aliceRing returns a keyring of alice that holds gen1 and gen2 of both teams; every
// key is another one.
func aliceRing(t testing.TB) *Keyring {
	t.Helper()
	k := NewKeyring(identity(t, "alice"))
	for _, team := range []block.TeamID{teamA, teamB} {
		for _, gen := range []block.Generation{gen1, gen2} {
			if err := k.Add(team, gen, secret(t, string(team[:1])+string(gen[:1]))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return k
}

func linkHeader(team block.TeamID, gen block.Generation, author block.Device) block.Header {
	return block.Header{Kind: block.KindLink, Team: team, Generation: gen, Author: author, Seat: block.ID{5}, Parents: 1, Links: []block.ID{{6}}}
}

func valueHeader(team block.TeamID, gen block.Generation, db block.DBID) block.Header {
	return block.Header{Kind: block.KindValue, Team: team, Generation: gen, DB: db}
}

// boxFor seals s to one recipient inside the link-making generation's group.
func boxFor(t testing.TB, c BoxContext, s block.Secret, to ...block.BoxKey) block.BoxGroup {
	t.Helper()
	g := block.BoxGroup{Purpose: c.Purpose, Commitment: c.Commitment}
	for _, key := range to {
		b, err := SealBox(c, key, s)
		if err != nil {
			t.Fatal(err)
		}
		g.Boxes = append(g.Boxes, b)
	}
	block.SortBoxes([]block.BoxGroup{g})
	return g
}

// forgeBox seals any plaintext in the right context, as only an author who broke
// the rules would.
func forgeBox(t testing.TB, c BoxContext, to block.BoxKey, plain []byte) block.Box {
	t.Helper()
	public, err := to.Parse()
	if err != nil {
		t.Fatal(err)
	}
	enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), c.info(to))
	if err != nil {
		t.Fatal(err)
	}
	text, err := sender.Seal(nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	return block.Box{Hint: block.BoxHint(c.Commitment, to), KEM: to.KEM, Enc: enc, Text: text}
}
