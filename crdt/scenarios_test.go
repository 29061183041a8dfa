package crdt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toftdb/toft/block"
)

// The data scenarios that this room can answer, by their numbers.

// feedOf returns the rows behind a cursor as id or -id.
func (s *site) feedOf(since Cursor) (rows []string) {
	for c, err := range s.Changes(since) {
		if err != nil {
			s.t.Fatal(err)
		}
		rows = append(rows, map[bool]string{true: "-", false: ""}[c.Deleted]+c.ID)
	}
	return rows
}

func TestD2UpdateIsOneRow(t *testing.T) {
	s := newSite(t, "a")
	s.write(Write{Verb: Put, Body: doc(`{"_id":"hello","value":"world"}`)})
	s.write(Write{Verb: Put, Body: doc(`{"_id":"hello","value":"universe"}`)})
	if got := s.read("hello"); got != `{"value":"universe"}` {
		t.Error(got)
	}
	if rows := s.feedOf(Cursor{}); !slices.Equal(rows, []string{"hello"}) {
		t.Error(rows)
	}
}

func TestD3Missing(t *testing.T) {
	if _, _, err := newSite(t, "a").Get("missing"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestD4D6DeleteAndPutAgain(t *testing.T) {
	s := newSite(t, "a")
	for _, id := range []string{"hello", "b", "c"} {
		s.write(put(id, `{"x":1}`))
	}
	s.write(del("hello"))
	_, meta, err := s.Get("hello")
	if !errors.Is(err, ErrNotFound) || !meta.Deleted {
		t.Error(err, meta)
	}
	if rows := s.feedOf(Cursor{}); !slices.Equal(rows, []string{"b", "c", "-hello"}) {
		t.Error(rows)
	}
	s.write(put("hello", `{"y":2}`))
	if got := s.read("hello"); got != `{"y":2}` {
		t.Error(got)
	}
}

func TestD7ChangesOfTen(t *testing.T) {
	s := newSite(t, "a")
	for i := range 10 {
		s.write(put(fmt.Sprint("id-", i), `{}`))
	}
	s.write(put("id-6", `{"x":1}`))
	s.write(del("id-7"))
	rows := s.feedOf(Cursor{})
	if len(rows) != 10 || rows[9] != "-id-7" || rows[8] != "id-6" {
		t.Error(rows)
	}
}

func TestD8ChangesInOrderOfWriting(t *testing.T) {
	s := newSite(t, "a")
	s.write(put("ace", `{"n":11}`), put("king", `{"n":10}`))
	first := s.Now()
	s.write(put("queen", `{"n":10}`), put("jack", `{"n":10}`))
	second := s.Now()
	o := newSite(t, "b")
	o.pull(s)
	for _, s := range []*site{s, o} {
		if rows := s.feedOf(Cursor{}); !slices.Equal(rows, []string{"ace", "king", "queen", "jack"}) {
			t.Error(rows)
		}
		if rows := s.feedOf(first); !slices.Equal(rows, []string{"queen", "jack"}) {
			t.Error(rows)
		}
		if rows := s.feedOf(second); len(rows) != 0 {
			t.Error(rows)
		}
	}
}

// D9: null is kept, infinity is refused with the old version intact (TestBadWrites),
// values come back as they went in, to the last bit.
func TestD9Values(t *testing.T) {
	s := newSite(t, "a")
	const text = `{"big":9007199254740993,"date":"2024-02-29T00:00:00.000Z","f":1.0,"list":[null,{"n":null}],"null":null}`
	s.write(put("d", text))
	if got := s.read("d"); got != text {
		t.Error(got)
	}
}

func TestD19AllDocs(t *testing.T) {
	s := newSite(t, "a")
	all := func(q Range) (ids []string) {
		for d, err := range s.All(q) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, d["_id"].(string))
		}
		return ids
	}
	if got := all(Range{}); len(got) != 0 {
		t.Error(got)
	}
	for _, id := range []string{"e", "b", "d", "a", "c"} {
		s.write(put(id, `{}`))
	}
	s.write(del("b"))
	s.write(del("d"))
	for _, x := range []struct {
		q    Range
		want string
	}{
		{Range{}, "a c e"}, {Range{Limit: 2}, "a c"}, {Range{Desc: true}, "e c a"}, {Range{From: "b"}, "c e"},
		{Range{From: "a", To: "c"}, "a c"}, {Range{To: "d", Desc: true}, "c a"}, {Range{Prefix: "c"}, "c"},
		{Range{After: "a"}, "c e"}, {Range{After: "e", Desc: true, Limit: 1}, "c"}, {Range{From: "z"}, ""}, {Range{From: "c", To: "a"}, ""},
	} {
		if got := strings.Join(all(x.q), " "); got != x.want {
			t.Errorf("%+v: %q, want %q", x.q, got, x.want)
		}
	}
	if s.Count() != 3 {
		t.Error(s.Count())
	}
}

// D23: the same commits in any order of delivery lead to the same state (also
// TestLaws, TestVectors); the same documents written otherwise differ in their dots
// only, until purged of them.
func TestD23SameDocumentsOtherwise(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.write(put("x", `{"n":1}`), put("y", `{"n":2}`))
	b.write(put("y", `{"n":2}`))
	b.write(put("x", `{"n":1}`))
	if a.Digest() == b.Digest() {
		t.Error("dots are part of the state")
	}
	for _, s := range []*site{a, b} {
		s.write(purge("x"), purge("y"))
		if s.Digest() != newSite(t, "c").Digest() || s.docs.entries != 0 {
			t.Error("a purge of everything seen leaves something behind")
		}
	}
}

// D24: what describes a file is kept, updating other fields keeps it, a put that
// names the files as they were read keeps it, deleting the document hides it.
func TestD24Files(t *testing.T) {
	s := newSite(t, "a")
	one := &File{Root: block.ID{1}, Hash: [32]byte{1}, Size: 12, Type: "image/png", Modified: 99}
	empty := &File{Root: block.ID{2}, Hash: [32]byte{2}, Type: "text/plain", Modified: 98}
	s.write(Write{Verb: Put, ID: "d", Body: Doc{"x": int64(1)}, Files: map[string]*File{"one.png": one, "empty": empty}})
	files := func() string {
		d, _, err := s.Get("d")
		if err != nil {
			return err.Error()
		}
		return string(appendJSON(nil, d["_files"]))
	}
	want := files()
	if !strings.Contains(want, `"one.png":{"modified":99,"root":"bafkrei`) || !strings.Contains(want, `"size":0`) {
		t.Fatal(want)
	}
	s.write(patch("d", `{"x":2}`))
	s.write(put("d", `{"x":3}`))
	d, _, _ := s.Get("d")
	d["x"] = int64(4)
	s.write(Write{Verb: Put, Body: d})
	if got := files(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s.write(Write{Verb: Patch, ID: "d", Files: map[string]*File{"empty": nil}})
	if got := files(); strings.Contains(got, "empty") || !strings.Contains(got, "one.png") {
		t.Error(got)
	}
	s.write(del("d"))
	if _, err := s.File("d", "one.png"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	s.write(restore("d"))
	if f, err := s.File("d", "one.png"); err != nil || f != *one {
		t.Error(f, err)
	}
	s.write(del("d"))
	s.write(put("d", `{"new":true}`))
	if got := s.read("d"); got != `{"new":true}` {
		t.Errorf("a put after a delete starts from %s", got)
	}
}

func TestD39DifferentFields(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.write(put("d", `{}`))
	b.pull(a)
	a.write(patch("d", `{"a":1}`))
	b.write(patch("d", `{"b":1}`))
	a.pull(b)
	b.pull(a)
	if a.read("d") != `{"a":1,"b":1}` || b.read("d") != a.read("d") || a.losers("d") != "" {
		t.Error(a.read("d"), b.read("d"), a.losers("d"))
	}
}

// D40: edit wins over delete, whole and on both sides.
func TestD40DeleteAndUpdate(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.write(put("d", `{"x":1,"y":1}`))
	b.pull(a)
	a.write(del("d"))
	b.write(patch("d", `{"x":2}`))
	a.pull(b)
	b.pull(a)
	if a.read("d") != `{"x":2,"y":1}` || b.read("d") != a.read("d") || a.Digest() != b.Digest() {
		t.Error(a.read("d"), b.read("d"))
	}
}

// D42: 1,000 events a side meet in well under a second, and reading is not slower
// afterwards: the heads are one again after the next write, not two thousand.
func TestD42OfflineThenMerge(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	for i := range 1000 {
		a.write(put(fmt.Sprint("d", i%300), fmt.Sprintf(`{"a":%d}`, i)))
		b.write(patch(fmt.Sprint("d", i%300), fmt.Sprintf(`{"b":%d}`, i)))
	}
	began := time.Now()
	a.pull(b)
	if d := time.Since(began); d > 5*time.Second { // generous: machines differ
		t.Errorf("merged in %s", d)
	}
	b.pull(a)
	if len(a.Heads()) != 2 || a.Digest() != b.Digest() {
		t.Errorf("%d heads", len(a.Heads()))
	}
	a.write(put("x", `{}`))
	if len(a.Heads()) != 1 {
		t.Errorf("%d heads", len(a.Heads()))
	}
}

// D46: ids are accepted as they are, or refused at the put; never stored unreadable.
func TestD46IDs(t *testing.T) {
	s := newSite(t, "a")
	for _, id := range []string{"ü𝄞", "0", "007", "-1", "a/b", " ", "a b ", "_x", "__proto__", "%00", "日本", strings.Repeat("i", MaxID), "\u200f"} {
		s.write(put(id, `{"x":1}`))
		d, _, err := s.Get(id)
		if err != nil || d["_id"] != id {
			t.Errorf("%q: %v %v", id, d, err)
		}
	}
	for _, id := range []string{"", strings.Repeat("i", MaxID+1), strings.Repeat("i", 4096), "\x00", "a\tb", "a\x7f", "\u0085", "\xff"} {
		var bad *BadDocError
		if _, err := s.try(put(id, `{}`)); !errors.As(err, &bad) {
			t.Errorf("%.20q: %v", id, err)
		}
	}
}

// D47: a delete is told as one, and a remote change tells only what changed.
func TestD47RemoteChanges(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.write(put("x", `{}`), put("y", `{}`), put("z", `{}`))
	b.pull(a)
	c := a.write(put("x", `{"n":1}`), put("y", `{}`), del("z"))
	got := b.add(c).Changes
	if len(got) != 2 || got[0].ID != "x" || got[0].Deleted || got[1].ID != "z" || !got[1].Deleted || got[0].Commit != c.ID || got[0].Device != a.actor.Device {
		t.Errorf("%+v", got)
	}
}
