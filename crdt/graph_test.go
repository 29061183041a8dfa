package crdt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
)

// Commits that arrive before their parents are parked, named as missing, and
// handed out when they can be judged.
func TestParking(t *testing.T) {
	a, b, c := newSite(t, "A"), newSite(t, "B"), newSite(t, "C")
	one := a.write(put("d", `{"x":1}`))
	b.pull(a)
	two := b.write(patch("d", `{"y":2}`))
	three := a.write(patch("d", `{"z":3}`))
	a.pull(b)
	four := a.write(patch("d", `{"w":4}`))

	add := func(x *Commit, want Status) Added {
		t.Helper()
		got := c.add(x)
		if got.Status != want {
			t.Fatalf("status %s, want %s", got.Status, want)
		}
		return got
	}
	add(four, Parked)
	add(four, Parked)
	if want := []block.ID{two.ID, three.ID}; !slices.Equal(c.Missing(), sorted(want)) {
		t.Fatalf("missing %v", c.Missing())
	}
	add(two, Parked)
	if want := []block.ID{one.ID, three.ID}; !slices.Equal(c.Missing(), sorted(want)) {
		t.Fatalf("missing %v", c.Missing())
	}
	if got := add(one, Applied); !slices.Equal(got.Unparked, []block.ID{two.ID}) {
		t.Fatalf("unparked %v", got.Unparked)
	}
	if p, ok := c.Parked(two.ID); !ok || p.ID != two.ID || c.Has(two.ID) {
		t.Fatal("a released commit is not at hand")
	}
	if got := add(two, Applied); len(got.Unparked) != 0 {
		t.Fatalf("unparked %v", got.Unparked)
	}
	if got := add(three, Applied); !slices.Equal(got.Unparked, []block.ID{four.ID}) {
		t.Fatalf("unparked %v", got.Unparked)
	}
	add(four, Applied)
	add(four, Known)
	if len(c.Missing()) != 0 || len(c.parked.commits) != 0 || c.parked.size != 0 || len(c.parked.waiting) != 0 {
		t.Fatalf("something is still parked: %+v", c.parked)
	}
	if c.read("d") != `{"w":4,"x":1,"y":2,"z":3}` || c.Digest() != a.Digest() {
		t.Error(c.read("d"))
	}
}

func sorted(ids []block.ID) []block.ID { slices.SortFunc(ids, compareIDs); return ids }

// What waits for parents is bounded, whatever a peer sends.
func TestParkingBounds(t *testing.T) {
	r := NewReplica(testDB, testKeys())
	var err error
	n := 0
	for ; n < 2*MaxParked && err == nil; n++ {
		id := block.ID(sha256.Sum256(fmt.Append(nil, n)))
		x := body{seq: 2, time: 1, team: []block.ID{{1}}, hasDigest: true, digest: [32]byte{1}}
		x.ops = (&op{id: "d", life: 1}).append(appendHead(nil, majorArray, 1))
		c, perr := ParseCommit(&block.Block{ID: id, Header: block.Header{
			Kind: block.KindCommit, DB: testDB, Links: []block.ID{{byte(n), byte(n >> 8), 1}}, Parents: 1,
		}}, x.encode())
		if perr != nil {
			t.Fatal(perr)
		}
		_, err = r.Add(c, Valid)
	}
	if !errors.Is(err, ErrParked) || n != MaxParked+1 {
		t.Fatalf("%d parked, %v", n, err)
	}
	for id := range maps.Clone(r.parked.commits) {
		r.Unpark(id)
	}
	if len(r.Missing()) != 0 || r.parked.size != 0 {
		t.Error("giving up leaves something behind")
	}
}

// Since and Covers tell by frontiers what each side lacks, at a cost that follows
// the difference.
func TestFrontiers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	sites := []*site{newSite(t, "A"), newSite(t, "B"), newSite(t, "C")}
	for i := range 200 {
		s, o := sites[rng.IntN(3)], sites[rng.IntN(3)]
		if rng.IntN(4) == 0 {
			lacking := o.Since(s.Frontier())
			want := 0
			for c := range o.Commits() {
				if !s.Has(c.ID) {
					want++
				}
			}
			if len(lacking) != want {
				t.Fatalf("%d named, %d lacking", len(lacking), want)
			}
			if s.Covers(o.Frontier()) != (want == 0) {
				t.Fatalf("covers: %v with %d lacking", s.Covers(o.Frontier()), want)
			}
			s.pull(o)
			f, err := ParseFrontier(s.Frontier().Encode())
			if err != nil || !slices.Equal(f, s.Frontier()) {
				t.Fatalf("%v %v", f, err)
			}
		}
		s.write(put(fmt.Sprint("d", rng.IntN(9)), fmt.Sprintf(`{"x":%d}`, i)))
	}
	for c := range sites[0].Commits() {
		past := map[block.ID]bool{}
		sites[0].collect(c.ID, past)
		for other := range sites[0].Commits() {
			if got := sites[0].Inside([]block.ID{c.ID}, other.ID); got != past[other.ID] {
				t.Fatalf("inside: %v", got)
			}
		}
	}
	if sites[0].Inside([]block.ID{{1}}, sites[0].Heads()[0]) || !sites[0].Inside([]block.ID{{1}}, block.ID{1}) {
		t.Error("unknown heads")
	}
}

// A disk that was rolled back writes its seqs a second time. Frontiers alone bring
// the two lines together, however long each became and whoever asks first.
func TestFrontiersFindTheTwinsOfAFork(t *testing.T) {
	for _, n := range [][2]int{{1, 1}, {4, 2}, {2, 4}, {3, 3}} {
		a, b := newSite(t, "A"), newSite(t, "A")
		for i := range 3 {
			a.write(put(fmt.Sprint("both", i), `{}`))
		}
		b.pull(a)
		for i := range n[0] {
			a.write(put(fmt.Sprint("a", i), `{}`))
		}
		for i := range n[1] {
			b.write(put(fmt.Sprint("b", i), `{}`))
		}
		ask := func(s, o *site) {
			for _, id := range o.Since(s.Frontier()) {
				c, _ := o.Commit(id)
				if !s.Has(id) && len(s.unknown(c.Parents)) == 0 {
					s.add(c)
				}
			}
		}
		for range 2 {
			ask(a, b)
			ask(b, a)
		}
		if !slices.Equal(a.Heads(), b.Heads()) || a.Len() != 3+n[0]+n[1] || a.Digest() != b.Digest() {
			t.Errorf("lines of %v: %d and %d commits, heads %d and %d", n, a.Len(), b.Len(), len(a.Heads()), len(b.Heads()))
		}
	}
}

func (s *site) collect(id block.ID, into map[block.ID]bool) {
	if into[id] {
		return
	}
	into[id] = true
	c, _ := s.Commit(id)
	for _, p := range c.Parents {
		s.collect(p, into)
	}
}

// More than 64 heads are merged, the lowest first, before anything is written.
func TestManyHeads(t *testing.T) {
	hub := newSite(t, "hub")
	for i := range 200 {
		s := newSite(t, fmt.Sprint(i))
		s.write(put(fmt.Sprint("d", i), `{}`))
		hub.pull(s)
	}
	hub.actor = actorNamed("7") // its own last commit must be in the past of the next
	if _, err := hub.try(put("x", `{}`)); !errors.Is(err, ErrHeads) {
		t.Fatalf("write over %d heads: %v", len(hub.Heads()), err)
	}
	merges := 0
	for {
		a := hub.author()
		d, err := hub.Merge(a)
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			break
		}
		hub.time = d.Time
		hub.add(hub.sealed(d, a))
		merges++
	}
	hub.write(put("x", `{}`))
	if len(hub.Heads()) != 1 || merges != 3 {
		t.Errorf("%d heads after %d merges", len(hub.Heads()), merges)
	}
	o := newSite(t, "o")
	o.pull(hub)
	if o.Digest() != hub.Digest() || o.Count() != 201 {
		t.Error("another replica differs")
	}
}

// A commit that claims another state than it leads to raises an alarm that names
// its author; the state is kept.
func TestDigestAlarm(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	a.write(put("d", `{"x":1}`))
	b.pull(a)
	au := a.author()
	d, _, _ := a.Draft(au, [][]Write{{patch("d", `{"x":2}`)}})
	x, err := decodeBody(d.Plain)
	if err != nil {
		t.Fatal(err)
	}
	x.digest[0] ^= 1
	d.Plain = x.encode()
	c := a.sealed(d, au)
	added, err := b.Add(c, Valid)
	var alarm *DigestError
	if !errors.As(err, &alarm) || alarm.Author != a.actor.Device || alarm.Commit != c.ID || alarm.Have != b.Digest() {
		t.Fatalf("%v", err)
	}
	if added.Status != Applied || b.read("d") != `{"x":2}` {
		t.Errorf("%v, shows %s", added.Status, b.read("d"))
	}
	// With other heads than the author had, nothing can be compared.
	o := newSite(t, "O")
	o.pull(a)
	o.write(put("e", `{}`))
	if _, err := o.Add(c, Valid); err != nil {
		t.Errorf("compared what cannot be: %v", err)
	}
}

// What lies about its own place is refused, with all that is built on it.
func TestMalformedPlace(t *testing.T) {
	a := newSite(t, "A")
	one := a.write(put("d", `{"x":1}`))
	b := newSite(t, "B")
	b.pull(a)
	other := b.write(put("e", `{}`))
	a.pull(b)
	au := a.author()
	good, _, _ := a.Draft(au, [][]Write{{put("d", `{"x":2}`)}})
	for what, change := range map[string]func(x *body, d *Draft){
		"seq skipped":          func(x *body, _ *Draft) { x.seq = 4; x.prev = one.ID },
		"seq reused as first":  func(x *body, _ *Draft) { x.seq = 1 },
		"prev of another":      func(x *body, d *Draft) { x.prev = other.ID },
		"prev absent":          func(x *body, _ *Draft) { x.prev = block.ID{} },
		"prev unknown":         func(x *body, _ *Draft) { x.prev = block.ID{9} },
		"time goes back":       func(x *body, _ *Draft) { x.time = one.Time },
		"parent of other seq":  func(x *body, _ *Draft) { x.parents[0].seq = 2 },
		"parent of the author": func(x *body, _ *Draft) { x.parents[0] = parent{0, 1} },
		"parents missing":      func(x *body, _ *Draft) { x.parents = nil },
		"one parent too much":  func(x *body, _ *Draft) { x.parents = append(x.parents, x.parents[0]) },
		"no team heads":        func(x *body, _ *Draft) { x.team = nil },
		"no digest":            func(x *body, _ *Draft) { x.hasDigest = false },
		"actor not used":       func(x *body, _ *Draft) { x.actors = append(x.actors, block.Actor{Device: block.Device{0xff}}) },
		"author in its table":  func(x *body, _ *Draft) { x.actors = append([]block.Actor{a.actor}, x.actors...) },
		"linked and inline":    func(x *body, _ *Draft) { x.opBlocks = 1 },
		"link not used":        func(_ *body, d *Draft) { d.Links = append(d.Links, Linked{Kind: block.KindValue, ID: block.ID{1}}) },
		"no operations":        func(x *body, _ *Draft) { x.ops = []byte{0x80} },
		"rest after the end":   func(x *body, _ *Draft) { x.ops = append(slices.Clone(x.ops), 0) },
		"two on one document":  func(x *body, _ *Draft) { x.ops = append([]byte{0x82}, slices.Concat(x.ops[1:], x.ops[1:])...) },
	} {
		x, err := decodeBody(good.Plain)
		if err != nil {
			t.Fatal(err)
		}
		d := *good
		change(x, &d)
		d.Plain = x.encode()
		err = a.refused(&d, au)
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if a.Len() != 2 {
		t.Errorf("%d commits in the graph", a.Len())
	}
	a.add(a.sealed(good, au))
}

// refused parses and adds what must not be taken.
func (s *site) refused(d *Draft, a Author) error {
	links := slices.Clone(d.Parents)
	for _, l := range d.Links {
		links = append(links, l.ID)
	}
	c, err := ParseCommit(&block.Block{ID: block.Sum(d.Plain), Header: block.Header{
		Kind: block.KindCommit, DB: testDB, Author: a.Actor.Device, Seat: a.Seat, Links: links, Parents: len(d.Parents),
	}}, d.Plain)
	if err != nil {
		return err
	}
	_, err = s.Add(c, Valid)
	return err
}

// Links are numbered in the order they are used, values before files, and each is
// used: there is one way to write a commit.
func TestLinkNumbers(t *testing.T) {
	v := func(n byte) cell { return ref{hash: [32]byte{n}, size: MaxInline + 1, link: noLink}.append(nil) }
	f := func(n byte) cell {
		return ref{hash: [32]byte{n}, size: 1, file: true, modified: 1, link: noLink}.append(nil)
	}
	for _, x := range []struct {
		links  [4]int // of a, b, _files/f, _files/g
		values int
		ok     bool
	}{
		{[4]int{0, 1, 2, 3}, 2, true}, {[4]int{0, 0, 1, 1}, 1, true},
		{[4]int{1, 0, 2, 3}, 2, false}, {[4]int{0, 1, 3, 2}, 2, false}, {[4]int{0, 2, 1, 3}, 2, false},
		{[4]int{0, 1, 2, 4}, 2, false}, {[4]int{0, 0, 2, 3}, 2, false}, {[4]int{0, 1, 1, 1}, 2, false},
	} {
		o := op{id: "d", life: 1, rows: []row{{-1, 1, keyFiles}, {0, 2, "f"}, {0, 2, "g"}, {-1, 1, "a"}, {-1, 1, "b"}}}
		o.sets = []opSet{{path: 1, val: f(3), link: x.links[2]}, {path: 2, val: f(4), link: x.links[3]}, {path: 3, val: v(1), link: x.links[0]}, {path: 4, val: v(2), link: x.links[1]}}
		b := body{seq: 1, time: 1, team: []block.ID{{1}}, hasDigest: true, digest: [32]byte{1}, values: x.values}
		b.ops = o.append(appendHead(nil, majorArray, 1))
		links := make([]block.ID, max(x.links[0], x.links[1], x.links[2], x.links[3])+1)
		for i := range links {
			links[i] = block.ID{byte(i + 1)}
		}
		_, err := ParseCommit(&block.Block{Header: block.Header{Kind: block.KindCommit, DB: testDB, Links: links}}, b.encode())
		if (err == nil) != x.ok {
			t.Errorf("%v: %v", x.links, err)
		}
	}
}

// A batch too large for one commit travels in operation blocks; it is applied
// whole, or not at all.
func TestLargeBatch(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	var writes []Write
	for i := range 3000 {
		w := Write{Verb: Put, ID: fmt.Sprintf("d%05d", i), Body: Doc{"text": strings.Repeat("t", 250), "i": int64(i)}}
		if i%1000 == 0 {
			w.Body["big"] = strings.Repeat("b", MaxInline+i)
		}
		if i == 500 {
			w.Files = map[string]*File{"f": {Root: block.ID{5}, Hash: [32]byte{6}, Size: 7, Type: "x/y", Modified: 8}}
		}
		writes = append(writes, w)
	}
	au := a.author()
	d, _, errs := a.Draft(au, [][]Write{writes})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	kinds := map[block.Kind]int{}
	for _, l := range d.Links {
		if kinds[l.Kind]++; len(l.Plain) > maxPlain {
			t.Errorf("block of %d bytes", len(l.Plain))
		}
	}
	if kinds[block.KindOps] != 2 || kinds[block.KindValue] != 3 || kinds[block.KindManifest] != 1 || len(d.Plain) > 400 {
		t.Errorf("links %v, commit of %d bytes", kinds, len(d.Plain))
	}
	c := a.sealed(d, au)
	if n := len(c.Linked()); n != 5 {
		t.Errorf("%d blocks needed", n)
	}
	a.add(c)
	b.add(c)
	if a.Digest() != b.Digest() || b.Count() != 3000 || b.read("d00500") != a.read("d00500") {
		t.Error("another replica differs")
	}
	got, _, err := b.Get("d02000")
	if err != nil || len(got["big"].(string)) != MaxInline+2000 {
		t.Error(err)
	}
	// Without one of its blocks it waits outside.
	half, content := *c, *c.content
	half.content = &content
	half.blocks = [][]byte{c.blocks[0], nil}
	if _, err := newSite(t, "C").Add(&half, Valid); err == nil {
		t.Error("half a batch was taken")
	}
	// A value that is not what the operation names is refused.
	swapped, again := *c, *c.content
	swapped.content = &again
	swapped.cells = [][]byte{c.cells[1], c.cells[0], c.cells[2]}
	if _, err := newSite(t, "C").Add(&swapped, Valid); !errors.Is(err, ErrMalformed) {
		t.Errorf("swapped values: %v", err)
	}
}

// A replica that opens again from its commits, in the order they arrived, has the
// same cursors.
func TestFeed(t *testing.T) {
	s := newSite(t, "A")
	s.write(put("a", `{}`), put("b", `{}`))
	mark := s.Now()
	s.write(put("c", `{}`))
	s.write(del("a"))
	o := newSite(t, "B")
	o.write(patch("b", `{"x":1}`))
	s.pull(o)
	rows := func(r *Replica, since Cursor) (out []string) {
		for c, err := range r.Changes(since) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s:%v", c.ID, c.Deleted))
		}
		return out
	}
	if got := rows(s.Replica, Cursor{}); !slices.Equal(got, []string{"c:false", "a:true", "b:false"}) {
		t.Error(got)
	}
	if got := rows(s.Replica, mark); !slices.Equal(got, []string{"c:false", "a:true", "b:false"}) {
		t.Error(got)
	}
	again := newSite(t, "A")
	for c := range s.Commits() {
		again.add(c)
	}
	text := s.Now().String()
	cur, err := ParseCursor(text)
	if err != nil || again.Now() != cur || len(rows(again.Replica, cur)) != 0 {
		t.Errorf("cursor %s, now %s, %v", text, again.Now(), err)
	}
	for _, err := range newSite(t, "C").Changes(cur) {
		if !errors.Is(err, ErrCursor) {
			t.Errorf("a cursor from elsewhere: %v", err)
		}
	}
	for _, text := range []string{"x", "c", "c-1", "c01", "c!", "cZZ", "czzzzzzzzzzzzzzzzzzzzz"} {
		if _, err := ParseCursor(text); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v", text, err)
		}
	}
	// A thousand changes of few documents are few rows, and stay in order.
	for i := range 1000 {
		s.write(put(fmt.Sprint("k", i%3), fmt.Sprintf(`{"i":%d}`, i)))
	}
	if got := rows(s.Replica, Cursor{}); len(got) != 6 || len(s.feed.rows) > 128 {
		t.Errorf("%v, %d rows kept", got, len(s.feed.rows))
	}
}

func TestOrderedIDs(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var o orderedIDs
	have := map[string]bool{}
	for range 20_000 {
		id := fmt.Sprint(rng.IntN(4000))
		if rng.IntN(3) == 0 {
			o.remove(id)
			delete(have, id)
		} else {
			o.insert(id)
			have[id] = true
		}
	}
	want := slices.Sorted(maps.Keys(have))
	walk := func(from, to string, desc bool) (out []string) {
		o.walk(from, to, desc, func(id string) bool { out = append(out, id); return true })
		return out
	}
	if !slices.Equal(walk("", "", false), want) {
		t.Fatal("order")
	}
	for range 200 {
		from, to := fmt.Sprint(rng.IntN(4000)), fmt.Sprint(rng.IntN(4000))
		var part []string
		for _, id := range want {
			if id >= from && id < to {
				part = append(part, id)
			}
		}
		if !slices.Equal(walk(from, to, false), part) {
			t.Fatalf("%s…%s", from, to)
		}
		slices.Reverse(part)
		if got := walk(from, to, true); !slices.Equal(got, part) {
			t.Fatalf("%s…%s backwards: %v, want %v", from, to, got, part)
		}
	}
}
