package ledger

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"pgregory.net/rapid"
)

// The power goes at operations of the disk while histories are compacted, to the
// present and to a place before it, labels are kept, and what lies below is collected.
// Everything acknowledged is there, labels read as before, a compaction can be done
// again, and the ground alone opens the database too.
func TestPowerLossWhileCompacting(t *testing.T) {
	p := &promises{docs: map[string]string{}}
	disk := newCrashable(2, p)
	ann := newDevice(t, "ann").flushing().on(disk)
	_, db := ann.found("fam")
	write := func(id, text string) {
		put(t, db, id, text)
		p.note(id, text)
	}
	for i := range 12 {
		write(fmt.Sprint("d", i%5), fmt.Sprint("text ", i))
	}
	write("big", large("a"))
	_, err := db.SetLabel(t.Context(), "early", point(t, db, "now"))
	require.NoError(t, err)
	early := docs(t, db)
	write("big", large("b"))
	write("d1", "above")
	p.teams = 1
	disk.wrecks = nil // what goes wrong before is told elsewhere
	_, err = db.raise(t.Context(), 9)
	require.NoError(t, err)
	gcNow(t, db)
	write("between", "1")
	compact(t, db)
	write("behind", "1")
	gcNow(t, db)
	ann.stop()
	require.Greater(t, len(disk.wrecks), 20)
	t.Logf("%d crash points", len(disk.wrecks))
	for _, w := range disk.wrecks {
		w.salvage(t, ann, db.id)
		x := &device{t: t, name: ann.name, place: ann.place, fs: w.disk, id: ann.id, flush: ann.flush}
		require.NoError(t, x.open(), w.where)
		db := x.Database(db.id)
		text := map[string]string{}
		require.NoError(t, db.ViewAt(t.Context(), point(t, db, "early"), func(r *crdt.Replica) error {
			for doc, err := range r.All(crdt.Range{}) {
				require.NoError(t, err)
				text[doc["_id"].(string)] = doc["text"].(string)
			}
			return nil
		}), w.where)
		require.Equal(t, early, text, w.where)
		now := docs(t, db)
		require.NoError(t, db.reload(), w.where)
		require.Equal(t, now, docs(t, db), w.where)
		compact(t, db)
		gcNow(t, db)
		require.NoError(t, db.reload(), w.where)
		require.Equal(t, now, docs(t, db), w.where)
		require.Empty(t, verify(t, db, true).Bad, w.where)
		x.stop()
	}
}

func point(t *testing.T, db *Database, text string) Point {
	t.Helper()
	p, err := db.Point(text)
	require.NoError(t, err)
	return p
}

// A disk that refuses some write of a compaction or a collection leaves the database as
// it was, or compacted; the next one goes through.
func TestAFailedDiskWhileCompacting(t *testing.T) {
	for nth := 1; ; nth += 3 {
		ann := newDevice(t, "ann").flushing()
		_, db := ann.found("fam")
		for i := range 12 {
			put(t, db, fmt.Sprint("d", i%5), fmt.Sprint("text ", i))
		}
		want, heads := docs(t, db), db.Heads()
		ann.stop()
		n, failed, whole := 0, false, ann.fs
		var one sync.Mutex // the engine changes files from several goroutines
		ann.fs = errorfs.Wrap(whole, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
				return nil
			}
			one.Lock()
			defer one.Unlock()
			if n++; n == nth {
				failed = true
				return errorfs.ErrInjected
			}
			return nil
		}))
		if ann.open() != nil {
			continue // it did not even open
		}
		db = ann.Database(db.id)
		_, _ = db.Compact(t.Context(), Compaction{})
		_, _ = db.GC(t.Context(), Collection{Now: true})
		ann.Ledger.Close()
		_ = ann.st.Close()
		ann.Ledger, ann.fs = nil, whole
		require.NoError(t, ann.open())
		db = ann.Database(db.id)
		require.NoError(t, db.Damage())
		require.Equal(t, want, docs(t, db), "write %d", nth)
		require.Equal(t, heads, db.Heads())
		compact(t, db)
		gcNow(t, db)
		require.NoError(t, db.reload())
		require.Equal(t, want, docs(t, db), "write %d", nth)
		ann.stop()
		one.Lock()
		over := !failed
		one.Unlock()
		if over {
			require.Greater(t, nth, 10)
			return
		}
	}
}

// Three devices write, meet, restart, are compacted at any place they may be, and
// collect: they show the same as one that keeps everything, and so does what each
// builds anew from its disk.
func TestCompactedAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ann, bob, all := newDevice(t, "ann").flushing(), newDevice(t, "bob").flushing(), newDevice(t, "all")
		defer func() { ann.stop(); bob.stop(); all.stop() }()
		c, db := ann.found("fam")
		ann.join(c, bob)
		ann.join(c, all)
		ann.tell(c, bob)
		sides := []*device{ann, bob}
		one := func(d *device) *Database { return d.Database(db.id) }
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			x := rapid.IntRange(0, 1).Draw(rt, "side")
			d, other := sides[x], sides[1-x]
			switch rapid.IntRange(0, 8).Draw(rt, "what") {
			case 0:
				text := rapid.SampledFrom([]string{"s", large("l")}).Draw(rt, "text")
				put(t, one(d), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "id"), text)
			case 1:
				_, err := one(d).Write(t.Context(), []crdt.Write{{Verb: crdt.Patch, ID: "n", Body: crdt.Doc{"n": map[string]any{"$inc": int64(1)}}}})
				require.NoError(t, err)
			case 2:
				_, _ = one(d).Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: rapid.SampledFrom([]string{"a", "b", "n"}).Draw(rt, "id")}})
			case 3, 4:
				give(t, one(d), one(all))
				give(t, one(other), one(all))
				give(t, one(all), one(d))
				give(t, one(all), one(other))
			case 5:
				if r := one(d).replica; r.Len() > r.Floor() {
					_, err := one(d).raise(t.Context(), rapid.IntRange(r.Floor()+1, r.Len()).Draw(rt, "floor"))
					require.NoError(t, err)
				}
			case 6:
				gcNow(t, one(d))
			case 7:
				d.restart()
			case 8:
				require.NoError(t, one(d).reload())
			}
			give(t, one(d), one(all)) // it has everything before it is compacted
		}
		for _, d := range sides {
			give(t, one(all), one(d))
		}
		for _, d := range sides {
			require.Equal(t, one(all).Heads(), one(d).Heads())
			require.True(t, maps.Equal(docs(t, one(all)), docs(t, one(d))))
			require.NoError(t, one(d).reload())
			require.Equal(t, one(all).Heads(), one(d).Heads())
			require.Empty(t, verify(t, one(d), true).Bad)
		}
	})
}
