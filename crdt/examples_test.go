package crdt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// write at a given time of the author's clock.
func (s *site) at(time wire.Time, writes ...Write) *Commit {
	s.t.Helper()
	s.time = max(s.time, time-1)
	return s.write(writes...)
}

// TestWorkedExamples is the table of the executable model: two replicas start from
// the same commits, write without seeing each other, and meet.
func TestWorkedExamples(t *testing.T) {
	const whole = `{"a":{"b":1},"n":5,"x":0}`
	base := []Write{put("d", whole)}
	empty := []Write{put("d", `{}`)}
	one := func(w ...Write) []Write { return w }
	and := func(a []Write, b ...Write) []Write { return slices.Concat(a, b) }
	for _, x := range []struct {
		name      string
		pre       []Write
		a, b      []Write // at 10, at 20
		doc       string  // "-": not there
		conflicts string
	}{
		{"edit beats delete, whole", base, one(del("d")), one(patch("d", `{"x":9}`)), `{"a":{"b":1},"n":5,"x":9}`, ``},
		{"increment beats delete", base, one(del("d")), one(patch("d", `{"n":{"$inc":1}}`)), `{"a":{"b":1},"n":6,"x":0}`, ``},
		{"purge || edit: what the edit wrote", base, one(purge("d")), one(patch("d", `{"x":9}`)), `{"x":9}`, ``},
		{"purge || increment: that increment", base, one(purge("d")), one(patch("d", `{"n":{"$inc":1}}`)), `{"n":1}`, ``},
		{"restore || purge: whole", and(base, del("d")), one(restore("d")), one(purge("d")), whole, ``},
		{"restore || unseen edit: edit shows", base, one(patch("d", `{"x":9}`)), one(del("d"), restore("d")), `{"a":{"b":1},"n":5,"x":9}`, `/x=0`},
		{"put after delete has no ghosts", base, one(del("d"), put("d", `{"y":1}`)), one(patch("d", `{"a":{"b":1}}`)), `{"y":1}`, ``},
		{"recreate || unseen edit", base, one(del("d"), put("d", `{"y":1}`)), one(patch("d", `{"x":9}`)), `{"x":9,"y":1}`, ``},
		{"scalar || key below", base, one(patch("d", `{"a":5}`)), one(patch("d", `{"a":{"c":2}}`)), `{"a":{"c":2},"n":5,"x":0}`, `/a=5`},
		{"scalar || key below, scalar later", base, one(patch("d", `{"a":{"c":2}}`)), one(patch("d", `{"a":5}`)), `{"a":5,"n":5,"x":0}`, `/a={"c":2}`},
		{"both empty one object", one(put("d", `{"a":{"b":1,"c":2}}`)), one(patch("d", `{"a":{"b":null}}`)), one(patch("d", `{"a":{"c":null}}`)), `{"a":{}}`, ``},
		{"{} || key", empty, one(put("d", `{"a":{}}`)), one(put("d", `{"a":{"b":1}}`)), `{"a":{"b":1}}`, ``},
		{"remove object || edit inside", one(put("d", `{"a":{"b":1,"c":2}}`)), one(patch("d", `{"a":null}`)), one(patch("d", `{"a":{"b":3}}`)), `{"a":{"b":3}}`, ``},
		{"array || object", empty, one(put("d", `{"a":[1]}`)), one(put("d", `{"a":{"b":1}}`)), `{"a":{"b":1}}`, `/a=[1]`},
		{"equal values are no conflict", empty, one(put("d", `{"a":1}`)), one(put("d", `{"a":1}`)), `{"a":1}`, ``},
		{"1 and 1.0 differ", empty, one(put("d", `{"a":1}`)), one(put("d", `{"a":1.0}`)), `{"a":1.0}`, `/a=1`},
		{"assign || increment add up", base, one(patch("d", `{"n":10}`)), one(patch("d", `{"n":{"$inc":1}}`)), `{"a":{"b":1},"n":11,"x":0}`, ``},
		{"string || increment: string, sum listed", base, one(patch("d", `{"n":"s"}`)), one(patch("d", `{"n":{"$inc":1}}`)), `{"a":{"b":1},"n":"s","x":0}`, `/n=1`},
		{"remove || increment", and(base, patch("d", `{"n":{"$inc":50}}`)), one(patch("d", `{"n":null}`)), one(patch("d", `{"n":{"$inc":1}}`)), `{"a":{"b":1},"n":1,"x":0}`, ``},
		{"inc to zero is 0, not absent", empty, one(patch("d", `{"k":{"$inc":1}}`)), one(patch("d", `{"k":{"$inc":-1}}`)), `{"k":0}`, ``},
		{"delete || no-op put", base, one(del("d")), one(put("d", whole)), `-`, ``},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := newSite(t, "A"), newSite(t, "B")
			for _, w := range x.pre {
				a.write(w)
			}
			b.pull(a)
			for _, w := range x.a {
				a.at(10, w)
			}
			for _, w := range x.b {
				b.at(20, w)
			}
			a.pull(b)
			b.pull(a)
			if a.Digest() != b.Digest() {
				t.Fatal("digests differ")
			}
			if got := a.read("d"); got != x.doc {
				t.Errorf("shows %s, want %s", got, x.doc)
			}
			if got := a.losers("d"); got != x.conflicts {
				t.Errorf("conflicts %s, want %s", got, x.conflicts)
			}
		})
	}
}

// losers returns the values in conflict as /path=value.
func (s *site) losers(id string) string {
	conflicts, _ := s.Conflicts(id)
	var out []string
	for _, c := range conflicts {
		for _, o := range c.Others {
			out = append(out, fmt.Sprintf("%s=%s", pointer(c.Path), appendJSON(nil, o.Value)))
		}
	}
	return strings.Join(out, " ")
}

// A cut commit must not undo what was done on top of it: C deletes what A, cut
// later, had edited; it stays deleted.
func TestCutKeepsWorkOnTop(t *testing.T) {
	a, b, c, k := newSite(t, "A"), newSite(t, "B"), newSite(t, "C"), newSite(t, "K")
	b.at(90, put("d", `{"x":1}`))
	a.pull(b)
	cut := a.at(91, put("d", `{"x":2}`))
	c.pull(a)
	c.at(92, put("d", `{"x":3}`))
	k.pull(c)
	k.write(del("d"))

	judge := func(x *Commit) Validity {
		if x.ID == cut.ID {
			return Void("A was removed")
		}
		return Valid
	}
	changes := c.judge(judge)
	if got := c.read("d") + c.losers("d"); got != `{"x":3}` {
		t.Errorf("after the cut C shows %s", got)
	}
	if len(changes) != 0 {
		t.Errorf("nothing C shows has changed, but it tells of %v", changes)
	}
	k.judge(judge)
	if got := k.read("d"); got != "-" {
		t.Errorf("the deleted document is back: %s", got)
	}
	if v := k.Voids(); len(v) != 1 || v[cut.ID] != "A was removed" {
		t.Errorf("void commits: %v", v)
	}
	// Joining states that differ in what counts would lose data: refused.
	if _, err := Join(stateOf(k), stateOf(a), testKeys()); !errors.Is(err, ErrJoin) {
		t.Errorf("join across void sets: %v", err)
	}
	// When the cut falls, everything is as before.
	c.Rejudge(func(*Commit) Validity { return Valid })
	if got := c.read("d") + c.losers("d"); got != `{"x":3}` || len(c.Voids()) != 0 || c.VoidHash() != [32]byte{} {
		t.Errorf("after the cut fell: %s", got)
	}
}

// A dot of a void commit stands for what that commit had dropped at the place or
// below it: who replaced a cut scalar also replaces the object it had replaced.
func TestCutStandsForWhatLayBelow(t *testing.T) {
	a, c := newSite(t, "A"), newSite(t, "C")
	c.write(put("d", `{"o":{"k":{"l":1}},"p":0}`))
	a.pull(c)
	cut := a.write(patch("d", `{"o":5}`))
	c.pull(a)
	c.write(patch("d", `{"o":7}`))
	c.Rejudge(func(x *Commit) Validity {
		if x.ID == cut.ID {
			return Void("removed")
		}
		return Valid
	})
	if got := c.read("d") + c.losers("d"); got != `{"o":7,"p":0}` {
		t.Errorf("shows %s", got)
	}
}

// The lowest ID of two twins stands; the other's effect and what its actor wrote
// on it go, what others wrote stays.
func TestFork(t *testing.T) {
	a := newSite(t, "A")
	a.write(put("d", `{"x":0}`))
	twin := newSite(t, "A")
	twin.pull(a)
	one := a.write(patch("d", `{"one":1}`))
	two := twin.write(patch("d", `{"two":2}`))
	twoToo := twin.write(patch("d", `{"too":2}`))
	win, lose := a, twin
	if compareIDs(two.ID, one.ID) < 0 {
		win, lose = twin, a
	}
	other := newSite(t, "B")
	other.pull(lose)
	other.write(patch("d", `{"b":3}`))

	for _, s := range []*site{win, lose, other} {
		for _, o := range []*site{a, twin, other} {
			s.pull(o)
		}
	}
	f := other.Forks()
	want := []block.ID{one.ID, two.ID}
	slices.SortFunc(want, compareIDs)
	if len(f) != 1 || f[0].Seq != 2 || !slices.Equal(f[0].Commits, want) {
		t.Fatalf("forks %v", f)
	}
	doc := map[bool]string{true: `{"b":3,"one":1,"x":0}`, false: `{"b":3,"too":2,"two":2,"x":0}`}[win == a]
	for _, s := range []*site{a, twin, other} {
		if got := s.read("d"); got != doc || s.Digest() != a.Digest() {
			t.Errorf("shows %s, want %s", got, doc)
		}
	}
	if n := len(other.Voids()); n != map[bool]int{true: 2, false: 1}[win == a] {
		t.Errorf("%d void commits", n)
	}
	_ = twoToo
	// Neither store writes on under the doubled actor.
	if _, err := a.try(patch("d", `{"y":1}`)); !errors.Is(err, ErrActor) {
		t.Errorf("writing on: %v", err)
	}
	a.actor.Incarnation[0]++
	a.write(patch("d", `{"y":1}`))
	// Join refuses: a dot may mean two commits.
	if _, err := Join(stateOf(a), stateOf(other), testKeys()); !errors.Is(err, ErrJoin) {
		t.Errorf("join over a fork: %v", err)
	}
}

// Who overwrote the twin that lost drops what that twin had dropped, and not what
// the twin that stands put there under the same dot.
func TestForkNamesOneTwin(t *testing.T) {
	a := newSite(t, "A")
	a.write(put("d", `{"x":0}`))
	twin := newSite(t, "A")
	twin.pull(a)
	one := a.at(10, patch("d", `{"x":1}`))
	two := twin.at(20, patch("d", `{"x":2}`))
	win, lose, stood := a, twin, "1"
	if compareIDs(two.ID, one.ID) < 0 {
		win, lose, stood = twin, a, "2"
	}
	other := newSite(t, "B")
	other.pull(lose)
	other.at(30, patch("d", `{"x":3}`))
	for _, s := range []*site{win, other} {
		s.pull(win)
		s.pull(other)
		if got := s.read("d") + s.losers("d"); got != `{"x":3}/x=`+stood {
			t.Errorf("shows %s", got)
		}
	}
}

// A draft that was made before a verdict changed is applied to what there is then.
func TestVerdictBetweenDraftAndAdd(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	a.write(put("d", `{"x":0}`))
	b.pull(a)
	b.write(patch("d", `{"y":1}`))
	a.pull(b)
	au := a.author()
	d, _, errs := a.Draft(au, [][]Write{{patch("d", `{"z":2}`)}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	judge := func(c *Commit) Validity {
		if c.Actor == b.actor {
			return Void("removed")
		}
		return Valid
	}
	a.Rejudge(judge)
	a.add(a.sealed(d, au))
	if got := a.read("d"); got != `{"x":0,"z":2}` {
		t.Error(got)
	}
	fresh := NewReplica(testDB, testKeys())
	for c := range a.Commits() {
		if _, err := fresh.Add(c, judge(c)); err != nil {
			t.Fatal(err)
		}
	}
	if fresh.Digest() != a.Digest() {
		t.Error("digests differ")
	}
}

// While a draft waits, another commit of the same actor comes that is like it but for
// what it does: it does what it says.
func TestALikenessOfTheDraft(t *testing.T) {
	for _, in := range []Doc{doc(`{"x":1}`), doc(`{"x":2}`)} {
		a, twin, other := newSite(t, "A"), newSite(t, "A"), newSite(t, "B")
		if d, _, errs := a.Draft(a.author(), [][]Write{{{Verb: Put, ID: "d", Body: in}}}); d == nil {
			t.Fatal(errs)
		}
		c := twin.write(put("d", `{"x":2}`))
		a.add(c)
		other.add(c)
		if a.read("d") != `{"x":2}` || a.Digest() != other.Digest() {
			t.Errorf("over a draft of %s it reads %s", in.JSON(), a.read("d"))
		}
	}
}

// A commit that names what its author cannot have seen is void, and so is what
// its actor writes on it.
func TestNamesOutsideItsPast(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	a.write(put("d", `{"x":1}`))
	r := newSite(t, "B")
	d, _, errs := r.Draft(r.author(), [][]Write{{put("e", `{"x":1}`)}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	x, err := decodeBody(d.Plain)
	if err != nil {
		t.Fatal(err)
	}
	x.actors = []block.Actor{a.actor}
	bad := op{id: "d", drops: []opDrop{{actor: 1, seq: 1, slots: []int{slotAlive}}}}
	x.ops = bad.append(appendHead(nil, majorArray, 1))
	c := r.sealed(&Draft{Plain: x.encode()}, r.author())
	b.pull(a)
	for _, s := range []*site{a, b} {
		got := s.add(c)
		if got.Status != Voided || !strings.Contains(got.Why, "outside its past") {
			t.Errorf("%v", got)
		}
		if s.read("d") != `{"x":1}` {
			t.Errorf("it took effect: %s", s.read("d"))
		}
	}
	if _, err := b.try(put("f", `{}`)); !errors.Is(err, ErrActor) {
		t.Errorf("its actor writes on: %v", err)
	}
}
