package crdt

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseJSON(t *testing.T) {
	for _, x := range []struct{ in, out string }{
		{`{"b":1,"a":2,"_id":"x"}`, `{"_id":"x","a":2,"b":1}`},
		{`{"n":9007199254740993,"m":-9223372036854775808}`, `{"m":-9223372036854775808,"n":9007199254740993}`},
		{`{"a":1,"b":1.0,"c":1e0,"d":-0,"e":-0.0,"f":0.1}`, `{"a":1,"b":1.0,"c":1.0,"d":0,"e":0.0,"f":0.1}`},
		{`{"a":1e21,"b":1.5e-9,"c":123456789.25,"d":1E400e0}`, ``},
		{`{"a":1e21,"b":1.5e-9,"c":123456789.25}`, `{"a":1e+21,"b":1.5e-09,"c":123456789.25}`},
		{`{"s":"\u00e9\ud834\udd1e\n\u0000"}`, "{\"s\":\"é𝄞\\n\\u0000\"}"},
		{` { "a" : [ 1 , { } , null , true ] } `, `{"a":[1,{},null,true]}`},
		{`{"":{"":""}}`, `{"":{"":""}}`},
		{`{"o":{"_id":"inside an object it is an ordinary key"}}`, `{"o":{"_id":"inside an object it is an ordinary key"}}`},
	} {
		d, err := ParseJSON([]byte(x.in))
		if (err != nil) != (x.out == "") {
			t.Errorf("%s: %v", x.in, err)
			continue
		}
		if got := string(d.JSON()); err == nil && got != x.out {
			t.Errorf("%s reads as %s, want %s", x.in, got, x.out)
		}
	}
}

// Each breach names the path and the rule, before anything is written.
func TestParseJSONRefused(t *testing.T) {
	long := strings.Repeat("k", MaxKey+1)
	for _, x := range []struct{ in, path, rule string }{
		{`{"a":{"b":1,"b":2}}`, "/a/b", "duplicate key"},
		{`{"a":1,"\u0061":2}`, "/a", "duplicate key"},
		{`{"a":[0,9223372036854775808]}`, "/a/1", "does not fit 64 bits"},
		{`{"a":-9223372036854775809}`, "/a", "does not fit 64 bits"},
		{`{"a":1e999}`, "/a", "beyond the range"},
		{"{\"a\":{\"b\":\"\xff\"}}", "/a/b", "UTF-8"},
		{`{"a":"\ud800"}`, "/a", "surrogate"},
		{`{"a":NaN}`, "/a", "invalid"},
		{`{"a":Infinity}`, "/a", "invalid"},
		{`{"a":undefined}`, "/a", "invalid"},
		{`{"a":{"` + long + `":1}}`, "/a", "key of 513 bytes"},
		{`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, "", ""},
		{`{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, "/a/0", "deeper than 64"},
		{`{"a":` + strings.Repeat(`{"b":`, 64) + `1` + strings.Repeat(`}`, 64) + `}`, "/a/b", "deeper than 64"},
		{`{"_deleted":true}`, "/_deleted", "reserved"},
		{`{"_x":1}`, "/_x", "reserved"},
		{`{"_id":7}`, "/_id", "must be a string"},
		{`{"_rev":null}`, "/_rev", "must be a string"},
		{`[1]`, "", "a document is a JSON object"},
		{`"x"`, "", "a document is a JSON object"},
		{`{} {}`, "", "more than one"},
		{`{"a":1`, "", "ends early"},
		{``, "", "ends early"},
		{`{"a":1,}`, "", "invalid"},
		{`{a:1}`, "", "invalid"},
		{`{"big":"` + strings.Repeat("x", MaxDocument) + `"}`, "", "at most 262144"},
		{strings.Repeat(" ", MaxJSON) + `{}`, "", "at most 2097152"},
	} {
		_, err := ParseJSON([]byte(x.in))
		if x.rule == "" {
			if err != nil {
				t.Errorf("%.60s: %v", x.in, err)
			}
			continue
		}
		var bad *BadDocError
		if !errors.As(err, &bad) {
			t.Errorf("%.60s: %v", x.in, err)
			continue
		}
		if !strings.HasPrefix(pointer(bad.Path), x.path) || !strings.Contains(bad.Error(), x.rule) {
			t.Errorf("%.60s: %v, want %s at %s", x.in, bad, x.rule, x.path)
		}
		if large := strings.Contains(x.rule, "at most"); errors.Is(err, ErrTooLarge) != large {
			t.Errorf("%.60s: too large is %v", x.in, !large)
		}
	}
}

// A refused write leaves the old version as it was (D9).
func TestBadWrites(t *testing.T) {
	s := newSite(t, "a")
	s.write(put("d", `{"x":1}`))
	for what, w := range map[string]Write{
		"NaN":                  {Verb: Put, ID: "d", Body: Doc{"x": math.NaN()}},
		"infinity":             {Verb: Patch, ID: "d", Body: Doc{"x": map[string]any{"y": math.Inf(1)}}},
		"a Go struct":          {Verb: Put, ID: "d", Body: Doc{"x": struct{}{}}},
		"invalid UTF-8":        {Verb: Put, ID: "d", Body: Doc{"x": "\xff"}},
		"invalid UTF-8 in key": {Verb: Put, ID: "d", Body: Doc{"\xff": int64(1)}},
		"long key":             {Verb: Put, ID: "d", Body: Doc{strings.Repeat("k", 513): int64(1)}},
		"reserved key":         {Verb: Patch, ID: "d", Body: Doc{"_meta": int64(1)}},
		"other id":             {Verb: Put, ID: "d", Body: Doc{"_id": "e"}},
		"no id":                {Verb: Put, Body: Doc{}},
		"control in id":        {Verb: Put, ID: "a\nb", Body: Doc{}},
		"inc of a string":      {Verb: Patch, ID: "d", Body: Doc{"s": map[string]any{"$inc": "1"}}},
		"inc by zero":          {Verb: Patch, ID: "d", Body: Doc{"x": map[string]any{"$inc": int64(0)}}},
		"inc by a float":       {Verb: Patch, ID: "d", Body: Doc{"x": map[string]any{"$inc": 1.0}}},
		"inc and more":         {Verb: Patch, ID: "d", Body: Doc{"x": map[string]any{"$inc": int64(1), "y": int64(1)}}},
		"files by name":        {Verb: Put, ID: "d", Body: Doc{"_files": map[string]any{"f": map[string]any{}}}},
		"files in a patch":     {Verb: Patch, ID: "d", Body: Doc{"_files": map[string]any{}}},
		"too large":            {Verb: Patch, ID: "d", Body: Doc{"y": strings.Repeat("x", MaxDocument)}},
	} {
		var bad *BadDocError
		if _, err := s.try(w); !errors.As(err, &bad) {
			t.Errorf("%s: %v", what, err)
		} else if bad.ID != w.ID {
			t.Errorf("%s: names document %q", what, bad.ID)
		}
	}
	s.write(patch("d", `{"s":"text"}`))
	if _, err := s.try(patch("d", `{"s":{"$inc":1}}`)); err == nil || !strings.Contains(err.Error(), "/s: $inc on a value that is not a number") {
		t.Errorf("inc on text: %v", err)
	}
	if got := s.read("d"); got != `{"s":"text","x":1}` {
		t.Errorf("after all that it shows %s", got)
	}
	for what, c := range map[string]struct {
		w    Write
		want error
	}{
		"delete of nothing":          {del("x"), ErrNotFound},
		"restore of nothing":         {restore("x"), ErrNotFound},
		"restore of what is there":   {restore("d"), ErrExists},
		"put if absent, there":       {Write{Verb: Put, ID: "d", Body: Doc{}, IfAbsent: true}, ErrExists},
		"delete of a deleted one":    {del("gone"), ErrNotFound},
		"restore after a purge":      {restore("purged"), ErrNotFound},
		"delete twice in one batch":  {Write{Verb: Delete, ID: "gone"}, ErrNotFound},
		"a verb that does not exist": {Write{Verb: 99, ID: "d"}, nil},
	} {
		if what == "delete of a deleted one" {
			s.write(put("gone", `{}`))
			s.write(del("gone"))
			s.write(put("purged", `{}`))
			s.write(purge("purged"))
		}
		_, err := s.try(c.w)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConditions(t *testing.T) {
	s := newSite(t, "a")
	s.write(put("d", `{"x":1}`))
	d, _, err := s.Get("d")
	if err != nil {
		t.Fatal(err)
	}
	rev := d["_rev"].(string)
	// The document as it was read is its own condition.
	d["x"] = int64(2)
	s.write(Write{Verb: Put, Body: d})
	var conflict *ConflictError
	d["x"] = int64(3)
	if _, err := s.try(Write{Verb: Put, Body: d}); !errors.As(err, &conflict) || conflict.Want != rev || conflict.Have == rev || conflict.ID != "d" {
		t.Fatalf("put over a changed document: %v", err)
	}
	for _, w := range []Write{
		{Verb: Put, ID: "d", Body: Doc{}, IfRev: rev}, {Verb: Patch, ID: "d", Body: Doc{}, IfRev: rev},
		{Verb: Delete, ID: "d", IfRev: rev}, {Verb: Put, ID: "new", Body: Doc{}, IfRev: rev},
	} {
		if _, err := s.try(w); !errors.As(err, &conflict) {
			t.Errorf("%v: %v", w, err)
		}
	}
	_, meta, _ := s.Get("d")
	if _, err := s.try(Write{Verb: Delete, ID: "d", IfRev: meta.Rev}); err != nil {
		t.Error(err)
	}
	if _, err := s.try(Write{Verb: Put, ID: "d", Body: Doc{"y": int64(1)}, IfAbsent: true}); err != nil {
		t.Error(err)
	}
}

// Requests of one commit are independent; the writes of one request are not.
func TestGroupCommit(t *testing.T) {
	s := newSite(t, "a")
	s.write(put("d", `{"x":1}`))
	_, meta, _ := s.Get("d")
	a := s.author()
	draft, results, errs := s.Draft(a, [][]Write{
		{patch("d", `{"a":1}`)},
		{patch("d", `{"b":1}`), put("e", `{}`), del("missing")},      // fails: none of it
		{{Verb: Patch, ID: "d", Body: Doc{}, IfRev: meta.Rev}},       // d was just changed
		{put("f", `{"x":1}`), patch("f", `{"x":{"$inc":4}}`)},        // one after another
		{{Verb: Put, ID: "f", Body: Doc{"g": true}, IfAbsent: true}}, // sees the one before
		{put("h", `{}`), del("h")},                                   // there and gone
		{put("d", `{"x":1,"a":1}`)},                                  // changes nothing more
		{patch("d", `{"c":[1]}`), {Verb: Restore, ID: "f"}},          // fails after d was shared
	})
	var conflict *ConflictError
	if errs[0] != nil || !errors.Is(errs[1], ErrNotFound) || !errors.As(errs[2], &conflict) || errs[3] != nil ||
		!errors.Is(errs[4], ErrExists) || errs[5] != nil || errs[6] != nil || !errors.Is(errs[7], ErrExists) {
		t.Fatalf("errors %v", errs)
	}
	c := s.sealed(draft, a)
	added := s.add(c)
	if s.read("d") != `{"a":1,"x":1}` || s.read("e") != "-" || s.read("f") != `{"x":5}` || s.read("h") != "-" {
		t.Error(s.read("d"), s.read("e"), s.read("f"), s.read("h"))
	}
	for i, res := range results {
		for _, x := range res {
			if _, m, _ := s.Get(x.ID); m.Rev != x.Rev {
				t.Errorf("request %d: rev %s of %s, it is %s", i, x.Rev, x.ID, m.Rev)
			}
		}
	}
	if len(added.Changes) != 3 || added.Changes[0].ID != "d" || added.Changes[1].ID != "f" || added.Changes[2].ID != "h" || !added.Changes[2].Deleted {
		t.Errorf("changes %v", added.Changes)
	}
	// Everybody else sees the same.
	o := newSite(t, "o")
	o.pull(s)
	if o.Digest() != s.Digest() || o.read("f") != `{"x":5}` {
		t.Error("another replica differs")
	}
}

// Counters are exact inside and clamped to 64 bits when shown.
func TestCounterClamps(t *testing.T) {
	s := newSite(t, "a")
	s.write(put("d", `{"n":9223372036854775807}`))
	s.write(patch("d", `{"n":{"$inc":9223372036854775807}}`))
	s.write(patch("d", `{"n":{"$inc":9223372036854775807}}`))
	if got := s.read("d"); got != `{"n":9223372036854775807}` {
		t.Error(got)
	}
	for range 3 {
		s.write(patch("d", `{"n":{"$inc":-9223372036854775807}}`))
	}
	if got := s.read("d"); got != `{"n":0}` {
		t.Error(got)
	}
	for range 4 {
		s.write(patch("d", `{"n":{"$inc":-9223372036854775808}}`))
	}
	if got := s.read("d"); got != `{"n":-9223372036854775808}` {
		t.Error(got)
	}
	o := newSite(t, "o")
	o.pull(s)
	if o.Digest() != s.Digest() {
		t.Error("totals beyond 64 bits do not survive")
	}
	s.write(put("d", `{"n":0.5}`))
	s.write(patch("d", `{"n":{"$inc":2}}`))
	if got := s.read("d"); got != `{"n":2.5}` {
		t.Error(got)
	}
}
