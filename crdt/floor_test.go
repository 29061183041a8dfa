package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

// floorOn is a floor as it is on a site's disk.
type floorOn struct {
	place  int
	ground *Checkpoint
	rest   []byte
	rows   [][]byte
}

// raise lets a site's history begin at a place; gc takes away what lies below. The
// ground is made on a replica of its own that plays on from the old one, as a ledger
// does it, and shares the nodes.
func (s *site) raise(place int, gc bool) {
	s.t.Helper()
	r := s.disk.replica(s.t)
	if f := s.disk.floor; f != nil {
		if err := r.Restore(s.t.Context(), f.saved()); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, h := range s.order[r.Len():place] {
		c, err := s.Load(h.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		v := Valid
		if h.void != "" {
			v = Void(h.void)
		}
		if _, err := r.Add(c, v); errors.Is(err, ErrHistory) {
			return // a fork reaches below the floor that is
		} else if err != nil {
			s.t.Fatal(err)
		}
	}
	f, err := r.Freeze()
	if err == nil {
		err = f.Run(s.t.Context())
	}
	if err == nil {
		if err = s.SetFloor(s.t.Context(), place, f.Checkpoint); errors.Is(err, ErrHistory) {
			return // not there, because of a fork
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.disk.floor = &floorOn{place, f.Checkpoint, f.Rest, s.Graph(0, place)}
	if gc {
		s.clearOut()
	}
}

func (f *floorOn) saved() Saved {
	return Saved{Checkpoint: f.ground, Graph: chunks(f.rows), Rest: f.rest, Floor: f.place, Ground: f.ground, Fresh: true}
}

// clearOut takes away the commits below the floor; void ones stay.
func (s *site) clearOut() {
	for _, h := range s.order[:s.floor.place] {
		if h.void == "" {
			delete(s.disk.commits, h.ID)
		}
	}
}

// fromGround forgets all but the floor, and what came after it.
func (s *site) fromGround() {
	s.t.Helper()
	d := s.disk
	d.graph, d.chunks, d.saved, d.upTo, d.flushing = nil, nil, nil, nil, nil
	clear(d.last)
	s.Replica = d.replica(s.t)
	if err := s.Restore(s.t.Context(), d.floor.saved()); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range d.arrived[d.floor.place:] {
		if _, err := s.Add(a.c, a.v); err != nil {
			s.t.Fatal(err)
		}
	}
}

// side is a site of its own disk that is handed commits.
func side(t testing.TB, name string) *site { return newCellar().site(t, name) }

func (s *site) hand(c *Commit, v Validity) {
	s.disk.commits[c.ID] = c
	s.addAs(c, v)
}

// compacted lets a site take commits in, and now and then be compacted, flushed or
// restarted.
func (s *site) compacted(t *rapid.T, commits []*Commit, judge func(*Commit) Validity) {
	for _, c := range commits {
		if !s.Has(c.ID) {
			s.hand(c, judge(c))
		}
		switch rapid.IntRange(0, 7).Draw(t, "after a commit") {
		case 0:
			s.raise(rapid.IntRange(max(s.Floor(), 1), s.Len()).Draw(t, "floor"), rapid.Bool().Draw(t, "gc"))
		case 1:
			s.thaw(true)
			s.flush()
		case 2:
			s.reload(false)
		case 3:
			if s.disk.floor != nil {
				s.fromGround()
			}
		case 4:
			s.clearOut()
		}
	}
}

func sameReplicas(t *rapid.T, what string, a, b *Replica) {
	t.Helper()
	sameState(t, what, stateOf(a), stateOf(b))
	if !slices.Equal(a.Heads(), b.Heads()) || a.VoidHash() != b.VoidHash() || !slices.Equal(a.Frontier(), b.Frontier()) {
		t.Fatalf("%s: heads, frontiers or voids differ", what)
	}
}

// TestFloorLaws: gc(a) ⊔ gc(b) = gc(a ⊔ b). Two replicas hold a part of a history
// each, in orders of their own, are compacted at any places and restarted at any
// moment; when they have met they show what a replica shows that kept everything. A
// removal that comes late changes all three alike: where it reaches below a floor
// nothing changes before the commits there are back.
func TestFloorLaws(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 12)
		actor := rapid.SampledFrom(h.sites).Draw(rt, "removed").actor
		from := uint64(rapid.IntRange(1, 4).Draw(rt, "from"))
		judge := func(c *Commit) Validity {
			if c.Actor == actor && c.Seq >= from {
				return Void("removed")
			}
			return Valid
		}
		first := judge
		if late := rapid.Bool().Draw(rt, "late"); late {
			first = func(*Commit) Validity { return Valid }
		}
		sides := []*site{side(t, "x"), side(t, "y")}
		for i, s := range sides {
			part := h.upTo(rapid.SampledFrom(h.states).Draw(rt, fmt.Sprint("part ", i)).Context)
			s.compacted(rt, part, first)
		}
		for i, s := range sides {
			s.compacted(rt, h.order(fmt.Sprint("meeting ", i)), first)
		}
		whole := NewReplica(testDB, testKeys())
		for _, c := range h.commits {
			if _, err := whole.Add(c, first(c)); err != nil {
				rt.Fatal(err)
			}
		}
		for _, s := range sides {
			checkKept(rt, s.Replica)
			sameReplicas(rt, "met", whole, s.Replica)
		}
		// The verdict, late or again; then the cut falls.
		for _, verdict := range []func(*Commit) Validity{judge, func(*Commit) Validity { return Valid }} {
			if _, err := whole.Rejudge(verdict); err != nil {
				rt.Fatal(err)
			}
			for _, s := range sides {
				s.rejudged(rt, h, verdict)
				checkKept(rt, s.Replica)
				sameReplicas(rt, "judged", whole, s.Replica)
				s.compacted(rt, h.commits[:min(len(h.commits), 3)], verdict)
				sameReplicas(rt, "and compacted", whole, s.Replica)
			}
		}
	})
}

// rejudged judges again; what a floor hides is healed first where that is needed.
func (s *site) rejudged(t *rapid.T, h *history, verdict func(*Commit) Validity) {
	before, digest, voids, floor := stateOf(s.Replica), s.Digest(), s.VoidHash(), s.Floor()
	changes, err := s.Rejudge(verdict)
	if history, ok := errors.AsType[*HistoryError](err); ok {
		sameState(t, "not judged yet", before, stateOf(s.Replica))
		if s.Digest() != digest || s.VoidHash() != voids || len(changes) > 0 || s.Floor() != floor {
			t.Fatalf("something changed although commits are lacking")
		}
		for _, id := range history.Commits {
			if !s.Below(id) {
				t.Fatalf("%s does not lie below the floor", id)
			}
		}
		for _, c := range h.commits {
			s.disk.commits[c.ID] = c
		}
		_, err = s.Rejudge(verdict)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f := s.disk.floor; f != nil && s.Floor() == 0 {
		s.disk.floor, s.disk.graph = nil, slices.Concat(f.rows, s.disk.graph)
	}
	for i := range s.disk.arrived { // how it is told again after a restart
		s.disk.arrived[i].v = verdict(s.disk.arrived[i].c)
	}
	s.thaw(true)
	s.flush()
}

// A twin of a commit below the floor may win against it: it is refused, with nothing
// changed, until the commits below are back.
func TestATwinBelowTheFloor(t *testing.T) {
	a := newCellar().site(t, "A")
	a.write(put("d", `{"x":0}`))
	twin := newCellar().site(t, "A")
	twin.hand(a.commit(a.Heads()[0]), Valid)
	one := a.write(patch("d", `{"one":1}`))
	two := twin.write(patch("d", `{"two":2}`))
	swapped := compareIDs(two.ID, one.ID) > 0
	if swapped { // the later one is to win
		a, two = twin, one
	}
	a.write(patch("d", `{"after":1}`))
	all := maps.Clone(a.disk.commits)
	a.raise(a.Len(), true)
	a.write(patch("e", `{"e":1}`))
	entries, digest, heads, forks := entriesOf(a.Replica), a.Digest(), a.Heads(), len(a.Forks())
	_, err := a.Add(two, Valid)
	history, ok := errors.AsType[*HistoryError](err)
	if !ok || len(history.Commits) != 3 || !errors.Is(err, ErrHistory) {
		t.Fatalf("the twin: %v", err)
	}
	if !maps.EqualFunc(entries, entriesOf(a.Replica), bytes.Equal) || a.Digest() != digest || !slices.Equal(a.Heads(), heads) || len(a.Forks()) != forks || a.Has(two.ID) || len(a.Voids()) > 0 {
		t.Fatal("the refused twin left something")
	}
	a.write(patch("e", `{"e":2}`))
	maps.Copy(a.disk.commits, all)
	if _, err := a.Add(two, Valid); err != nil {
		t.Fatal(err)
	}
	want := `{"two":2,"x":0}`
	if swapped {
		want = `{"one":1,"x":0}`
	}
	if got := a.read("d"); got != want {
		t.Errorf("shows %s, want %s", got, want)
	}
	if a.Floor() != 0 || len(a.Voids()) == 0 {
		t.Errorf("floor %d, %d void", a.Floor(), len(a.Voids()))
	}
}

// Below the floor only rows are known: who asks for more is told.
func TestBelowTheFloor(t *testing.T) {
	a := newCellar().site(t, "A")
	var ids []block.ID
	for i := range 5 {
		ids = append(ids, a.write(put("d", fmt.Sprintf(`{"x":%d}`, i))).ID)
	}
	a.raise(3, true)
	for i, id := range ids {
		c, err := a.Load(id)
		if below := i < 3; a.Below(id) != below || errors.Is(err, ErrHistory) != below || (c == nil) != below {
			t.Errorf("commit %d: below %v, %v", i, a.Below(id), err)
		}
		if c, ok := a.Commit(id); !ok || c.Seq != uint64(i+1) {
			t.Errorf("row %d is not known", i)
		}
		past, _ := a.Past([]block.ID{id})
		if a.OverFloor(past) != (i >= 2) {
			t.Errorf("state of commit %d can be told: %v", i, a.OverFloor(past))
		}
	}
	if got := a.FloorHeads(); !slices.Equal(got, ids[2:3]) {
		t.Errorf("floor heads %v", got)
	}
	// Another judgement of what lies below makes the ground another state.
	other := a.disk.floor.saved()
	wrong := *other.Checkpoint
	wrong.Voids = ids[:1]
	other.Ground = &wrong
	if err := a.disk.replica(t).Restore(t.Context(), other); err == nil {
		t.Error("a ground of other void commits was taken")
	}
}

// The life of a document over a floor: as it stood there, then what each commit made of
// it; of one whose past lies below in part, that cannot be told.
func TestRevisionsOverAFloor(t *testing.T) {
	a, b := newCellar().site(t, "A"), newSite(t, "B")
	first := a.write(put("d", `{"x":0}`))
	b.add(first)
	a.write(patch("d", `{"x":1}`))
	a.write(put("other", `{}`))
	a.write(patch("d", `{"x":2}`))
	beside := b.write(patch("d", `{"y":1}`))
	whole := map[block.ID]string{}
	note := func() {
		for v, err := range a.Revisions("d") {
			if err != nil {
				t.Fatal(err)
			}
			whole[v.Commit.ID] = v.Rev
		}
	}
	a.hand(beside, Valid)
	a.write(patch("d", `{"z":1}`))
	note()
	a.raise(3, true)
	var got []string
	for v, err := range a.Revisions("d") {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case v.Ground && v.Commit.Seq == 2 && v.Alive && v.Rev == whole[v.Commit.ID]:
			got = append(got, "ground")
		case v.Part && v.Commit.ID == beside.ID && v.Rev == "":
			got = append(got, "part")
		case !v.Part && !v.Ground && v.Rev == whole[v.Commit.ID]:
			got = append(got, fmt.Sprint(v.Commit.Actor == a.actor, v.Commit.Seq))
		default:
			t.Errorf("%+v", v)
		}
	}
	if want := []string{"ground", "true 4", "part", "true 5"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
