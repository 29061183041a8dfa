package block_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

func group(gen byte, p block.BoxPurpose, boxes ...block.Box) block.BoxGroup {
	g := block.BoxGroup{Purpose: p, Commitment: fill(gen), Boxes: boxes}
	if gen != 0 {
		g.Generation = block.Generation{gen}
	}
	return g
}

func TestGoldenBoxes(t *testing.T) {
	body, err := block.EncodeBoxes([]block.BoxGroup{group(0, block.BoxGeneration, box(1)), group(2, block.BoxRoute, box(3))})
	if err != nil {
		t.Fatal(err)
	}
	boxHex := func(b string) string {
		return "84 48 " + b + "00000000000000 18 20 5820 " + strings.Repeat(b, 32) + " 5830 " + strings.Repeat(b, 48)
	}
	want := "82 a3 02 01 03 5820 " + hexOf(fill(0)) + " 04 81 " + boxHex("01") +
		" a4 01 5820 02" + strings.Repeat("00", 31) + " 02 02 03 5820 " + hexOf(fill(2)) + " 04 81 " + boxHex("03")
	if got := hex.EncodeToString(body); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Where boxes may stand and in what order is part of the format, in a header and
// in a block of their own.
func TestBoxesHaveOneForm(t *testing.T) {
	gen, route := block.BoxGeneration, block.BoxRoute
	for name, c := range map[string]struct {
		groups         []block.BoxGroup
		header, linked bool // accepted in a header; in a KindBoxes body
	}{
		"one":                     {[]block.BoxGroup{group(0, gen, box(1))}, true, true},
		"sorted":                  {[]block.BoxGroup{group(0, gen, box(1), box(2)), group(0, route, box(1)), group(1, gen, box(1))}, true, true},
		"one hint twice":          {[]block.BoxGroup{group(0, gen, box(1), box(1))}, true, true},
		"none":                    {nil, true, false},
		"purposes unsorted":       {[]block.BoxGroup{group(0, route, box(1)), group(0, gen, box(1))}, false, false},
		"generations unsorted":    {[]block.BoxGroup{group(2, gen, box(1)), group(1, gen, box(1))}, false, false},
		"two commitments":         {[]block.BoxGroup{group(1, gen, box(1)), group(1, gen, box(2))}, false, false},
		"hints unsorted":          {[]block.BoxGroup{group(0, gen, box(2), box(1))}, false, false},
		"purpose 3":               {[]block.BoxGroup{group(0, 3, box(1))}, false, false},
		"no boxes, nothing there": {[]block.BoxGroup{group(0, gen)}, false, false},
		"unknown kem":             {[]block.BoxGroup{group(0, gen, block.Box{KEM: 7, Enc: make([]byte, 32), Text: make([]byte, 48)})}, false, false},
		"short enc":               {[]block.BoxGroup{group(0, gen, block.Box{KEM: block.KEMX25519, Enc: make([]byte, 31), Text: make([]byte, 48)})}, false, false},
		"enc of the other kem":    {[]block.BoxGroup{group(0, gen, block.Box{KEM: block.KEMHybrid, Enc: make([]byte, 32), Text: make([]byte, 48)})}, false, false},
		"long text":               {[]block.BoxGroup{group(0, gen, block.Box{KEM: block.KEMX25519, Enc: make([]byte, 32), Text: make([]byte, 49)})}, false, false},
	} {
		h := headers()["link"]
		h.Links, h.Boxes = h.Links[:1], c.groups
		if err := h.Check(); (err == nil) != c.header {
			t.Errorf("%s, in a header: %v", name, err)
		}
		if _, err := block.EncodeBoxes(c.groups); (err == nil) != c.linked {
			t.Errorf("%s, in a block: %v", name, err)
		}
	}
	h := headers()["link"]
	h.Boxes = []block.BoxGroup{group(0, gen)}
	if err := h.Check(); err != nil {
		t.Errorf("commitment in the header, boxes in a linked block: %v", err)
	}
	h = headers()["genesis"]
	for name, g := range map[string]block.BoxGroup{"route key": group(0, route, box(1)), "another generation": group(1, gen, box(1))} {
		h.Boxes = []block.BoxGroup{g}
		if err := h.Check(); !errors.Is(err, block.ErrMalformed) {
			t.Errorf("genesis boxes a %s: %v", name, err)
		}
	}
}

func TestFewBoxesStandInline(t *testing.T) {
	groups := []block.BoxGroup{group(2, block.BoxRoute, box(9), box(3)), group(0, block.BoxGeneration, hybridBox(4))}
	inline, bodies, err := block.PackBoxes(groups)
	if err != nil || len(bodies) != 0 {
		t.Fatalf("%d bodies, %v", len(bodies), err)
	}
	want := []block.BoxGroup{group(0, block.BoxGeneration, hybridBox(4)), group(2, block.BoxRoute, box(3), box(9))}
	if !reflect.DeepEqual(inline, want) {
		t.Errorf("inline %+v", inline)
	}
	h := headers()["link"]
	h.Links, h.Boxes = h.Links[:1], inline
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

// 500 devices: the header keeps commitments, the boxes go into blocks in the order
// of their hints, so that a device finds its own by bisection.
func TestManyBoxesAreLinked(t *testing.T) {
	var boxes, replicas []block.Box
	for i := range 500 {
		b := hybridBox(byte(i))
		b.Hint = block.Hint{byte(i * 7), byte(i >> 3), byte(i)}
		boxes = append(boxes, b)
		if i%50 == 0 {
			r := box(byte(i))
			r.Hint = block.Hint{byte(i)}
			replicas = append(replicas, r)
		}
	}
	inline, bodies, err := block.PackBoxes([]block.BoxGroup{group(0, block.BoxRoute, replicas...), group(0, block.BoxGeneration, boxes...)})
	if err != nil {
		t.Fatal(err)
	}
	if len(inline) != 2 || len(inline[0].Boxes) != 0 || inline[0].Commitment != fill(0) || inline[0].Purpose != block.BoxGeneration {
		t.Fatalf("inline: %+v", inline)
	}
	h := headers()["link"]
	h.Boxes = inline
	for range bodies {
		h.Links = append(h.Links, block.ID{1})
	}
	if err := h.Check(); err != nil {
		t.Errorf("the header: %v", err)
	}
	var last block.Hint
	found := map[block.BoxPurpose]int{}
	for i, body := range bodies {
		if len(body) > 64<<10 {
			t.Errorf("body %d has %d bytes", i, len(body))
		}
		groups, err := block.ParseBoxes(body)
		if err != nil {
			t.Fatalf("body %d: %v", i, err)
		}
		highest := last
		for _, g := range groups {
			found[g.Purpose] += len(g.Boxes)
			for _, b := range g.Boxes {
				if bytes.Compare(b.Hint[:], last[:]) < 0 {
					t.Fatalf("body %d has hint %x after %x in the one before", i, b.Hint, last)
				}
				if bytes.Compare(b.Hint[:], highest[:]) > 0 {
					highest = b.Hint
				}
			}
		}
		last = highest
	}
	if found[block.BoxGeneration] != 500 || found[block.BoxRoute] != len(replicas) {
		t.Errorf("found %v", found)
	}
}

func TestInlineBoxesAreBounded(t *testing.T) {
	h := headers()["link"]
	var boxes []block.Box
	for len(boxes) < block.MaxInlineBoxes/(1120+48) {
		boxes = append(boxes, hybridBox(byte(len(boxes))))
	}
	h.Boxes = []block.BoxGroup{group(0, block.BoxGeneration, boxes...)}
	if err := h.Check(); err != nil {
		t.Errorf("%d boxes: %v", len(boxes), err)
	}
	h.Boxes[0].Boxes = append(boxes, hybridBox(255))
	if err := h.Check(); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("one more: %v", err)
	}
}

func TestFindYieldsAllBoxesOfAHint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var boxes []block.Box
		for i, b := range rapid.SliceOfN(rapid.ByteRange(0, 9), 0, 20).Draw(t, "hints") {
			x := box(b)
			x.Text[0] = byte(i)
			boxes = append(boxes, x)
		}
		g := group(0, block.BoxGeneration, boxes...)
		block.SortBoxes([]block.BoxGroup{g})
		want := block.Hint{rapid.ByteRange(0, 9).Draw(t, "hint")}
		n := 0
		for b := range g.Find(want) {
			if b.Hint != want {
				t.Fatalf("found %x for %x", b.Hint, want)
			}
			n++
		}
		all := 0
		for _, b := range boxes {
			if b.Hint == want {
				all++
			}
		}
		if n != all {
			t.Fatalf("found %d of %d", n, all)
		}
	})
	stopped := 0
	for range group(0, block.BoxGeneration, box(1), box(1)).Find(block.Hint{1}) {
		stopped++
		break
	}
	if stopped != 1 {
		t.Errorf("%d boxes after break", stopped)
	}
}

// The hint is defined by the format; this is the definition once more, by hand.
func TestBoxHint(t *testing.T) {
	got := block.BoxHint(fill(1), block.BoxKey{KEM: block.KEMX25519, Public: []byte("key")})
	id := block.Sum(slices.Concat(hexBytes(t, hexOf(fill(1))), []byte("key")))
	if got != id.Hint() {
		t.Errorf("hint %x", got)
	}
}

func hexBytes(t *testing.T, s string) []byte { return unhex(t, s) }

func FuzzParseBoxes(f *testing.F) {
	good, err := block.EncodeBoxes([]block.BoxGroup{group(0, block.BoxGeneration, box(1)), group(1, block.BoxRoute, hybridBox(2))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		groups, err := block.ParseBoxes(data)
		if err != nil {
			return
		}
		again, err := block.EncodeBoxes(groups)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x\nmade again %x, %v", data, again, err)
		}
	})
}

// A header is read as far as headers go: a megabyte of one-byte items, each of which the
// decoder would take for a lockbox, makes it room for no more than some megabytes.
func TestAHeaderOfManySmallItemsMakesLittleRoom(t *testing.T) {
	groups := 15
	data := []byte{0xa4, 1, 1, 2, 1, 3, 1, 12, 0x80 | byte(groups)}
	for range groups {
		data = append(data, 0xa1, 4, 0x9a, 0, 0, 0xff, 0xff)
		data = append(data, bytes.Repeat([]byte{0x80}, 0xffff)...)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := block.Parse(data)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, block.ErrMalformed) {
		t.Fatal(err)
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 16<<20 {
		t.Errorf("%d MiB for %d KiB", spent>>20, len(data)>>10)
	}
}
