package crdt

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// playSet plays a set of commits of r into an empty replica, as --as-of does.
func playSet(t testing.TB, r *Replica, set []block.ID) *Replica {
	out, voids := NewReplica(testDB, testKeys()), r.Voids()
	for _, id := range set {
		c, _ := r.Commit(id)
		v := Valid
		if why, void := voids[id]; void {
			v = Void(why)
		}
		if _, err := out.Add(c, v); err != nil {
			t.Fatalf("play %s: %v", id, err)
		}
	}
	return out
}

// The oracle is what each author said when it committed: the digest of the state it
// saw then. Every commit of a random history, opened later, on a replica that knows
// everything and received it in another order, leads there again; and each revision
// of a document is the one that its author's device showed.
func TestEveryCommitOpensTheStateItsAuthorSaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 14)
		r := replay(rt, h.order("arrival"))
		revs := map[string]map[block.ID]string{}
		for _, id := range []string{"d", "e"} {
			revs[id] = map[block.ID]string{}
			for v := range r.Revisions(id) {
				revs[id][v.Commit.ID] = v.Rev
				doc, err := v.Doc()
				if alive := err == nil; alive != v.Alive || alive && doc[keyRev] != v.Rev {
					rt.Fatalf("revision %s of %s: %v, %v", v.Rev, id, doc, err)
				}
			}
		}
		for _, c := range h.commits {
			set, err := r.Past([]block.ID{c.ID})
			if err != nil {
				rt.Fatal(err)
			}
			then := playSet(t, r, set)
			if then.Digest() != c.Digest || !slices.Equal(then.Heads(), []block.ID{c.ID}) || !slices.Equal(r.Tops(set), then.Heads()) {
				rt.Fatalf("commit %s opens another state than its author saw", c.ID)
			}
			for id, of := range revs {
				rev, touched := of[c.ID]
				_, meta, _ := then.Get(id)
				if touched != slices.Contains(c.Docs(), id) || touched && rev != meta.Rev {
					rt.Fatalf("%s at %s: revision %q, its author saw %q", id, c.ID, rev, meta.Rev)
				}
			}
		}
	})
}

// A time selects what was made until then and what that builds on, no more, and the
// set is closed.
func TestATimeIsASetOfCommits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 14)
		r := replay(rt, h.order("arrival"))
		at := wire.Time(rapid.IntRange(0, 80).Draw(rt, "time"))
		in := map[block.ID]bool{}
		for _, id := range r.Until(at) {
			c, _ := r.Commit(id)
			for _, p := range c.Parents {
				if !in[p] {
					rt.Fatalf("%s comes without its parent", id)
				}
			}
			in[id] = true
		}
		for _, c := range h.commits {
			needed := c.Time <= at || slices.ContainsFunc(h.commits, func(x *Commit) bool {
				return x.Time <= at && r.Inside([]block.ID{x.ID}, c.ID)
			})
			if needed != in[c.ID] {
				rt.Fatalf("commit of time %d at %d: %v", c.Time, at, in[c.ID])
			}
		}
	})
}

// What the team cut is in the graph and in no state of the past; what was built on
// it stays.
func TestThePastIsJudgedAsTheTeamJudgesNow(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	first := a.write(put("d", `{"x":1}`))
	b.pull(a)
	cut := b.write(put("d", `{"x":2}`))
	a.pull(b)
	last := a.write(patch("d", `{"y":3}`))
	a.Rejudge(func(c *Commit) Validity {
		if c.ID == cut.ID {
			return Void("cut")
		}
		return Valid
	})
	var got []string
	for v := range a.Revisions("d") {
		doc, _ := v.Doc()
		delete(doc, keyID)
		delete(doc, keyRev)
		got = append(got, string(doc.JSON())+v.Void)
	}
	if want := []string{`{"x":1}`, `{}cut`, `{"x":1,"y":3}`}; !slices.Equal(got, want) {
		t.Fatal(got)
	}
	for id, want := range map[block.ID]string{first.ID: `{"x":1}`, cut.ID: `{"x":1}`, last.ID: `{"x":1,"y":3}`} {
		set, err := a.Past([]block.ID{id})
		if err != nil {
			t.Fatal(err)
		}
		s := &site{Replica: playSet(t, a.Replica, set), t: t}
		if got := s.read("d"); got != want {
			t.Fatalf("at %s: %s, want %s", id, got, want)
		}
	}
	if _, err := a.Past([]block.ID{{1}}); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestActions(t *testing.T) {
	s := newSite(t, "a")
	for _, w := range []struct {
		write Write
		want  Action
	}{
		{put("d", `{"x":1}`), Wrote}, {patch("d", `{"x":null}`), Wrote}, {patch("d", `{"n":{"$inc":1}}`), Wrote},
		{del("d"), Deleted}, {restore("d"), Wrote}, {purge("d"), Purged}, {put("d", `{}`), Wrote}, {del("d"), Deleted}, {purge("d"), Purged},
	} {
		c := s.write(w.write)
		for id, got := range c.Touched() {
			if id != "d" || got != w.want {
				t.Errorf("%v of %s: action %d, want %d", w.write, id, got, w.want)
			}
		}
	}
}

// A merge patch makes one document read as the other, except where the other holds
// null, which it lists.
func TestAMergePatchLeadsFromOneToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := genObject(t, 3), genObject(t, 3)
		p, nulls := MergePatch(from, to)
		got, _ := merge7396(map[string]any(from), map[string]any(p)).(map[string]any)
		for _, path := range nulls {
			at := got
			for _, k := range path[:len(path)-1] {
				at, _ = at[k].(map[string]any)
			}
			if at == nil {
				t.Fatalf("null at %q, where there is no object", path)
			}
			at[path[len(path)-1]] = nil
		}
		if !same(got, map[string]any(to)) {
			t.Fatalf("%v patched by %v is %v, not %v", from, p, got, to)
		}
	})
}
