package block_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
	"pgregory.net/rapid"
)

// author signs the blocks of these tests.
var author = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))

func authorDevice() block.Device { return block.Device(author.Public().(ed25519.PublicKey)) }

// fill returns 32 bytes b, b+1, b+2, …
func fill(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b + byte(i)
	}
	return out
}

// headers returns one full header of every kind.
func headers() map[string]block.Header {
	team, gen, db := block.TeamID(fill(0x10)), block.Generation(fill(0x40)), block.DBID(bytes.Repeat([]byte{0xdb}, 16))
	parent, child := block.ID(fill(0x60)), block.ID(fill(0x80))
	signed := func(k block.Kind, db block.DBID) block.Header {
		return block.Header{Kind: k, Team: team, DB: db, Generation: gen, Parents: 1, Links: []block.ID{parent, child}, Author: authorDevice(), Seat: block.ID(fill(0xa0))}
	}
	plain := func(k block.Kind, links ...block.ID) block.Header {
		return block.Header{Kind: k, Team: team, DB: db, Generation: gen, Links: links}
	}
	link := signed(block.KindLink, block.DBID{})
	link.Critical, link.Boxes = true, []block.BoxGroup{{Purpose: block.BoxGeneration, Commitment: fill(0xc0), Boxes: []block.Box{box(1)}}}
	return map[string]block.Header{
		"genesis":    {Kind: block.KindLink, Author: authorDevice(), Boxes: link.Boxes},
		"link":       link,
		"commit":     signed(block.KindCommit, db),
		"checkpoint": signed(block.KindCheckpoint, db),
		"node":       plain(block.KindNode, child),
		"value":      plain(block.KindValue),
		"ops":        plain(block.KindOps),
		"chunk":      plain(block.KindChunk),
		"manifest":   plain(block.KindManifest, child, parent),
		"share":      {Kind: block.KindShare},
		"boxes":      {Kind: block.KindBoxes, Team: team},
	}
}

// box returns a lockbox of good shape that nobody can open.
func box(hint byte) block.Box {
	return block.Box{Hint: block.Hint{hint}, KEM: block.KEMX25519, Enc: bytes.Repeat([]byte{hint}, 32), Text: bytes.Repeat([]byte{hint}, 48)}
}

func hybridBox(hint byte) block.Box {
	return block.Box{Hint: block.Hint{hint}, KEM: block.KEMHybrid, Enc: bytes.Repeat([]byte{hint}, 1120), Text: bytes.Repeat([]byte{hint}, 48)}
}

// seal signs what needs a signature and puts the block together.
func seal(t testing.TB, h block.Header, body []byte) *block.Block {
	t.Helper()
	var sig *block.Signature
	if p := h.Kind.Purpose(); p != "" {
		raw, err := author.Sign(nil, h.SignedBytes(body), &ed25519.Options{Context: string(p)})
		if err != nil {
			t.Fatal(err)
		}
		sig = (*block.Signature)(raw)
	}
	b, err := block.New(h, body, sig)
	if err != nil {
		t.Fatalf("kind %d: %v", h.Kind, err)
	}
	return b
}

func TestParseVerifyReturnsWhatNewMade(t *testing.T) {
	for name, h := range headers() {
		b := seal(t, h, []byte("body"))
		u, err := block.Parse(b.Data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		back, err := u.Verify(h.Team, h.Generation)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if back.ID != b.ID || !reflect.DeepEqual(back.Header, h) || string(back.Body) != "body" || back.Signature != b.Signature {
			t.Errorf("%s: made  %+v\n got   %+v", name, b, back)
		}
		if u.Genesis() != (name == "genesis") {
			t.Errorf("%s: Genesis() = %v", name, u.Genesis())
		}
		hint, ok := block.PeekTeam(b.Data)
		if ok != (name != "share") || hint != h.Team.Hint() {
			t.Errorf("%s: PeekTeam = %x, %v", name, hint, ok)
		}
	}
}

// The bytes of docs/format.md. They must never change.
func TestGoldenEnvelopes(t *testing.T) {
	for name, want := range map[string]string{
		"commit": "aa 01 01 02 01 03 02 04 48 1011121314151617 05 50 dbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdb 06 48 4041424344454647 07 01" +
			" 08 82 5820 " + hexOf(fill(0x60)) + " 5820 " + hexOf(fill(0x80)) +
			" 09 5820 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c 0a 5820 " + hexOf(fill(0xa0)) + " 626f6479" +
			" SIG",
		"value": "a6 01 01 02 01 03 05 04 48 1011121314151617 05 50 dbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdb 06 48 4041424344454647 626f6479",
		"share": "a3 01 01 02 01 03 09 626f6479",
		"boxes": "a4 01 01 02 01 03 0a 04 48 1011121314151617 626f6479",
		"genesis": "a6 01 01 02 01 03 01 04 48 0000000000000000 09 5820 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c" +
			" 0c 81 a3 02 01 03 5820 " + hexOf(fill(0xc0)) + " 04 81 84 48 0100000000000000 18 20 5820 " + strings.Repeat("01", 32) + " 5830 " + strings.Repeat("01", 48) +
			" 626f6479 SIG",
	} {
		h := headers()[name]
		b := seal(t, h, []byte("body"))
		data := hex.EncodeToString(b.Data)
		if h.Kind.Signed() {
			data = data[:len(data)-128] + "SIG"
		}
		if want := strings.ReplaceAll(want, " ", ""); data != want {
			t.Errorf("%s:\n got %s\nwant %s", name, data, want)
		}
	}
	// A carries the full ids where the block shows hints.
	h := headers()["value"]
	want := "a6 01 01 02 01 03 05 04 5820 " + hexOf(fill(0x10)) + " 05 50 dbdbdbdbdbdbdbdbdbdbdbdbdbdbdbdb 06 5820 " + hexOf(fill(0x40))
	if got := hex.EncodeToString(h.Authenticated()); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("A of value = %s", got)
	}
	// Genesis has 32 zero bytes for the team it makes.
	if a := headers()["genesis"].Authenticated(); !bytes.Contains(a, append([]byte{4, 0x58, 0x20}, make([]byte, 32)...)) {
		t.Errorf("A of genesis = %x", a)
	}
	// Ed25519 is deterministic, so the whole signed block is golden too.
	const commitID = "bafkreigastx7wsco2b4kcgn6aln4ic7tod2kq6jvi52pv7gvy5rgm7h3b4"
	if id := seal(t, headers()["commit"], []byte("body")).ID; id.String() != commitID {
		t.Errorf("golden commit = %s", id)
	}
}

func hexOf(b [32]byte) string { return hex.EncodeToString(b[:]) }

// Which field a kind has is part of the format: one more or one less is refused.
func TestEveryKindHasExactlyItsFields(t *testing.T) {
	other := headers()["link"]
	set := map[string]func(*block.Header){
		"team":       func(h *block.Header) { h.Team = toggle(h.Team, other.Team) },
		"db":         func(h *block.Header) { h.DB = toggle(h.DB, block.DBID{1}) },
		"generation": func(h *block.Header) { h.Generation = toggle(h.Generation, other.Generation) },
		"author":     func(h *block.Header) { h.Author = toggle(h.Author, other.Author) },
		"seat":       func(h *block.Header) { h.Seat = toggle(h.Seat, other.Seat) },
		"critical":   func(h *block.Header) { h.Critical = !h.Critical },
		"boxes":      func(h *block.Header) { h.Boxes = other.Boxes },
		"links": func(h *block.Header) {
			h.Links, h.Parents = other.Links, 0
		},
		"parents": func(h *block.Header) { h.Links, h.Parents = other.Links, 1 },
	}
	// What may be there or not, or is there and stays.
	free := map[string]string{
		"genesis":    "boxes",
		"link":       "critical boxes parents",
		"commit":     "links parents",
		"checkpoint": "links parents",
		"node":       "links", "value": "links", "ops": "links", "manifest": "links",
	}
	for name, h := range headers() {
		for field, change := range set {
			changed := h
			change(&changed)
			err := changed.Check()
			if strings.Contains(free[name], field) {
				if err != nil {
					t.Errorf("%s with other %s: %v", name, field, err)
				}
			} else if !errors.Is(err, block.ErrMalformed) {
				t.Errorf("%s with other %s: %v, want ErrMalformed", name, field, err)
			}
		}
	}
	for kind, want := range map[block.Kind]error{0: block.ErrVersion, 11: block.ErrVersion, 255: block.ErrVersion} {
		if err := (block.Header{Kind: kind}).Check(); !errors.Is(err, want) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

// toggle returns the zero value for a set one and b for an unset one.
func toggle[T comparable](a, b T) (zero T) {
	if a == zero {
		return b
	}
	return zero
}

func TestBoundsOfTheEnvelope(t *testing.T) {
	sortedIDs := func(n int) []block.ID {
		out := make([]block.ID, n)
		for i := range out {
			out[i] = block.ID{1, byte(i >> 8), byte(i)}
		}
		return out
	}
	h := headers()["commit"]
	h.Links, h.Parents = sortedIDs(block.MaxLinks), block.MaxParents
	if err := h.Check(); err != nil {
		t.Errorf("at the bounds: %v", err)
	}
	for name, change := range map[string]func(*block.Header){
		"too many links":   func(h *block.Header) { h.Links = sortedIDs(block.MaxLinks + 1) },
		"too many parents": func(h *block.Header) { h.Parents = block.MaxParents + 1 },
		"negative parents": func(h *block.Header) { h.Parents = -1 },
		"absent parents":   func(h *block.Header) { h.Links, h.Parents = h.Links[:2], 3 },
		"unsorted parents": func(h *block.Header) {
			h.Links, h.Parents = []block.ID{{2}, {1}}, 2
		},
		"a parent twice": func(h *block.Header) {
			h.Links, h.Parents = []block.ID{{1}, {1}}, 2
		},
	} {
		changed := h
		change(&changed)
		if err := changed.Check(); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	value := headers()["value"]
	head := len(seal(t, value, nil).Data)
	b := seal(t, value, make([]byte, block.MaxSize-head))
	if _, err := block.Parse(b.Data); err != nil || len(b.Data) != block.MaxSize {
		t.Errorf("block of %d bytes: %v", len(b.Data), err)
	}
	if _, err := block.New(value, make([]byte, block.MaxSize-head+1), nil); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := block.Parse(append(b.Data, 0)); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("a byte more, parsed: %v", err)
	}
	link := headers()["link"]
	var sig block.Signature
	if _, err := block.New(link, make([]byte, block.MaxLinkSize), &sig); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("link of more than 64 KiB: %v", err)
	}
	small := seal(t, link, []byte("body")).Data
	if _, err := block.Parse(append(small, make([]byte, block.MaxLinkSize)...)); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("link of more than 64 KiB, parsed: %v", err)
	}
}

func TestSignatureAndKindMustFit(t *testing.T) {
	var sig block.Signature
	if _, err := block.New(headers()["value"], nil, &sig); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("value with a signature: %v", err)
	}
	if _, err := block.New(headers()["commit"], nil, nil); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("commit without: %v", err)
	}
	b := seal(t, headers()["commit"], nil)
	if _, err := block.Parse(b.Data[:len(b.Data)-1]); err == nil {
		t.Error("commit of 63 bytes of signature was parsed")
	}
	// A signature for one kind is none for another.
	h := headers()["commit"]
	raw, err := author.Sign(nil, h.SignedBytes([]byte("body")), &ed25519.Options{Context: string(block.ForCheckpoint)})
	if err != nil {
		t.Fatal(err)
	}
	crossed, err := block.New(h, []byte("body"), (*block.Signature)(raw))
	if err != nil {
		t.Fatal(err)
	}
	u, err := block.Parse(crossed.Data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Verify(h.Team, h.Generation); !errors.Is(err, block.ErrSignature) {
		t.Errorf("commit signed as a checkpoint: %v", err)
	}
}

// Every single bit counts: flipped, the block does not parse, names another team
// or generation, or its signature fails.
func TestFlippedBitsAreSeen(t *testing.T) {
	for _, name := range []string{"genesis", "link", "commit", "checkpoint"} {
		h := headers()[name]
		data := seal(t, h, []byte("body")).Data
		for i := range data {
			for bit := range 8 {
				flipped := slices.Clone(data)
				flipped[i] ^= 1 << bit
				u, err := block.Parse(flipped)
				if err != nil {
					continue
				}
				if _, err := u.Verify(h.Team, h.Generation); err == nil {
					t.Fatalf("%s: bit %d of byte %d of %d changes nothing", name, bit, i, len(data))
				}
			}
		}
		for n := range data {
			u, err := block.Parse(data[:n])
			if err != nil {
				continue
			}
			if _, err := u.Verify(h.Team, h.Generation); err == nil {
				t.Fatalf("%s: its first %d bytes verify", name, n)
			}
		}
	}
}

// Hints are too short to be trusted: the signature covers the full ids.
func TestSameHintOtherTeam(t *testing.T) {
	h := headers()["commit"]
	b := seal(t, h, []byte("body"))
	u, err := block.Parse(b.Data)
	if err != nil {
		t.Fatal(err)
	}
	team, gen := h.Team, h.Generation
	team[31] ^= 1
	gen[31] ^= 1
	for name, verify := range map[string]func() error{
		"team of the same hint":       func() error { _, err := u.Verify(team, h.Generation); return err },
		"generation of the same hint": func() error { _, err := u.Verify(h.Team, gen); return err },
	} {
		if err := verify(); !errors.Is(err, block.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	team[0] ^= 1
	if _, err := u.Verify(team, h.Generation); !errors.Is(err, block.ErrOtherTeam) {
		t.Errorf("other team: %v", err)
	}
	if _, err := u.Resolve(h.Team, block.Generation{}); !errors.Is(err, block.ErrOtherTeam) {
		t.Errorf("no generation: %v", err)
	}
}

// Sizes of fields are the format's, although CBOR would carry any.
func TestFieldsOfOtherSizes(t *testing.T) {
	type raw = map[int]any
	good := raw{1: 1, 2: 1, 3: 5, 4: make([]byte, 8), 5: make([]byte, 16), 6: make([]byte, 8)}
	set := func(key int, v any) []byte {
		m := raw{}
		for k, x := range good {
			m[k] = x
		}
		for _, k := range []int{4, 5, 6} {
			m[k].([]byte)[0] = 1
		}
		if v == nil {
			delete(m, key)
		} else {
			m[key] = v
		}
		return wire.Must(m)
	}
	if _, err := block.Parse(set(5, good[5])); err != nil {
		t.Fatalf("the plain one: %v", err)
	}
	for name, data := range map[string][]byte{
		"team of 7":           set(4, []byte{1, 2, 3, 4, 5, 6, 7}),
		"team of 32":          set(4, bytes.Repeat([]byte{1}, 32)),
		"team absent":         set(4, nil),
		"db of 15":            set(5, bytes.Repeat([]byte{1}, 15)),
		"db of zeros":         set(5, make([]byte, 16)),
		"db empty":            set(5, []byte{}),
		"generation of 32":    set(6, bytes.Repeat([]byte{1}, 32)),
		"generation of zeros": set(6, make([]byte, 8)),
		"id of 31 in links":   set(8, [][]byte{bytes.Repeat([]byte{1}, 31)}),
		"id of 33 in links":   set(8, [][]byte{bytes.Repeat([]byte{1}, 33)}),
		"links empty":         set(8, [][]byte{}),
		"author of 31":        set(9, bytes.Repeat([]byte{1}, 31)),
		"critical false":      set(11, false),
		"unknown field":       set(13, 1),
		"version 0":           set(1, 0),
		"kind 300":            set(3, 300),
		"parents 1e9":         set(7, 1_000_000_000),
		// Fields a kind does not have, as zeros: absence has one form.
		"boxes with db of zeros":         wire.Must(raw{1: 1, 2: 1, 3: 10, 4: bytes.Repeat([]byte{1}, 8), 5: make([]byte, 16)}),
		"boxes with generation of zeros": wire.Must(raw{1: 1, 2: 1, 3: 10, 4: bytes.Repeat([]byte{1}, 8), 6: make([]byte, 8)}),
		"value with author of zeros":     set(9, make([]byte, 32)),
		"value with seat of zeros":       set(10, make([]byte, 32)),
		"share with team of zeros":       wire.Must(raw{1: 1, 2: 1, 3: 9, 4: make([]byte, 8)}),
	} {
		if _, err := block.Parse(data); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{"version 2": set(1, 2), "suite 2": set(2, 2), "kind 11": set(3, 11), "version 2, new field": append([]byte{0xa3, 1, 2, 2, 1, 13}, 0x80)} {
		if _, err := block.Parse(data); !errors.Is(err, block.ErrVersion) {
			t.Errorf("%s: %v, want ErrVersion", name, err)
		}
	}
}

func TestParseIsTheInverseOfNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := headers()
		names := []string{"node", "value", "manifest", "boxes", "share", "ops", "chunk"}
		h := all[rapid.SampledFrom(names).Draw(t, "kind")]
		if len(h.Links) > 0 {
			h.Links = nil
			for _, b := range rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "links") {
				h.Links = append(h.Links, block.ID{b})
			}
		}
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		b, err := block.New(h, body, nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := block.Parse(b.Data)
		if err != nil {
			t.Fatal(err)
		}
		back, err := u.Resolve(h.Team, h.Generation)
		if err != nil || !reflect.DeepEqual(back.Header, h) || !bytes.Equal(back.Body, body) || back.ID != block.Sum(b.Data) {
			t.Fatalf("%+v %v", back, err)
		}
	})
}

// Bytes that parse are the only bytes of their block, and nothing panics.
func FuzzParse(f *testing.F) {
	for _, h := range headers() {
		f.Add(seal(f, h, []byte("body")).Data)
	}
	f.Add([]byte{0xa3, 1, 2, 2, 1, 13, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := block.Parse(data)
		if err != nil {
			return
		}
		var team block.TeamID
		var gen block.Generation
		copy(team[:], u.TeamHint[:])
		copy(gen[:], u.GenerationHint[:])
		b, err := u.Resolve(team, gen)
		if err != nil {
			t.Fatalf("parsed, and does not resolve: %v", err)
		}
		var sig *block.Signature
		if b.Header.Kind.Signed() {
			sig = &b.Signature
		}
		again, err := block.New(b.Header, b.Body, sig)
		if err != nil {
			t.Fatalf("parsed, and cannot be made: %v", err)
		}
		if !bytes.Equal(again.Data, data) || again.ID != u.ID {
			t.Fatalf("%x\nmade again %x", data, again.Data)
		}
		if hint, ok := block.PeekTeam(data); ok != (u.Kind != block.KindShare) || hint != u.TeamHint {
			t.Fatalf("PeekTeam says %x %v, Parse %x", hint, ok, u.TeamHint)
		}
	})
}
