package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/vectors.json anew: only for a new version of the format")

// Conformance vectors for other implementations, and the golden bytes of this one.
// testdata/check_vectors.py is such an implementation, from the words of the format.

type vectors struct {
	About    string   `json:"about"`
	ShapeKey string   `json:"shape_key"`
	NodeKey  string   `json:"node_key"`
	Trees    []vector `json:"trees"`
	Nodes    []sample `json:"nodes"`
}

type vector struct {
	Name    string        `json:"name"`
	Entries []vectorEntry `json:"entries,omitempty"`
	Series  *series       `json:"series,omitempty"`
	Root    string        `json:"root"`
	Level   int           `json:"level"`
	Count   int           `json:"count"` // of nodes
	// Hashes is SHA-256 of all node hashes, breadth first.
	Hashes string       `json:"hashes"`
	Nodes  []vectorNode `json:"nodes,omitempty"` // breadth first; left out if many
}

// vectorEntry has the value text ‖ pad × 'v', and links that are SHA-256 of their texts.
type vectorEntry struct {
	Key   string   `json:"key"`
	Text  string   `json:"text,omitempty"`
	Pad   int      `json:"pad,omitempty"`
	Links []string `json:"links,omitempty"`
}

// series is entries i = 0 … count−1 with key "PREFIX" ‖ i in 8 decimal digits and
// value (pad + 37 i mod spread) × 'v'.
type series struct {
	Prefix string `json:"prefix"`
	Count  int    `json:"count"`
	Pad    int    `json:"pad"`
	Spread int    `json:"spread"`
}

type vectorNode struct {
	Level int    `json:"level"`
	Hash  string `json:"hash"`
	Plain string `json:"plain,omitempty"` // left out if long
}

func (v vector) edits() []Edit {
	var out []Edit
	for _, e := range v.Entries {
		edit := Put([]byte(e.Key), []byte(e.Text+strings.Repeat("v", e.Pad)))
		for _, l := range e.Links {
			edit.Links = append(edit.Links, sha256.Sum256([]byte(l)))
		}
		out = append(out, edit)
	}
	for i := range v.Series.count() {
		s := v.Series
		out = append(out, Put(fmt.Appendf(nil, "%s%08d", s.Prefix, i), []byte(strings.Repeat("v", s.Pad+37*i%s.Spread))))
	}
	return out
}

func (s *series) count() int {
	if s == nil {
		return 0
	}
	return s.Count
}

// wanted are the trees the vectors cover: sizes, oversize runs and entries, long
// keys, links, and the plans of the attack suite.
func wanted() []vector {
	out := []vector{
		{Name: "empty"},
		{Name: "one", Entries: []vectorEntry{{Key: "a", Text: "b"}}},
		{Name: "empty value and links", Entries: []vectorEntry{{Key: "a"}, {Key: "b", Text: "x", Links: []string{"1", "2"}}, {Key: "c", Links: []string{"3"}}}},
		{Name: "a boundary", Entries: []vectorEntry{{Key: "021"}, {Key: "022"}, {Key: "023"}}},
		{Name: "a promoted leaf", Entries: []vectorEntry{{Key: "021"}, {Key: "022"}, {Key: "029", Pad: 7000}, {Key: "030", Pad: 10}}},
		{Name: "one large entry among small ones", Entries: []vectorEntry{{Key: "a", Pad: 100}, {Key: "b", Pad: 100}, {Key: "c", Pad: 65536}, {Key: "d", Pad: 100}}},
		{Name: "exactly a leaf", Entries: []vectorEntry{{Key: "a", Pad: 3055}, {Key: "b", Pad: 3055}}},
		{Name: "a byte more", Entries: []vectorEntry{{Key: "a", Pad: 3055}, {Key: "b", Pad: 3056}}},
		{Name: "100 small", Series: &series{"k", 100, 0, 1}},
		{Name: "1,000 documents", Series: &series{"doc-", 1000, 200, 150}},
		{Name: "1,000 long keys", Series: &series{strings.Repeat("k", MaxKey-8), 1000, 0, 1}},
		{Name: "30,000 documents", Series: &series{"doc-", 30_000, 200, 150}},
	}
	for _, p := range plans()[1:] {
		v := vector{Name: "attack: " + p.name}
		p.n = 200
		for _, k := range p.grind(new(int)) {
			v.Entries = append(v.Entries, vectorEntry{Key: string(k), Pad: 300})
		}
		out = append(out, v)
	}
	return out
}

// result builds the tree of a vector and fills in what came out.
func (v vector) result(t *testing.T) vector {
	g := newGrove(t, &Memory{}, 0)
	tr := flush(t, apply(t, g.Empty(), v.edits()...))
	ref, _ := tr.Root()
	v.Root, v.Level = hex.EncodeToString(ref.Hash[:]), tr.root.sub.level
	all := sha256.New()
	for level := []*item{tr.root}; len(level) > 0; {
		var below []*item
		for _, it := range level {
			n := must[*node](t)(g.load(context.Background(), it))
			plain, _ := encode(n)
			h := it.sub.ref.Hash
			all.Write(h[:])
			if v.Count++; v.Count <= 20 {
				v.Nodes = append(v.Nodes, vectorNode{n.level, hex.EncodeToString(h[:]), short(plain)})
			}
			if n.level > 0 {
				below = append(below, n.items...)
			}
		}
		level = below
	}
	if v.Hashes = hex.EncodeToString(all.Sum(nil)); v.Count > 20 {
		v.Nodes = nil
	}
	return v
}

// shortSamples leaves out those whose length is the point.
func shortSamples() []sample {
	return slices.DeleteFunc(samples(), func(s sample) bool { return len(s.Plain) > 1000 })
}

func short(plain []byte) string {
	if len(plain) > 400 {
		return ""
	}
	return hex.EncodeToString(plain)
}

func TestVectors(t *testing.T) {
	const path = "testdata/vectors.json"
	if *rewrite {
		out := vectors{
			About:    "Trees of entries, and nodes that a reader takes or refuses. Shape and node hash are HMAC-SHA-256 under these keys. See vectors_test.go.",
			ShapeKey: shapeKey, NodeKey: nodeKey, Nodes: shortSamples(),
		}
		for _, v := range wanted() {
			out.Trees = append(out.Trees, v.result(t))
		}
		b, err := json.MarshalIndent(out, "", " ")
		if err == nil {
			err = os.WriteFile(path, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var have vectors
	if err := json.Unmarshal(b, &have); err != nil {
		t.Fatal(err)
	}
	for _, want := range have.Trees {
		in := want
		in.Root, in.Level, in.Count, in.Hashes, in.Nodes = "", 0, 0, "", nil
		if got := in.result(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: root %s level %d, %d nodes; want root %s level %d, %d nodes", want.Name, got.Root, got.Level, got.Count, want.Root, want.Level, want.Count)
		}
	}
	if len(have.Trees) != len(wanted()) || len(have.Nodes) != len(shortSamples()) {
		t.Errorf("%d trees and %d nodes, want %d and %d", len(have.Trees), len(have.Nodes), len(wanted()), len(shortSamples()))
	}
	shape := Shape(mac(shapeKey))
	for _, s := range have.Nodes {
		plain, err := hex.DecodeString(s.Plain)
		if err == nil {
			_, err = decode(shape, plain, ids(s.Links))
		}
		if (err == nil) != s.OK {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}
