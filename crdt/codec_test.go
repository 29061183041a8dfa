package crdt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Golden bytes pin every format; docs/format.md shows the same hex. If one of
// these tests fails, the format has changed: that needs a new version, not a new
// constant here.

func goldenSite(t testing.TB) *site {
	s := newSite(t, "golden")
	s.actor = block.Actor{Device: block.Device(bytes.Repeat([]byte{0xd1}, 32)), Incarnation: block.Incarnation{0x1c}}
	s.time = 1_700_000_000_000
	return s
}

func checkGolden(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	want = strings.Join(strings.Fields(want), "")
	if hex.EncodeToString(got) != want {
		t.Errorf("%s:\n got %x\nwant %s", what, got, want)
	}
}

func TestGoldenFirstCommit(t *testing.T) {
	s := goldenSite(t)
	a := s.author()
	d, _, errs := s.Draft(a, [][]Write{{put("milk", `{"n":2,"done":false,"tags":["a",null,1.5],"o":{"k":-1}}`)}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	checkGolden(t, "commit", d.Plain, `
		a7 01 01  03 48 1c00000000000000  04 01
		07 81 5820 0900000000000000000000000000000000000000000000000000000000000000
		08 1b 0000018bcfe56801
		0d 5820 `+hex.EncodeToString(d.Plain[bytes.Index(d.Plain, []byte{0x0d, 0x58, 0x20})+3:][:32])+`
		0e 81 a4
		  01 64 6d696c6b
		  02 85 64 646f6e65  61 6e  61 6f  82 02 61 6b  64 74616773
		  03 a5 00 f4  01 02  02 a0  03 20  04 83 61 61 f6 f9 3e00
		  04 01`)
	s.add(s.sealed(d, a))
	checkGolden(t, "entry", s.entry("milk"), `
		a3
		01 81 5828 d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1 1c00000000000000
		02 85 64 646f6e65  61 6e  61 6f  82 02 61 6b  64 74616773
		03 81 85 00 01 1b 0000018bcfe56801 01
		   a5 00 f4  01 02  02 a0  03 20  04 83 61 61 f6 f9 3e00`)
	checkGolden(t, "frontier", s.Frontier().Encode(), `
		81 83 5828 d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1 1c00000000000000
		01 48 `+hex.EncodeToString(s.Heads()[0][:8]))
}

func TestGoldenOperations(t *testing.T) {
	s := goldenSite(t)
	other := block.Actor{Device: block.Device(bytes.Repeat([]byte{0xe2}, 32)), Incarnation: block.Incarnation{0x2d}}
	s.write(put("d", `{"a":{"b":1},"n":5,"x":"s"}`))
	o := newSite(t, "other")
	o.actor = other
	o.pull(s)
	s.write(patch("d", `{"n":{"$inc":2}}`))
	o.write(patch("d", `{"n":{"$inc":-3},"x":"t"}`))
	s.pull(o)
	ops := func(w ...Write) []byte {
		t.Helper()
		c := s.write(w...)
		return c.inline
	}
	// Actors: 0 the author, 1 the other. Slots: 0 alive, 2… paths.
	checkGolden(t, "settle", ops(put("d", `{"a":{},"n":"no","x":"t"}`)), `
		81 a6 01 61 64
		02 83 61 61  82 00 61 62  61 6e
		03 a1 02 62 6e6f
		04 03
		05 83 84 00 01 03 04  83 00 02 00  83 01 01 00
		07 a1 02 86 00 02 02 01 01 22`)
	checkGolden(t, "delete", ops(del("d")), `81 a3 01 61 64  04 23  05 81 83 00 03 00`)
	checkGolden(t, "restore", ops(restore("d")), `
		81 a6 01 61 64  02 83 61 61  61 6e  61 78  03 a3 00 a0  01 62 6e6f  02 61 74  04 05
		05 84 83 00 01 02  83 00 03 03  83 00 04 01  83 01 01 04
		08 a3 00 83 1b 0000018bcfe56801 00 01  01 83 1b 0000018bcfe56803 00 03  02 83 01 01 01`)
	checkGolden(t, "purge", ops(purge("d")), `
		81 a4 01 61 64  02 83 61 61 61 6e 61 78  05 81 86 00 05 00 02 03 04  07 a1 01 86 00 02 02 01 01 22`)
	checkGolden(t, "what a purge leaves: cleared counters", s.entry("d"), `
		a3
		01 82 5828 d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1 1c00000000000000
		      5828 e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2 2d00000000000000
		02 81 61 6e
		04 a1 00 8a  00 02 02 02 02  01 01 22 01 22`)
}

func TestGoldenOutOfLine(t *testing.T) {
	s := goldenSite(t)
	a := s.author()
	big := strings.Repeat("x", MaxInline)
	f := &File{Root: block.ID{0xf1}, Hash: [32]byte{0xf2}, Size: 5 << 30, Type: "image/png", Modified: 1_600_000_000_000}
	d, _, errs := s.Draft(a, [][]Write{{{Verb: Put, ID: "d", Body: Doc{"big": big}, Files: map[string]*File{"p": f}}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	value, err := EncodeValue(big)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Links) != 2 || d.Links[0].Kind != block.KindValue || !bytes.Equal(d.Links[0].Plain, value) ||
		d.Links[1].ID != f.Root || d.Links[1].Plain != nil {
		t.Fatalf("links %v", d.Links)
	}
	c := s.sealed(d, a)
	hash := testKeys().ValueHash(value)
	checkGolden(t, "operation", c.inline, `
		81 a4 01 61 64  02 83 66 5f66696c6573  82 00 61 70  63 626967
		03 a2
		  01 a5 00 01 01 5820 f200000000000000000000000000000000000000000000000000000000000000
		        02 1b 0000000140000000 03 69 696d6167652f706e67 04 1b 000001748 76e8000
		  02 a3 00 00 01 5820 `+hex.EncodeToString(hash[:])+` 02 19 4003
		04 01`)
	s.add(c)
	got, _, err := s.Get("d")
	if err != nil || got["big"] != big {
		t.Fatalf("%v %.40v", err, got)
	}
	if file, err := s.File("d", "p"); err != nil || file != *f {
		t.Fatalf("%v %v", file, err)
	}
	want := map[string]any{"p": map[string]any{"type": "image/png", "size": int64(5 << 30), "modified": int64(1_600_000_000_000), "root": f.Root.String()}}
	if g, w := appendJSON(nil, got["_files"]), appendJSON(nil, want); !bytes.Equal(g, w) {
		t.Fatalf("%s, want %s", g, w)
	}
}

func TestGoldenCheckpoint(t *testing.T) {
	c := goldenCheckpoint()
	plain, parts, err := c.Encode()
	if err != nil || len(parts) != 0 {
		t.Fatal(err, len(parts))
	}
	digest := c.Digest()
	voids := HashVoids(slices.Clone(c.Voids))
	checkGolden(t, "checkpoint", plain, `
		ac 01 01
		03 81 83 5828 `+strings.Repeat("d1", 32)+` 1c00000000000000 07 5820 a1`+strings.Repeat("00", 31)+`
		04 81 5820 b0`+strings.Repeat("00", 31)+`
		06 5820 `+hex.EncodeToString(voids[:])+`
		07 f5
		08 590800 01`+strings.Repeat("00", 2047)+`
		09 5820 `+hex.EncodeToString(digest[:])+`
		0a 5820 c1`+strings.Repeat("00", 31)+`
		0b 03  0c 02
		0d 81 5820 09`+strings.Repeat("00", 31)+`
		0e 1b 0000018bcfe56800`)
	checkCheckpoint(t, checkpointBlock(c, nil), plain, nil)
	checkGolden(t, "void hash", voids[:], "db21ba4875808d40e8f557c697ca15d9f8bf0f5c1a8a3f401742d2a778dad93a")
}

func goldenCheckpoint() *Checkpoint {
	c := &Checkpoint{
		Frontier: []Pin{{block.Actor{Device: block.Device(bytes.Repeat([]byte{0xd1}, 32)), Incarnation: block.Incarnation{0x1c}}, 7, block.ID{0xa1}}},
		Heads:    []block.ID{{0xa1}}, Voids: []block.ID{{0xb0}}, Forked: true, Root: block.ID{0xc0}, RootHash: [32]byte{0xc1},
		Entries: 3, Documents: 2, TeamHeads: []block.ID{{9}}, Time: 1_700_000_000_000,
	}
	c.Accumulator[0] = 1
	return c
}

func checkpointBlock(c *Checkpoint, parts []block.ID) *block.Block {
	links := slices.Clone(c.Heads)
	if !c.Root.IsZero() {
		links = append(links, c.Root)
	}
	return &block.Block{Header: block.Header{Kind: block.KindCheckpoint, Parents: len(c.Heads), Links: append(links, parts...)}}
}

// checkCheckpoint decodes and encodes again.
func checkCheckpoint(t *testing.T, b *block.Block, plain []byte, parts map[block.ID][]byte) {
	t.Helper()
	c, err := ParseCheckpoint(b, plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range c.Parts() {
		if err := c.Fill(id, parts[id]); err != nil {
			t.Fatal(err)
		}
	}
	again, _, err := c.Encode()
	if err != nil || !bytes.Equal(again, plain) {
		t.Fatalf("encodes as %x, %v", again, err)
	}
}

func TestCheckpointParts(t *testing.T) {
	c := goldenCheckpoint()
	c.Frontier = nil
	for i := range 7000 {
		var a block.Actor
		binary.BigEndian.PutUint32(a.Device[:], uint32(i))
		c.Frontier = append(c.Frontier, Pin{a, uint64(i + 1), block.ID{1}})
	}
	plain, parts, err := c.Encode()
	if err != nil || len(parts) != 3 {
		t.Fatal(err, len(parts))
	}
	var ids []block.ID
	fill := map[block.ID][]byte{}
	for _, p := range parts {
		if len(p) > maxPlain {
			t.Fatalf("part of %d bytes", len(p))
		}
		ids = append(ids, block.Sum(p))
		fill[block.Sum(p)] = p
	}
	checkCheckpoint(t, checkpointBlock(c, ids), plain, fill)
	fill[ids[0]], fill[ids[1]] = fill[ids[1]], fill[ids[0]]
	got, err := ParseCheckpoint(checkpointBlock(c, ids), plain)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(got.Fill(ids[0], fill[ids[0]]), got.Fill(ids[1], fill[ids[1]]), got.Fill(ids[2], fill[ids[2]]))
	if !errors.Is(err, ErrMalformed) {
		t.Fatalf("swapped parts: %v", err)
	}
}

// TestSmallCommit holds the cost of a commit beside its document.
func TestSmallCommit(t *testing.T) {
	s := newSite(t, "a")
	s.write(Write{Verb: Put, Body: benchDoc(0, 0)})
	a := s.author()
	a.Time = 1_700_000_000_000
	doc := benchDoc(1, 1)
	if n := len(doc.JSON()); n != 256 {
		t.Fatalf("document of %d bytes", n)
	}
	d, _, errs := s.Draft(a, [][]Write{{{Verb: Put, Body: doc}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	t.Logf("commit plaintext of %d bytes for a document of 256", len(d.Plain))
	if len(d.Plain) > 256+90 {
		t.Errorf("commit of %d bytes", len(d.Plain))
	}
}

// TestValueBytes holds our encoder against wire's, both ways.
func TestValueBytes(t *testing.T) {
	floats := []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 1.5, 65504, 65505, 65536, 1e-7, 5.960464477539063e-08, 6e-8, 0.1, 3.4028234663852886e+38, 1e300, math.SmallestNonzeroFloat64, -2.25, 1 << 53, 1<<53 + 2, 6.103515625e-05, 6.097555160522461e-05}
	ints := []int64{0, 1, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, -1, -24, -25, -256, -257, math.MinInt64, 1<<53 + 1}
	var all []any
	for _, f := range floats {
		all = append(all, f)
	}
	for _, i := range ints {
		all = append(all, i)
	}
	all = append(all, nil, true, false, "", "ü€𝄞", strings.Repeat("k", 300), map[string]any{"b": int64(1), "aa": []any{}, "": map[string]any{}})
	all = append(all, slices.Clone(all))
	for _, v := range all {
		b, err := EncodeValue(v)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		if f, ok := v.(float64); !ok || f != 0 || !math.Signbit(f) {
			if w := wire.Must(v); !bytes.Equal(b, w) && !strings.Contains(string(w), "\xf9\x80\x00") {
				t.Errorf("%v: %x, wire has %x", v, b, w)
			}
		}
		got, err := DecodeValue(b)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		if again, err := EncodeValue(got); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%v comes back as %v", v, got)
		}
	}
}

func TestValueRefused(t *testing.T) {
	for what, text := range map[string]string{
		"long integer":       "1801",
		"long float":         "fa3fc00000",
		"double for single":  "fb3ff8000000000000",
		"minus zero":         "f98000",
		"NaN":                "f97e00",
		"infinity":           "f97c00",
		"undefined":          "f7",
		"byte string":        "4101",
		"tag":                "c100",
		"indefinite array":   "9f01ff",
		"indefinite text":    "7f6161ff",
		"beyond int64":       "1b8000000000000000",
		"below int64":        "3b8000000000000000",
		"keys not sorted":    "a2616201616102",
		"longer key first":   "a262616101616202",
		"duplicate key":      "a2616101616102",
		"integer key":        "a10102",
		"invalid UTF-8":      "61ff",
		"array ends early":   "8201",
		"huge array":         "9b7fffffffffffffff",
		"nothing":            "",
		"two values":         "0101",
		"nested too deep":    strings.Repeat("81", 65) + "00",
		"text longer than b": "7b7fffffffffffffff61",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(what, err)
		}
		if v, err := DecodeValue(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", what, v, err)
		}
	}
}
