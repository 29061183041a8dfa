package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// seen is what a replica showed.
type seen struct {
	commit block.ID
	digest [32]byte
	docs   map[string]string
}

// look is what a replica shows.
func look(t *testing.T, r *crdt.Replica) (s seen) {
	t.Helper()
	s.digest, s.docs = r.Digest(), map[string]string{}
	for doc, err := range r.All(crdt.Range{}) {
		require.NoError(t, err)
		s.docs[doc["_id"].(string)] = string(doc.JSON())
	}
	return s
}

// at is what a database shows as of a point.
func at(t *testing.T, d *Database, text string) (s seen) {
	t.Helper()
	p, err := d.Point(text)
	require.NoError(t, err, text)
	require.NoError(t, d.ViewAt(t.Context(), p, func(r *crdt.Replica) error { s = look(t, r); return nil }))
	return s
}

// catchUp hands y what it lacks of x.
func catchUp(t *testing.T, x, y *Database) {
	t.Helper()
	var f crdt.Frontier
	require.NoError(t, y.View(func(r *crdt.Replica) error { f = r.Frontier(); return nil }))
	var in []Candidate
	require.NoError(t, x.View(func(r *crdt.Replica) error {
		for _, id := range r.Since(f) {
			u, err := x.n.Stored(id)
			require.NoError(t, err)
			in = append(in, Candidate{Data: u.Data()})
		}
		return nil
	}))
	out, err := y.Commit(t.Context(), in)
	require.NoError(t, err)
	require.NoError(t, out.Rejected)
}

// Two devices write ten thousand commits, apart and together: puts, patches,
// deletes. Now and then one notes what it shows right after a commit of its own. In
// the end the other opens each of these commits and must see exactly that.
func TestAsOfEveryCommitOfALongHistory(t *testing.T) {
	_, _, x, y := pair(t, 2)
	rng := rand.New(rand.NewPCG(1, 2))
	var noted []seen
	for i := range longHistory {
		d := x
		if i/50%3 == 1 { // in turns, with stretches in which neither knows of the other
			d = y
		}
		if i%150 == 0 {
			catchUp(t, x, y)
			catchUp(t, y, x)
		}
		id := fmt.Sprintf("doc-%03d", rng.IntN(200))
		w := crdt.Write{Verb: crdt.Put, ID: id, Body: crdt.Doc{"n": int64(i)}}
		switch rng.IntN(8) {
		case 0:
			w = crdt.Write{Verb: crdt.Delete, ID: id}
		case 1, 2:
			w = crdt.Write{Verb: crdt.Patch, ID: id, Body: crdt.Doc{fmt.Sprint(i % 7): int64(i)}}
		}
		wrote, err := d.Write(t.Context(), []crdt.Write{w})
		if errors.Is(err, crdt.ErrNotFound) {
			continue
		}
		require.NoError(t, err)
		if rng.IntN(longHistory/24) == 0 {
			require.NoError(t, d.View(func(r *crdt.Replica) error {
				s := look(t, r)
				s.commit = wrote.Commit
				noted = append(noted, s)
				return nil
			}))
		}
	}
	catchUp(t, x, y)
	catchUp(t, y, x)
	require.Equal(t, x.Heads(), y.Heads())
	require.Greater(t, len(noted), 8)

	check := func(s seen) {
		got := at(t, y, s.commit.String())
		require.Equal(t, s.digest, got.digest)
		require.Equal(t, s.docs, got.docs)
	}
	begun := time.Now()
	for _, s := range noted {
		check(s)
	}
	for range 3 { // in no order
		check(noted[rng.IntN(len(noted))])
	}
	t.Logf("%d of %d commits opened in %v", len(noted)+3, longHistory, time.Since(begun).Round(time.Millisecond))

	// The first half is compacted away: what is kept reads as before, the rest is told
	// to be gone.
	half := y.replica.Len() / 2
	begun = time.Now()
	_, err := y.raise(t.Context(), half)
	require.NoError(t, err)
	require.Positive(t, gcNow(t, y).Commits)
	t.Logf("compacted in %v", time.Since(begun).Round(time.Millisecond))
	kept, gone := 0, 0
	for _, s := range noted {
		p, err := y.Point(s.commit.String())
		require.NoError(t, err)
		if y.replica.OverFloor(p.set) {
			kept++
			check(s)
			continue
		}
		gone++
		require.ErrorIs(t, y.ViewAt(t.Context(), p, func(*crdt.Replica) error { return nil }), ErrCompacted)
	}
	require.Positive(t, kept)
	require.Positive(t, gone)
	require.Equal(t, x.Heads(), y.Heads())
	t.Logf("%d kept, %d gone", kept, gone)
}

func TestPointsAreCommitsTimesAndLabels(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	require.Equal(t, map[string]string{}, at(t, db, "now").docs)
	first := put(t, db, "milk", "1")
	var when [2]time.Time
	for i := range when {
		p, err := db.Point("now")
		require.NoError(t, err)
		require.NoError(t, db.View(func(r *crdt.Replica) error {
			c, _ := r.Commit(p.Heads[0])
			when[i] = time.UnixMilli(int64(c.Time))
			return nil
		}))
		put(t, db, "milk", fmt.Sprint(i+2))
	}
	p, err := db.Point("now")
	require.NoError(t, err)
	_, err = db.SetLabel(t.Context(), "third of three", p)
	require.NoError(t, err)
	put(t, db, "milk", "4")
	text := func(point string) string {
		doc, err := db.DocAt(t.Context(), "milk", point)
		require.NoError(t, err, point)
		s, _ := doc["text"].(string)
		return s
	}
	for point, want := range map[string]string{
		first.String(): "1", first.String()[:20]: "1", when[0].Format(time.RFC3339Nano): "1", when[1].Format(time.RFC3339Nano): "2",
		when[1].Add(-time.Millisecond).UTC().Format(time.RFC3339Nano): "1", when[0].Add(-time.Millisecond).Format(time.RFC3339Nano): "",
		"third of three": "3", "now": "4", "": "4", "100000h ago": "", "52w ago": "", "3650d ago": "", "0s ago": "4",
	} {
		require.Equal(t, want, text(point), point)
	}
	for _, none := range []string{"no such label", "bafkrei", "bafkreiaaaaaaaaaaaaaa", block.ID{1}.String(), "9-0000000000000000", "x ago", "-1h ago"} {
		_, err := db.DocAt(t.Context(), "milk", none)
		require.ErrorIs(t, err, ErrPoint, none)
	}

	// Labels survive a restart, are sealed, and go without taking anything along.
	ann.restart()
	_, db = ann.only()
	require.Equal(t, "3", text("third of three"))
	_, err = db.SetLabel(t.Context(), "third of three", p)
	require.ErrorIs(t, err, ErrLabel)
	for _, bad := range []string{"", " x", "now", "2h ago", "2026-01-01T00:00:00Z", first.String(), "1-0123456789abcdef", "a\nb"} {
		_, err = db.SetLabel(t.Context(), bad, p)
		require.ErrorIs(t, err, ErrLabelName, "%q", bad)
	}
	for key, value := range ann.disk() {
		require.NotContains(t, key+value, "third of three")
	}
	all, err := db.Labels()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, db.DeleteLabel(t.Context(), "third of three"))
	require.ErrorIs(t, db.DeleteLabel(t.Context(), "third of three"), ErrPoint)
	require.Equal(t, "1", text(first.String()))
}

// A clock that is ahead hides nothing: what was built on a commit proves that it
// was there.
func TestATimeIncludesWhatItIsBuiltOn(t *testing.T) {
	_, _, x, y := pair(t, 2)
	tick.Add(int64(365 * 24 * time.Hour / time.Millisecond))
	put(t, x, "from a fast clock", "1")
	tick.Add(-int64(365 * 24 * time.Hour / time.Millisecond))
	catchUp(t, x, y)
	put(t, y, "later", "1")
	require.Subset(t, slices.Sorted(maps.Keys(at(t, y, "0s ago").docs)), []string{"from a fast clock", "later"})
}

func TestRevertWritesTheOldStateAnew(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	revOf := func() string {
		var rev string
		require.NoError(t, db.View(func(r *crdt.Replica) error {
			_, meta, err := r.Get("d")
			if errors.Is(err, crdt.ErrNotFound) {
				err = nil
			}
			rev = meta.Rev
			return err
		}))
		return rev
	}
	put(t, db, "d", "one")
	one := revOf()
	w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "d", Body: crdt.Doc{"text": "two", "more": true}}})
	require.NoError(t, err)
	_, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: "d"}})
	require.NoError(t, err)
	gone := revOf()

	back, err := db.Revert(t.Context(), "d", one)
	require.NoError(t, err)
	require.True(t, back.Results[0].Changed)
	require.Equal(t, map[string]string{"d": "one"}, docs(t, db))
	_, err = db.Revert(t.Context(), "d", w.Commit.String())
	require.NoError(t, err)
	doc, err := db.DocAt(t.Context(), "d", "now")
	require.NoError(t, err)
	require.Equal(t, true, doc["more"])
	_, err = db.Revert(t.Context(), "d", gone)
	require.NoError(t, err)
	require.Empty(t, docs(t, db), "it was deleted then")
	again, err := db.Revert(t.Context(), "d", gone)
	require.NoError(t, err)
	require.False(t, again.Results[0].Changed)
	_, err = db.Revert(t.Context(), "nobody", "now")
	require.ErrorIs(t, err, crdt.ErrNotFound)
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		require.Equal(t, 6, r.Len(), "nothing was taken out of the history")
		return nil
	}))
}

func TestDiffTellsWhatChangedBetweenTwoPoints(t *testing.T) {
	_, _, x, y := pair(t, 2)
	write := func(d *Database, writes ...crdt.Write) block.ID {
		w, err := d.Write(t.Context(), writes)
		require.NoError(t, err)
		return w.Commit
	}
	a := write(x, crdt.Write{Verb: crdt.Put, ID: "stays", Body: crdt.Doc{"a": int64(1)}},
		crdt.Write{Verb: crdt.Put, ID: "changes", Body: crdt.Doc{"a": int64(1), "in": map[string]any{"b": int64(1), "c": int64(2)}}},
		crdt.Write{Verb: crdt.Put, ID: "goes", Body: crdt.Doc{}})
	write(x, crdt.Write{Verb: crdt.Patch, ID: "changes", Body: crdt.Doc{"in": map[string]any{"b": int64(2)}, "a": nil}},
		crdt.Write{Verb: crdt.Delete, ID: "goes"}, crdt.Write{Verb: crdt.Put, ID: "there and back", Body: crdt.Doc{}})
	b := write(x, crdt.Write{Verb: crdt.Put, ID: "new", Body: crdt.Doc{"null": nil}}, crdt.Write{Verb: crdt.Delete, ID: "there and back"})
	catchUp(t, x, y)

	point := func(id block.ID) Point { p, err := y.Point(id.String()); require.NoError(t, err); return p }
	rows, err := y.Diff(t.Context(), "", point(a), Point{})
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, "changes", rows[0].ID)
	require.Equal(t, crdt.Doc{"in": map[string]any{"b": int64(2)}, "a": nil}, rows[0].Patch)
	require.Equal(t, "goes", rows[1].ID)
	require.Empty(t, rows[1].To)
	require.Equal(t, "new", rows[2].ID)
	require.Empty(t, rows[2].From)
	require.Equal(t, [][]string{{"null"}}, rows[2].Nulls)

	back, err := y.Diff(t.Context(), "changes", point(b), point(a))
	require.NoError(t, err)
	require.Equal(t, crdt.Doc{"in": map[string]any{"b": int64(1)}, "a": int64(1)}, back[0].Patch)
	same, err := y.Diff(t.Context(), "", point(b), point(b))
	require.NoError(t, err)
	require.Empty(t, same)
}

func TestOpeningThePastEndsWithItsContext(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	id := put(t, db, "d", "1")
	put(t, db, "d", "2")
	p, err := db.Point(id.String())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, db.ViewAt(ctx, p, func(*crdt.Replica) error { return nil }), context.Canceled)
	require.Contains(t, at(t, db, id.String()).docs["d"], `"text":"1"`, "and harms nobody after it")
}
