package vault

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/toftdb/toft/block"
)

func benchRing(tb testing.TB) (*Keyring, block.Header) {
	id, err := NewIdentity(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	s, _ := NewSecret(rand.Reader)
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
	body, _ := k.Seal(Data, h, bytes.Repeat([]byte("x"), 300))
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
	_, s, _ := NewDatabase(rand.Reader)
	d := newDatabase(DatabaseID(s), s)
	e := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		d.Expand(e)
	}
}
func BenchmarkSignBlock(b *testing.B) {
	k, h := benchRing(b)
	body, _ := k.Seal(Data, h, bytes.Repeat([]byte("x"), 300))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.id.SignBlock(h, body); err != nil {
			b.Fatal(err)
		}
	}
}
func BenchmarkParseVerify(b *testing.B) {
	k, h := benchRing(b)
	body, _ := k.Seal(Data, h, bytes.Repeat([]byte("x"), 300))
	blk, _ := k.id.SignBlock(h, body)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := block.Parse(blk.Data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		u, _ := block.Parse(blk.Data)
		for b.Loop() {
			if _, err := u.Verify(h.Team, h.Generation); err != nil {
				b.Fatal(err)
			}
		}
	})
}
