package vault

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/toftdb/toft/block"
)

// benchRing returns a keyring and the header of a commit of ordinary size.
func benchRing(tb testing.TB) (*Keyring, block.Header) {
	id, err := NewIdentity(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	s := secret(tb, "generation")
	k := NewKeyring(id)
	team, gen := block.TeamID{1}, block.Generation{2}
	if err := k.Add(team, gen, s); err != nil {
		tb.Fatal(err)
	}
	h := block.Header{Kind: block.KindCommit, Team: team, DB: block.DBID{3}, Generation: gen, Author: id.Device(), Seat: block.ID{4}, Parents: 1, Links: []block.ID{{5}}}
	return k, h
}

func BenchmarkSeal(b *testing.B) {
	k, h := benchRing(b)
	plain := bytes.Repeat([]byte("x"), 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(Data, h, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, h := benchRing(b)
	body := sealed(b, k, h)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(Data, h, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticated(b *testing.B) {
	_, h := benchRing(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Authenticated()
	}
}

func BenchmarkExpand(b *testing.B) {
	d := newDatabase(db1, secret(b, "database"))
	e := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		d.Expand(e)
	}
}

func BenchmarkSignBlock(b *testing.B) {
	k, h := benchRing(b)
	body := sealed(b, k, h)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.id.SignBlock(h, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseVerify(b *testing.B) {
	k, h := benchRing(b)
	body := sealed(b, k, h)
	blk, err := k.id.SignBlock(h, body)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := block.Parse(blk.Data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		u, err := block.Parse(blk.Data)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := u.Verify(h.Team, h.Generation); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSealBox(b *testing.B) {
	alice, bob := identity(b, "alice"), identity(b, "bob")
	s := secret(b, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	for b.Loop() {
		if _, err := SealBox(c, bob.BoxKey(), s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenBoxes(b *testing.B) {
	alice, bob := identity(b, "alice"), identity(b, "bob")
	s := secret(b, "generation")
	c := BoxContext{Team: teamA, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: alice.Device()}
	g := boxFor(b, c, s, bob.BoxKey())
	b.Run("opens", func(b *testing.B) {
		for b.Loop() {
			if n, err := NewKeyring(bob).OpenBoxes(teamA, block.ID{1}, alice.Device(), []block.BoxGroup{g}); n != 1 || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("not for me", func(b *testing.B) {
		k := NewKeyring(identity(b, "carol"))
		for b.Loop() {
			if n, err := k.OpenBoxes(teamA, block.ID{1}, alice.Device(), []block.BoxGroup{g}); n != 0 || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

// sealed returns the body of a commit of 300 bytes.
func sealed(b *testing.B, k *Keyring, h block.Header) []byte {
	body, err := k.Seal(Data, h, bytes.Repeat([]byte("x"), 300))
	if err != nil {
		b.Fatal(err)
	}
	return body
}
