package crdt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A document of which nothing is kept is written as the working copy would.
func TestFreshIsWhatTheWorkingCopyGives(t *testing.T) {
	s := newSite(t, "A")
	rapid.Check(t, func(t *rapid.T) {
		doc := genObject(t, 3)
		d, err := s.newDrafting(s.author(), nil)
		if err != nil {
			t.Fatal(err)
		}
		x := d.fresh.write(doc, &d.ctx)
		if x == nil {
			t.Fatalf("%v went the long way", doc)
		}
		w := newWork(&entry{}, d, d.ctx.dot, d.ctx.time)
		if err := w.put(doc); err != nil {
			t.Fatal(err)
		}
		o := w.op("d", d.table)
		if have, want := (&op{id: "d", fresh: x}).append(nil), o.append(nil); !bytes.Equal(have, want) {
			t.Fatalf("operation of %v:\n%x\n%x", doc, have, want)
		}
		if want := w.result().encode(); !bytes.Equal(x.entry, want) {
			t.Fatalf("entry of %v:\n%x\n%x", doc, x.entry, want)
		}
	})
}

// What is large, deep, strange or wrong goes the long way, which says what is wrong.
func TestWhatIsNotFresh(t *testing.T) {
	deep := map[string]any{}
	for range MaxDepth {
		deep = map[string]any{"a": deep}
	}
	wide := map[string]any{}
	for i := range maxFresh / 8 {
		wide[fmt.Sprint("key ", i)] = map[string]any{}
	}
	for name, doc := range map[string]Doc{
		"large value": {"a": strings.Repeat("x", MaxInline)},
		"many keys":   {"a": wide},
		"deep":        {"a": deep},
		"files":       {keyFiles: map[string]any{}},
		"no value":    {"a": make(chan int)},
		"long key":    {strings.Repeat("k", MaxKey+1): int64(1)},
		"bad key":     {"\xff": int64(1)},
		"bad text":    {"a": "\xff"},
	} {
		if x := new(freshWriter).write(doc, &opContext{dot: Dot{Seq: 1}, time: 1}); x != nil {
			t.Errorf("%s: written in %d bytes", name, len(x.entry))
		}
	}
}

// More than one write of a new document in one commit: the second one finds the first.
func TestWritesOnTopOfAFreshOne(t *testing.T) {
	for name, c := range map[string]struct {
		then Write
		want string
		err  string
	}{
		"put":            {Write{Verb: Put, ID: "d", Body: Doc{"y": int64(2)}}, `{"y":2}`, ""},
		"patch":          {Write{Verb: Patch, ID: "d", Body: Doc{"y": int64(2)}}, `{"x":1,"y":2}`, ""},
		"delete":         {Write{Verb: Delete, ID: "d"}, "-", ""},
		"only if absent": {Write{Verb: Put, ID: "d", Body: Doc{}, IfAbsent: true}, `{"x":1}`, "exists"},
		"bad":            {Write{Verb: Put, ID: "d", Body: Doc{"_no": int64(2)}}, `{"x":1}`, "reserved"},
	} {
		s := newSite(t, "A")
		a := s.author()
		first := Write{Verb: Put, ID: "d", Body: Doc{"x": int64(1)}}
		d, _, errs := s.Draft(a, [][]Write{{first}, {c.then}})
		if errs[0] != nil || (errs[1] == nil) != (c.err == "") || c.err != "" && !strings.Contains(errs[1].Error(), c.err) {
			t.Fatalf("%s: %v", name, errs)
		}
		s.add(s.sealed(d, a))
		if got := s.read("d"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Of a deleted document something is kept: a put on top of it goes the long way, and
// leads every replica to the same.
func TestAPutOverADeletedOneIsNotFresh(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	a.write(put("d", `{"x":1}`))
	a.write(del("d"))
	b.pull(a)
	a.write(put("d", `{"y":2}`))
	b.pull(a) // and compares the digest
	if !bytes.Equal(a.entry("d"), b.entry("d")) || a.Digest() != b.Digest() || a.read("d") != `{"y":2}` {
		t.Errorf("reads %s and %s", a.read("d"), b.read("d"))
	}
}
