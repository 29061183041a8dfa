package ledger

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// compact lets a database be compacted to the present.
func compact(t testing.TB, db *Database, acks ...Ack) Compacted {
	t.Helper()
	out, err := db.Compact(t.Context(), Compaction{Acks: acks})
	require.NoError(t, err)
	return out
}

func gcNow(t testing.TB, db *Database) Freed {
	t.Helper()
	out, err := db.GC(t.Context(), Collection{Now: true})
	require.NoError(t, err)
	return out
}

// files are the blocks on disk, by kind.
func (d *device) files() map[block.Kind]int {
	d.t.Helper()
	out := map[block.Kind]int{}
	for e, err := range d.st.Scan(store.Blocks()) {
		require.NoError(d.t, err)
		u, err := block.Parse(append([]byte(nil), e.Value...))
		require.NoError(d.t, err)
		out[u.Kind]++
	}
	return out
}

// TestScenarioD22: ten rewrites of ace and king, then compaction: reads and changes are
// the same, cursors stay good, there are fewer files, the old ones are erased, and
// what is written during the compaction survives.
func TestScenarioD22(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	var old []block.ID
	for i := range 10 {
		old = append(old, put(t, db, "ace", fmt.Sprint("ace ", i)), put(t, db, "king", large(fmt.Sprint(i))))
	}
	middle, cursor := feed(t, db, "")
	require.Len(t, middle, 2)
	put(t, db, "queen", "1")
	want, heads, rows, before := docs(t, db), db.Heads(), full(t, db), ann.files()

	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 20 {
			put(t, db, fmt.Sprint("meanwhile ", i), "1")
		}
	})
	out := compact(t, db)
	wg.Wait()
	require.GreaterOrEqual(t, out.Commits, 20)
	for i := range 20 {
		want[fmt.Sprint("meanwhile ", i)] = "1"
	}
	require.Equal(t, want, docs(t, db))
	freed := gcNow(t, db)
	require.Equal(t, out.Below, freed.Commits)
	require.Positive(t, freed.Bytes)
	after := ann.files()
	require.Greater(t, before[block.KindValue], after[block.KindValue])
	require.Equal(t, 1, after[block.KindValue], "the last of king's ten values")
	require.Less(t, after[block.KindCommit], before[block.KindCommit])
	for _, id := range old {
		_, err := ann.Stored(id)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	for _, when := range []string{"at once", "opened again", "from the ground"} {
		require.Equal(t, want, docs(t, db), when)
		require.Subset(t, db.Heads().Heads, db.replica.Heads())
		if when != "from the ground" {
			require.Equal(t, rows, full(t, db)[:len(rows)], "changes, %s", when)
			ids, _ := feed(t, db, cursor)
			require.Equal(t, "queen", ids[0], when)
			require.Len(t, ids, 21, when)
		}
		require.Empty(t, verify(t, db, true).Bad, when)
		ann.restart()
		if db = ann.Database(db.id); when == "opened again" {
			require.NoError(t, db.reload())
		}
	}
	require.NotEqual(t, heads, db.Heads())
	require.Zero(t, gcNow(t, db).Blocks, "nothing is left to collect")
}

// The floor stops below what is younger than keep, and below what an active device has
// not said it holds; one that was silent for longer than keep does not count.
func TestCompactionWaitsForWhoIsActive(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	for i := range 5 {
		put(t, db, "d", fmt.Sprint(i))
	}
	none, err := db.Compact(t.Context(), Compaction{Keep: time.Hour})
	require.NoError(t, err)
	require.Zero(t, none.Below, "all is young")
	require.Len(t, none.Held, 1, "and age alone keeps all")
	require.Equal(t, 5, none.Held[0].Commits)

	keep := Compaction{Keep: 40 * time.Millisecond}
	give(t, db, bobs)
	for range 50 {
		now() // the clock of the test moves on
	}
	put(t, db, "d", "young")
	keep.Acks = []Ack{{Device: bob.Me(), Heads: bobs.Heads().Heads, Heard: now()}}
	out, err := db.Compact(t.Context(), keep)
	require.NoError(t, err)
	require.Equal(t, 5, out.Below)
	require.Equal(t, 5, db.replica.Floor())

	keep.Acks[0].Heard = now()
	put(t, db, "d", "younger")
	keep.Keep = 0
	keep.Acks = []Ack{{Device: bob.Me(), Heads: bobs.Heads().Heads, Heard: now().Add(time.Hour)}}
	out, err = db.Compact(t.Context(), keep)
	require.NoError(t, err)
	require.Zero(t, out.Commits, "bob is there, and lacks the last two")
	require.Equal(t, bob.Me(), out.Held[0].Device)
	require.Equal(t, 2, out.Held[0].Commits)

	keep.Acks[0].Heard = now().Add(-time.Hour)
	dry := keep
	dry.DryRun = true
	out, err = db.Compact(t.Context(), dry)
	require.NoError(t, err)
	require.Equal(t, 2, out.Commits)
	require.Equal(t, 5, db.replica.Floor(), "only asked")
	out, err = db.Compact(t.Context(), keep)
	require.NoError(t, err)
	require.Equal(t, 2, out.Commits, "he was silent for too long")
	require.Equal(t, 7, db.replica.Floor())
	freed, err := db.GC(t.Context(), Collection{})
	require.NoError(t, err)
	require.Zero(t, freed.Blocks)
	require.Equal(t, db.floor.Set+24*3600*1000, freed.Waiting, "a day of grace")
	require.Equal(t, 7, gcNow(t, db).Commits)
}

// Deletions that are old, and known to all, are purged; a newer or undone one is not.
func TestCompactionPurgesOldDeletions(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	drop := func(id string) {
		_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: id}})
		require.NoError(t, err)
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		put(t, db, id, "1")
	}
	drop("a")
	drop("b")
	put(t, db, "b", "again")
	for range 1000 {
		now()
	}
	drop("c")
	out, err := db.Compact(t.Context(), Compaction{Keep: 500 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, 1, out.Purged)
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		for id, kept := range map[string]bool{"a": false, "b": true, "c": true, "d": true} {
			_, meta, _ := r.Get(id)
			require.Equal(t, kept, meta.Rev != "", id)
		}
		return nil
	}))
}

// Who writes quicker than a commit a millisecond is ahead of the clock: to keep nothing
// compacts that too.
func TestToKeepNothingDoesNotWaitForTheClock(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	db.lastTime = ann.Now() + 3_600_000
	put(t, db, "d", "1")
	require.Equal(t, 1, compact(t, db).Commits)
}

// What was compacted away is told to be, with where history begins; what is kept reads
// as before: points, labels from before, the log, differences.
func TestTheCompactedPast(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	first := put(t, db, "d", "1")
	put(t, db, "e", large("e"))
	early, err := db.Point("now")
	require.NoError(t, err)
	label, err := db.SetLabel(t.Context(), "early", early)
	require.NoError(t, err)
	put(t, db, "e", "small")
	last := put(t, db, "d", "2")
	was := at(t, db, "early")
	require.NotEmpty(t, was.docs)
	out := compact(t, db)
	require.Equal(t, 1, out.Labels)
	gcNow(t, db)
	above := put(t, db, "d", "3")
	for _, when := range []string{"at once", "after a restart"} {
		_, err = db.DocAt(t.Context(), "d", first.String())
		require.ErrorIs(t, err, ErrCompacted, when)
		require.Contains(t, err.Error(), stamp(db.floor.Time))
		require.Equal(t, was, at(t, db, "early"), when)
		for point, want := range map[string]string{last.String(): "2", above.String(): "3", stamp(db.floor.Time): "2", "early": "1"} {
			doc, err := db.DocAt(t.Context(), "d", point)
			require.NoError(t, err, point)
			require.Equal(t, want, doc["text"], point)
		}
		doc, err := db.DocAt(t.Context(), "e", "early")
		require.NoError(t, err)
		require.Equal(t, large("e"), doc["text"], "the value lives as long as the label")
		list, err := db.Compare(t.Context(), "", "early", "now")
		require.NoError(t, err)
		require.Len(t, list, 2)
		_, err = db.Compare(t.Context(), "", first.String(), "now")
		require.ErrorIs(t, err, ErrCompacted)

		var all, one []LogEntry
		for e, err := range db.Log(t.Context(), LogQuery{}) {
			require.NoError(t, err)
			all = append(all, e)
		}
		require.Len(t, all, 5)
		require.False(t, all[0].Compacted)
		require.True(t, all[1].Compacted && all[4].Compacted)
		for e, err := range db.Log(t.Context(), LogQuery{ID: "d"}) {
			require.NoError(t, err)
			one = append(one, e)
		}
		require.Len(t, one, 2)
		require.True(t, one[1].Compacted && one[1].Alive)
		require.Equal(t, last, one[1].Commit.ID)
		rev, err := db.DocAt(t.Context(), "d", one[1].Rev)
		require.NoError(t, err)
		require.Equal(t, "2", rev["text"])
		rep := verify(t, db, true)
		require.Empty(t, rep.Bad)
		require.Equal(t, 4, rep.Compacted)
		ann.restart()
		db = ann.Database(db.id)
	}
	require.NotZero(t, label.Made)
	require.NoError(t, db.DeleteLabel(t.Context(), "early"))
	put(t, db, "f", "1")
	require.NoError(t, db.floorHere(t.Context()))
	gcNow(t, db)
	require.Zero(t, ann.files()[block.KindValue], "nothing names the value any more")
}
