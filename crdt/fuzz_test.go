package crdt

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
)

// Every decoder of outside bytes: it must not panic or allocate without bound, and
// what it takes must be the only encoding of what it read.

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":[1.5,-0,-0.0,1e3,"x\u00e9",null,true,{"c":{}}]}`, `{"_id":"x","_rev":"1-0","_files":{}}`, `{"a":9007199254740993}`,
		`{"a":1,"a":2}`, `{"a":1e999}`, "{\"a\":\"\xff\"}", `{"_x":1}`, `[1]`, `{"a":9223372036854775808}`, ``, `{`, `{"\ud800":1}`,
		`{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, `{"":{"":""}}`, `{"a":-9223372036854775808,"b":0.1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseJSON(text)
		var bad *BadDocError
		if err != nil {
			if !errors.As(err, &bad) || bad.Rule == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		out := d.JSON()
		again, err := ParseJSON(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		a, err := EncodeValue(d)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := EncodeValue(again); err != nil || !bytes.Equal(a, b) || !bytes.Equal(again.JSON(), out) {
			t.Fatalf("%s reads back as %s", out, again.JSON())
		}
	})
}

func FuzzDecodeValue(f *testing.F) {
	for _, v := range []any{nil, true, int64(-7), 1.5, "x", []any{1.0, "y"}, map[string]any{"a": []any{}, "bb": int64(1 << 40)}} {
		b, err := EncodeValue(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\xf9\x80\x00"))
	f.Add([]byte("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeValue(b)
		if err != nil {
			return
		}
		if again, err := EncodeValue(v); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %v, which is %x, %v", b, v, again, err)
		}
	})
}

// seedSites returns replicas whose entries and commits have every feature.
func seedSites(f testing.TB) (*site, *site) {
	a, b := newSite(f, "a"), newSite(f, "b")
	a.write(put("d", `{"a":{"b":1},"n":5,"x":[1,{"y":null}],"z":1.5}`), put("e", `{}`))
	b.pull(a)
	a.write(patch("d", `{"n":{"$inc":2},"a":{"c":{"d":"e"}}}`), del("e"))
	b.write(patch("d", `{"n":{"$inc":-3},"a":7}`))
	b.pull(a)
	b.write(Write{Verb: Patch, ID: "d", Body: Doc{"big": strings.Repeat("x", MaxInline)}, Files: map[string]*File{
		"f": {Root: block.ID{1}, Hash: [32]byte{2}, Size: 3, Type: "text/plain", Modified: 4},
	}})
	a.pull(b)
	a.write(restore("e"), patch("d", `{"n":null}`))
	a.write(del("d"))
	a.write(restore("d"))
	return a, b
}

func FuzzEntry(f *testing.F) {
	a, b := seedSites(f)
	for _, s := range []*site{a, b} {
		for _, rec := range entriesOf(s.Replica) {
			f.Add(rec)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEntry(data, nil)
		if err != nil {
			return
		}
		v := viewer{stores: a, keep: true}
		v.document(e)
		if again := e.encode(); !bytes.Equal(again, data) {
			t.Fatalf("%x\nencodes as\n%x", data, again)
		}
	})
}

// commitHeader gives a fuzzed plaintext a header that fits it, if any does.
func commitHeader(plain []byte, links uint8) *block.Block {
	h := block.Header{Kind: block.KindCommit, DB: testDB, Author: block.Device{1}, Seat: block.ID{7}}
	if x, err := decodeBody(plain); err == nil {
		h.Parents = len(x.parents)
		if h.Parents == 0 && x.seq > 1 {
			h.Parents = 1
		}
	}
	for i := range h.Parents + int(links) {
		h.Links = append(h.Links, block.ID{byte(i + 1)})
	}
	return &block.Block{ID: block.ID{0xcc}, Header: h}
}

func FuzzCommit(f *testing.F) {
	a, _ := seedSites(f)
	for c := range a.Commits() {
		f.Add(reencode(c, nil), uint8(len(c.links)), []byte(nil))
	}
	list := appendHead(nil, majorArray, 1)
	list = (&op{id: "x", life: 1}).append(list)
	linked := body{seq: 1, time: 1, team: []block.ID{{1}}, hasDigest: true, digest: [32]byte{1}, opBlocks: 1}
	f.Add(linked.encode(), uint8(1), list)
	f.Fuzz(func(t *testing.T, plain []byte, links uint8, ops []byte) {
		b := commitHeader(plain, links)
		c, err := ParseCommit(b, plain)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			return
		}
		filled := ops
		for _, id := range c.Linked() {
			if err := c.Fill(id, ops); err != nil {
				return
			}
		}
		if again := reencode(c, filled); !bytes.Equal(again, plain) {
			t.Fatalf("%x\nencodes as\n%x", plain, again)
		}
	})
}

// reencode writes a commit from its decoded form. If its operations are linked,
// they must encode as block.
func reencode(c *Commit, filled []byte) []byte {
	x := body{
		incarnation: c.Actor.Incarnation, seq: c.Seq, team: c.TeamHeads, time: c.Time, opBlocks: c.opBlocks, values: c.values,
		void: c.Void, digest: c.Digest, hasDigest: c.HasDigest, secret: c.secret,
	}
	if len(c.ctx.actors) > 0 {
		x.actors = c.ctx.actors[1:]
	}
	before, own := Dot{c.Actor, c.Seq - 1}, 0
	for i, d := range c.parents {
		x.parents = append(x.parents, parent{slices.Index(c.ctx.actors, d.Actor), d.Seq})
		if d == before && c.Parents[i] == c.Prev {
			own++
		}
	}
	if len(c.parents) == 1 && c.parents[0] == before {
		x.parents = nil
	}
	twins := slices.DeleteFunc(slices.Clone(c.parents), func(d Dot) bool { return d != before })
	if own == 0 || len(twins) > 1 {
		x.prev = c.Prev
	}
	if ops := c.operations(); len(ops) > 0 && c.opBlocks <= 1 {
		list := appendHead(nil, majorArray, uint64(len(ops)))
		for i := range ops {
			list = ops[i].append(list)
		}
		if c.opBlocks == 0 {
			x.ops = list
		} else if !bytes.Equal(list, filled) {
			return list
		}
	}
	return x.encode()
}

func FuzzFrontier(f *testing.F) {
	a, _ := seedSites(f)
	f.Add(a.Frontier().Encode())
	f.Add([]byte{})
	f.Add([]byte{0x9a, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := ParseFrontier(b)
		if err != nil {
			return
		}
		if again := fr.Encode(); len(b) > 0 && !bytes.Equal(again, b) {
			t.Fatalf("%x\nencodes as\n%x", b, again)
		}
		a.Since(fr)
		a.Covers(fr)
	})
}

func FuzzCheckpoint(f *testing.F) {
	plain, _, err := goldenCheckpoint().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, []byte(nil))
	empty := goldenCheckpoint()
	empty.Entries, empty.Documents, empty.Root, empty.RootHash, empty.Voids = 0, 0, block.ID{}, [32]byte{}, nil
	if plain, _, err = empty.Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(plain, []byte(nil))
	f.Fuzz(func(t *testing.T, plain, part []byte) {
		for _, links := range [][]block.ID{{{1}}, {{1}, {2}}, {{1}, {2}, {3}}} {
			b := &block.Block{Header: block.Header{Kind: block.KindCheckpoint, Parents: 1, Links: links}}
			c, err := ParseCheckpoint(b, plain)
			if err != nil {
				continue
			}
			for _, id := range c.Parts() {
				if err = c.Fill(id, part); err != nil {
					return
				}
			}
			again, parts, err := c.Encode()
			if err != nil || !bytes.Equal(again, plain) || len(parts) != len(c.Parts()) {
				t.Fatalf("%x\nencodes as\n%x, %v", plain, again, err)
			}
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add("c0")
	f.Add("")
	f.Add("czz")
	f.Add("c00")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseCursor(s); err == nil && s != "" && c.String() != s {
			t.Fatalf("%q reads as %s", s, c)
		}
	})
}

// FuzzRows: rows of a graph come from whoever offers a checkpoint.
func FuzzRows(f *testing.F) {
	s := newSite(f, "s")
	o := newSite(f, "o")
	s.write(put("d", `{"a":1}`))
	o.write(put("d", `{"a":2}`))
	s.pull(o)
	s.write(put("e", `{"a":1}`))
	s.write(put("e", `{"a":2}`))
	f.Add(s.Rows(0, s.Len()))
	f.Add(s.Rows(0, 1))
	f.Fuzz(func(t *testing.T, chunk []byte) {
		r := NewReplica(testDB, testKeys())
		n, err := r.ReadRows(chunk, 1000)
		if err != nil {
			return
		}
		if n != r.Len() || n == 0 {
			t.Fatalf("%d rows read, the graph has %d", n, r.Len())
		}
		if again := r.Rows(0, n); !bytes.Equal(again, chunk) {
			t.Fatalf("rows read and written again:\n%x\n%x", again, chunk)
		}
	})
}
