package crdt

import (
	"slices"
	"strings"
	"testing"
)

// What a user may rely on when edits meet, and the worked examples do not tell,
// sentence by sentence.

// meet lets sites exchange everything and checks that they agree.
func meet(t *testing.T, sites ...*site) {
	t.Helper()
	for _, s := range sites {
		for _, o := range sites {
			s.pull(o)
		}
	}
	for _, s := range sites[1:] {
		if s.Digest() != sites[0].Digest() || s.read("d") != sites[0].read("d") || s.losers("d") != sites[0].losers("d") {
			t.Fatalf("%s %s, other replica %s %s", sites[0].read("d"), sites[0].losers("d"), s.read("d"), s.losers("d"))
		}
	}
}

func trio(t *testing.T, json string) (a, b, c *site) {
	a, b, c = newSite(t, "A"), newSite(t, "B"), newSite(t, "C")
	a.write(put("d", json))
	b.pull(a)
	c.pull(a)
	return a, b, c
}

// The greater stamp shows: time first, then actor; the others are listed, newest
// first.
func TestWinner(t *testing.T) {
	a, b, c := trio(t, `{"x":0}`)
	a.at(30, patch("d", `{"x":"a"}`))
	b.at(40, patch("d", `{"x":"b"}`))
	c.at(20, patch("d", `{"x":"c"}`))
	meet(t, a, b, c)
	if got := a.read("d") + a.losers("d"); got != `{"x":"b"}/x="a" /x="c"` {
		t.Error(got)
	}
	conflicts, _ := a.Conflicts("d")
	if o := conflicts[0].Others; o[0].Actor != a.actor || o[0].Time != 30 || conflicts[0].Winner != "b" {
		t.Error(conflicts)
	}
	if got, err := a.Conflicted(); err != nil || !slices.Equal(got, []string{"d"}) {
		t.Error(got)
	}
	_, meta, _ := a.Get("d")
	if meta.Conflicts != 1 || meta.Device != b.actor.Device || meta.Time != 40 || meta.Commit != b.Heads()[0] && !slices.Contains(a.Heads(), meta.Commit) {
		t.Errorf("%+v", meta)
	}
}

func TestSameTimeGreaterActor(t *testing.T) {
	a, b, _ := trio(t, `{"x":0}`)
	a.at(30, patch("d", `{"x":"a"}`))
	b.at(30, patch("d", `{"x":"b"}`))
	meet(t, a, b)
	want := map[bool]string{true: `{"x":"a"}/x="b"`, false: `{"x":"b"}/x="a"`}[compareActors(&a.actor, &b.actor) > 0]
	if got := a.read("d") + a.losers("d"); got != want {
		t.Error(got)
	}
}

// Time picks winners among concurrent assignments only: what has seen another one
// replaces it, however early its clock.
func TestTimeNeverDecidesValidity(t *testing.T) {
	a, b, _ := trio(t, `{"x":0}`)
	a.at(1<<52, patch("d", `{"x":"far future"}`))
	b.pull(a)
	b.at(5, patch("d", `{"x":"after it"}`))
	meet(t, a, b)
	if got := a.read("d") + a.losers("d"); got != `{"x":"after it"}` {
		t.Error(got)
	}
}

// A put settles every conflict its author has seen, one that reads the same too; a
// patch only the paths it names; neither what came later.
func TestSettle(t *testing.T) {
	a, b, c := trio(t, `{"x":0,"y":0}`)
	a.at(10, patch("d", `{"x":1,"y":1}`))
	b.at(20, patch("d", `{"x":2,"y":2}`))
	c.at(30, patch("d", `{"x":3,"z":3}`)) // seen by nobody yet
	meet(t, a, b)
	a.write(patch("d", `{"y":2}`))
	if got := a.read("d") + a.losers("d"); got != `{"x":2,"y":2}/x=1` {
		t.Error(got)
	}
	if cm := a.write(put("d", `{"x":2,"y":2}`)); cm == nil || a.losers("d") != "" {
		t.Errorf("a put that only settles: %v, %s", cm, a.losers("d"))
	}
	if cm := a.write(put("d", `{"x":2,"y":2}`)); cm != nil {
		t.Error("a put that changes and settles nothing wrote a commit")
	}
	meet(t, a, b, c)
	if got := a.read("d") + a.losers("d"); got != `{"x":3,"y":2,"z":3}/x=2` {
		t.Error(got)
	}
}

// Nothing vanishes silently: an object that loses is listed whole, one that wins
// lists what it beats, and what is in conflict inside it.
func TestObjectsCompete(t *testing.T) {
	a, b, c := trio(t, `{"o":{"k":0}}`)
	a.at(10, patch("d", `{"o":{"k":1}}`))
	b.at(20, patch("d", `{"o":{"k":2,"l":2}}`))
	c.at(15, patch("d", `{"o":"text"}`))
	meet(t, a, b, c)
	if got := a.read("d") + " " + a.losers("d"); got != `{"o":{"k":2,"l":2}} /o="text" /o/k=1` {
		t.Error(got)
	}
	c.at(99, patch("d", `{"o":[1]}`))
	a.at(50, patch("d", `{"o":{"k":3}}`))
	meet(t, a, b, c)
	if got := a.read("d") + " " + a.losers("d"); got != `{"o":[1]} /o={"k":3}` {
		t.Error(got)
	}
}

// The stamp of an object is the greatest in it, a removed one's leaves included
// that somebody edited meanwhile; an array is one value.
func TestArrayIsOneValue(t *testing.T) {
	a, b, _ := trio(t, `{"l":[1,2]}`)
	a.at(10, patch("d", `{"l":[1,2,3]}`))
	b.at(20, patch("d", `{"l":[0,1,2]}`))
	meet(t, a, b)
	if got := a.read("d") + a.losers("d"); got != `{"l":[0,1,2]}/l=[1,2,3]` {
		t.Error(got)
	}
}

// A restored field keeps its stamp, so an edit that is later than the original
// still wins over it.
func TestRestoreKeepsStamps(t *testing.T) {
	a, b, _ := trio(t, `{"x":0,"o":{}}`)
	b.at(20, patch("d", `{"x":1}`))
	a.at(90, del("d"))
	a.at(91, restore("d"))
	meet(t, a, b)
	if got := a.read("d") + a.losers("d"); got != `{"o":{},"x":1}/x=0` {
		t.Error(got)
	}
}

// Two restores that had seen different increments leave different values under one
// original stamp: the greater dot shows, the other is listed.
func TestRestoredTwice(t *testing.T) {
	a, b, c := trio(t, `{"n":5}`)
	a.write(patch("d", `{"n":{"$inc":1}}`))
	a.write(del("d"))
	b.pull(a)
	b.write(restore("d"))
	c.write(patch("d", `{"n":{"$inc":10}}`))
	a.pull(c)
	a.write(del("d"))
	a.write(restore("d"))
	meet(t, a, b)
	want := map[bool]string{true: `{"n":16}/n=6`, false: `{"n":6}/n=16`}[compareActors(&a.actor, &b.actor) > 0]
	if got := a.read("d") + a.losers("d"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// An assignment clears exactly the increments it had seen.
func TestAssignClearsSeenIncrements(t *testing.T) {
	a, b, c := trio(t, `{"n":0}`)
	a.write(patch("d", `{"n":{"$inc":1}}`))
	b.write(patch("d", `{"n":{"$inc":10}}`))
	meet(t, a, b)
	c.write(patch("d", `{"n":{"$inc":100}}`)) // not seen by a
	a.write(put("d", `{"n":1000}`))
	meet(t, a, b, c)
	if got := a.read("d"); got != `{"n":1100}` {
		t.Error(got)
	}
	b.write(patch("d", `{"n":{"$inc":5}}`))
	meet(t, a, b, c)
	if got := c.read("d"); got != `{"n":1105}` {
		t.Error(got)
	}
}

// A batch is atomic on every replica: its parts become visible together.
func TestBatchIsAtomic(t *testing.T) {
	a, b := newSite(t, "A"), newSite(t, "B")
	c := a.write(put("x", `{"n":1}`), put("y", `{"n":1}`), patch("x", `{"n":{"$inc":1}}`))
	if b.read("x") != "-" || b.read("y") != "-" {
		t.Fatal("visible before it arrived")
	}
	b.add(c)
	if b.read("x") != `{"n":2}` || b.read("y") != `{"n":1}` {
		t.Error(b.read("x"), b.read("y"))
	}
}

// The same state has the same _rev everywhere; n counts up along what was seen.
func TestRevisions(t *testing.T) {
	a, b, _ := trio(t, `{"x":0}`)
	rev := func(s *site) string {
		_, m, err := s.Get("d")
		if err != nil {
			t.Fatal(err)
		}
		return m.Rev
	}
	if !strings.HasPrefix(rev(a), "1-") || len(rev(a)) != 18 || rev(a) != rev(b) {
		t.Error(rev(a), rev(b))
	}
	a.write(patch("d", `{"x":1}`))
	a.write(patch("d", `{"x":2}`))
	b.write(patch("d", `{"y":1}`))
	meet(t, a, b)
	if !strings.HasPrefix(rev(a), "3-") || rev(a) != rev(b) {
		t.Error(rev(a), rev(b))
	}
	b.write(patch("d", `{"x":3}`))
	if !strings.HasPrefix(rev(b), "4-") {
		t.Error(rev(b))
	}
}

// A large value is one value, whatever its size, and costs an entry 40 bytes.
func TestLargeValues(t *testing.T) {
	a, b, _ := trio(t, `{"x":0}`)
	big := func(c string) string { return `{"x":"` + strings.Repeat(c, MaxInline) + `"}` }
	a.at(10, put("d", big("a")))
	b.at(20, put("d", big("b")))
	meet(t, a, b)
	if a.read("d") != big("b") || len(a.losers("d")) < MaxInline {
		t.Error("the later one does not show, or the other is not listed")
	}
	if n := len(a.entry("d")); n > 300 {
		t.Errorf("entry of %d bytes", n)
	}
	a.write(put("d", big("b")))
	if c := a.write(put("d", big("b"))); c != nil || a.losers("d") != "" {
		t.Error("equal large values are not seen as equal")
	}
	a.write(del("d"))
	a.write(restore("d"))
	b.pull(a)
	if b.read("d") != big("b") {
		t.Error("restored value is not there")
	}
}
