package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// The form of a node as internal/wire would have it: what the hand-written codec
// must agree with, byte for byte and refusal for refusal.
type nodeForm struct {
	Level    uint64      `cbor:"1,keyasint,omitempty"`
	Entries  []entryForm `cbor:"2,keyasint,omitempty"`
	Children []childForm `cbor:"3,keyasint,omitempty"`
}

type entryForm struct {
	_     struct{} `cbor:",toarray"`
	Key   []byte
	Value []byte
	Links uint64
}

type childForm struct {
	_     struct{} `cbor:",toarray"`
	Last  []byte
	Hash  Hash
	Count uint64
	Level uint64
}

// modelDecode reads a node by internal/wire and by the words of the format.
func modelDecode(shape Shape, plain []byte, links []block.ID) (*node, bool) {
	f, err := wire.Decode[nodeForm](plain, maxPlain)
	inner := f.Level > 0
	if err != nil || f.Level > MaxLevel || inner != (len(f.Children) > 0) || inner && len(f.Entries) > 0 || len(f.Children) == 1 || len(f.Entries)+len(f.Children) > maxItems {
		return nil, false
	}
	n := &node{level: int(f.Level)}
	for _, e := range f.Entries {
		if len(e.Key) == 0 || len(e.Key) > MaxKey || len(e.Value) > MaxValue || e.Links > MaxLinks || e.Links > uint64(len(links)) {
			return nil, false
		}
		n.items = append(n.items, newEntry(Entry{e.Key, e.Value, links[:e.Links]}, shape.at(e.Key, 0)))
		links = links[e.Links:]
	}
	for _, c := range f.Children {
		if len(c.Last) == 0 || len(c.Last) > MaxKey || c.Count == 0 || c.Count > maxCount/maxItems || c.Level >= f.Level || len(links) == 0 {
			return nil, false
		}
		n.items = append(n.items, &item{key: c.Last, h: shape.at(c.Last, n.level), sub: &child{ref: Ref{c.Hash, links[0]}, count: c.Count, level: int(c.Level)}})
		links = links[1:]
	}
	for i := range n.items[:max(1, len(n.items))-1] {
		if bytes.Compare(n.items[i].key, n.items[i+1].key) >= 0 || ends(n.level, n.items[i].h) {
			return nil, false
		}
	}
	return n, len(links) == 0 && (len(n.items) < 2 || weigh(n.items) <= bound(n.level))
}

func ids(n int) []block.ID {
	out := make([]block.ID, n)
	for i := range out {
		out[i] = block.ID{byte(i), byte(i >> 8), 1}
	}
	return out
}

// anyNode draws a proper node, by taking one out of a proper tree.
func anyNode(t *rapid.T, g *Grove) *node {
	var edits []Edit
	for k, v := range anyMap(1, 60).Draw(t, "content") {
		edits = append(edits, Put([]byte(k), []byte(v), ids(rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "links"))...))
	}
	tr := flush(t, apply(t, g.Empty(), edits...))
	it := tr.root
	for {
		n := must[*node](t)(g.load(t.Context(), it))
		it = rapid.SampledFrom(n.items).Draw(t, "item")
		if it.sub == nil || rapid.Bool().Draw(t, "this") {
			return n
		}
	}
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, err := New(Config{Shape: mac(shapeKey), NodeHash: mac(nodeKey), Store: &Memory{}})
		if err != nil {
			t.Fatal(err)
		}
		n := anyNode(t, g)
		plain, links := encode(n)
		if len(n.items) > 1 && len(plain) > bound(n.level)+nodeCost {
			t.Fatalf("level %d: %d bytes", n.level, len(plain))
		}
		again, err := decode(g.shape, plain, links)
		if err != nil {
			t.Fatal(err)
		}
		if again.level != n.level || again.count != n.count || !sameItems(again.items, n.items) {
			t.Fatal("another node")
		}
		if p, l := encode(again); !bytes.Equal(p, plain) || len(l) != len(links) {
			t.Fatal("other bytes")
		}
		if m, ok := modelDecode(g.shape, plain, links); !ok || !sameItems(m.items, n.items) {
			t.Fatal("internal/wire reads it otherwise")
		}
		// Any one byte changed is refused, or is another node with another hash.
		at := rapid.IntRange(0, len(plain)-1).Draw(t, "at")
		bad := bytes.Clone(plain)
		bad[at] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		if other, err := decode(g.shape, bad, links); err == nil {
			if p, _ := encode(other); !bytes.Equal(p, bad) {
				t.Fatal("two encodings of one node")
			}
		}
		if _, err := g.read(Ref{Hash: g.nodeHash(plain)}, bad, links); !errors.Is(err, ErrMalformed) {
			t.Fatalf("read of changed bytes: %v", err)
		}
	})
}

// sample is a node that is proper, or nearly so.
type sample struct {
	Name  string `json:"name"`
	Plain string `json:"plain"`
	Links int    `json:"links"`
	OK    bool   `json:"ok"`
}

func samples() []sample {
	hash := strings.Repeat("11", 32)
	kid := func(key, count, level string) string { return "84" + key + "5820" + hash + count + level }
	long := func(n int) string { return strings.Repeat("61", n) }
	return []sample{
		{"nothing", "", 0, false},
		{"empty tree", "a0", 0, true},
		{"empty tree with a link", "a0", 1, false},
		{"empty list", "a10280", 0, false},
		{"one entry", "a10281" + "83416140" + "00", 0, true},
		{"one entry, link", "a10281" + "83416140" + "01", 1, true},
		{"link not there", "a10281" + "83416140" + "01", 0, false},
		{"link not used", "a10281" + "83416140" + "00", 1, false},
		{"links without end", "a10281" + "83416140" + "1b7fffffffffffffff", 1, false},
		{"byte after it", "a10281" + "83416140" + "0000", 0, false},
		{"cut short", "a10281" + "83416140", 0, false},
		{"no key", "a10281" + "834040" + "00", 0, false},
		{"text for a key", "a10281" + "83616140" + "00", 0, false},
		{"two fields", "a10281" + "82416140", 0, false},
		{"two entries", "a10282" + "83416140" + "00" + "83416240" + "00", 0, true},
		{"duplicate key", "a10282" + "83416140" + "00" + "83416140" + "00", 0, false},
		{"wrong order", "a10282" + "83416240" + "00" + "83416140" + "00", 0, false},
		{"wrong boundary", "a10282" + "834330323240" + "00" + "83416240" + "00", 0, false}, // 022 ends a leaf
		{"boundary at the end", "a10282" + "8343303231" + "40" + "00" + "834330323240" + "00", 0, true},
		{"wrong boundary on level 1", "a201010382" + kid("43303239", "01", "00") + kid("4162", "01", "00"), 2, false}, // 029 ends a node there
		{"boundary of another level", "a201010382" + kid("43303232", "01", "00") + kid("4162", "01", "00"), 2, true},
		{"length not shortest", "a10281" + "8358016140" + "00", 0, false},
		{"indefinite length", "a1029f" + "83416140" + "00ff", 0, false},
		{"level 0 written", "a201000281" + "83416140" + "00", 0, false},
		{"entries on level 1", "a201010281" + "83416140" + "00", 0, false},
		{"children on level 0", "a10382" + kid("4161", "01", "00") + kid("4162", "01", "00"), 2, false},
		{"two children", "a201010382" + kid("4161", "01", "00") + kid("4162", "01", "00"), 2, true},
		{"a child promoted", "a201020382" + kid("4161", "02", "01") + kid("4162", "01", "00"), 2, true},
		{"only child", "a201010381" + kid("4161", "01", "00"), 1, false},
		{"child as high as its parent", "a201010382" + kid("4161", "01", "01") + kid("4162", "01", "00"), 2, false},
		{"child of no entries", "a201010382" + kid("4161", "00", "00") + kid("4162", "01", "00"), 2, false},
		{"count out of range", "a201010382" + kid("4161", "1b0000080000000001", "00") + kid("4162", "01", "00"), 2, false},
		{"level out of range", "a2011820" + "0382" + kid("4161", "01", "00") + kid("4162", "01", "00"), 2, false},
		{"children not in order", "a201010382" + kid("4162", "01", "00") + kid("4161", "01", "00"), 2, false},
		{"key of MaxKey", "a10281" + "83590780" + long(MaxKey) + "40" + "00", 0, true},
		{"key too long", "a10281" + "83590781" + long(MaxKey+1) + "40" + "00", 0, false},
		{"value of MaxValue", "a10281" + "8341615a00010000" + long(MaxValue) + "00", 0, true},
		{"value too long", "a10281" + "8341615a00010001" + long(MaxValue+1) + "00", 0, false},
		{"two entries too heavy", "a10282" + "83416159" + "1800" + long(6144) + "00" + "83416240" + "00", 0, false},
		{"more items than bytes", "a1029903ff", 0, false},
	}
}

func TestDecodeRefuses(t *testing.T) {
	shape := Shape(mac(shapeKey))
	for _, c := range samples() {
		plain, err := hex.DecodeString(c.Plain)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		n, err := decode(shape, plain, ids(c.Links))
		_, model := modelDecode(shape, plain, ids(c.Links))
		if (err == nil) != c.OK || model != c.OK || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, model %v", c.Name, err, model)
		}
		if err == nil {
			if p, _ := encode(n); !bytes.Equal(p, plain) {
				t.Errorf("%s: written as %x", c.Name, p)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	// Not pooled as mac is: the fuzzer wants equal inputs to take equal paths.
	shape := func(key []byte) [32]byte { return sha256.Sum256(key) }
	g, err := New(Config{Shape: shape, NodeHash: shape, Store: &Memory{}})
	if err != nil {
		f.Fatal(err)
	}
	tr := flush(f, apply(f, g.Empty(), honest(100, 1)...)) // small seeds: large ones are minimized for minutes
	for n := range nodesIn(f, tr) {
		plain, links := encode(n)
		f.Add(plain, uint16(len(links)))
	}
	f.Add([]byte{0xa0}, uint16(0))
	f.Fuzz(func(t *testing.T, plain []byte, links uint16) {
		list := ids(int(links))
		n, err := decode(g.shape, plain, list)
		_, ok := modelDecode(g.shape, plain, list)
		if (err == nil) != ok {
			t.Fatalf("decode: %v, internal/wire: %v", err, ok)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, back := encode(n)
		if !bytes.Equal(again, plain) || len(back) != len(list) {
			t.Fatalf("written as %x", again)
		}
	})
}
