package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// rotDerived spoils everything below a key.
func (d *device) rotDerived(prefix []byte) {
	d.t.Helper()
	batch := d.st.NewBatch()
	for e, err := range d.st.Scan(prefix) {
		require.NoError(d.t, err)
		batch.Set(e.Key, []byte("rot"))
	}
	require.NoError(d.t, d.st.Commit(d.t.Context(), batch))
}

// full is a feed from its beginning, and what a reader knows who followed it.
func full(t *testing.T, db *Database) (rows []crdt.Change) {
	t.Helper()
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		for c, err := range r.Changes(crdt.Cursor{}) {
			require.NoError(t, err)
			rows = append(rows, c)
		}
		return nil
	}))
	return rows
}

// Opening goes on from the newest checkpoint: it reads neither the commits before it
// nor, until somebody asks, the documents.
func TestOpeningReadsWhatCameAfterTheCheckpoint(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	var first block.ID
	for i := range 20 {
		id := put(t, db, fmt.Sprint("d", i), "old")
		if i == 0 {
			first = id
		}
	}
	require.NoError(t, db.Flush(t.Context()))
	db = ann.seldom(db)
	put(t, db, "d3", "new")
	put(t, db, "d20", "new")
	want, digest, rows := docs(t, db), db.Heads().Digest, full(t, db)
	ann.rot(first)
	ann.restart()
	db = ann.Database(db.id)
	require.NoError(t, db.Damage())
	require.Equal(t, want, docs(t, db))
	require.Equal(t, digest, db.Heads().Digest)
	require.Equal(t, rows, full(t, db))
	_, err := db.read(first)
	var damage *DamageError
	require.ErrorAs(t, err, &damage, "whoever needs the commit is told")
}

// A checkpoint that cannot be used costs time, not data: the one before is opened, and
// without any the commits are replayed. Cursors of before know that they are of another
// feed, because rows might have moved.
func TestADamagedCheckpointIsPassedOver(t *testing.T) {
	for name, spoil := range map[string]func(d *device, db *Database, ids []saved){
		"newest signed block": func(d *device, _ *Database, ids []saved) { d.rot(ids[0].id) },
		"newest root": func(d *device, db *Database, ids []saved) {
			c, err := db.openCheckpoint(ids[0].id)
			require.NoError(d.t, err)
			d.rot(c.Root)
		},
		"newest record": func(d *device, db *Database, ids []saved) { d.rotDerived(db.derived('r', ids[0].n)) },
		"both":          func(d *device, _ *Database, ids []saved) { d.rot(ids[0].id); d.rot(ids[1].id) },
		"the graph":     func(d *device, db *Database, _ []saved) { d.rotDerived(db.derivedAll('g')) },
		"everything derived": func(d *device, _ *Database, _ []saved) {
			require.NoError(d.t, d.st.DropDerived(d.t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ann := newDevice(t, "ann").flushing()
			_, db := ann.found("fam")
			for i := range 12 {
				put(t, db, fmt.Sprint("d", i%8), fmt.Sprint("text ", i))
				if i == 5 || i == 9 {
					require.NoError(t, db.Flush(t.Context()))
				}
			}
			db = ann.seldom(db)
			put(t, db, "d1", "last")
			_, cursor := feed(t, db, "")
			want, heads := docs(t, db), db.Heads()
			list, err := db.checkpoints()
			require.NoError(t, err)
			require.Len(t, list, keptCheckpoints)
			spoil(ann, db, list)
			for range 2 {
				ann.restart()
				db = ann.Database(db.id)
				require.NoError(t, db.Damage())
				require.Equal(t, want, docs(t, db))
				require.Equal(t, heads, db.Heads())
				seen := map[string]bool{}
				for _, c := range full(t, db) {
					require.False(t, seen[c.ID], "%s twice", c.ID)
					seen[c.ID] = true
				}
				require.Len(t, seen, len(want))
				require.NoError(t, db.View(func(r *crdt.Replica) error {
					old, err := crdt.ParseCursor(cursor)
					require.NoError(t, err)
					for _, err := range r.Changes(old) {
						require.ErrorIs(t, err, crdt.ErrCursor)
					}
					return nil
				}))
				put(t, db, "d2", "on")
				want = docs(t, db)
				require.NoError(t, db.Flush(t.Context()))
				heads = db.Heads()
			}
		})
	}
}

// A reader that keeps its cursor across restarts misses nothing and gets nothing twice,
// though a removal that arrives late takes away what it had read.
func TestACursorSurvivesRestartsAndLateCuts(t *testing.T) {
	ann, bob, db, bobs := pair(t, 2)
	db = ann.seldom(db)
	shown := map[string]string{} // what the reader believes: id → rev
	cursor, total := "", 0
	read := func() {
		t.Helper()
		require.NoError(t, db.View(func(r *crdt.Replica) error {
			from, err := crdt.ParseCursor(cursor)
			require.NoError(t, err)
			for c, err := range r.Changes(from) {
				require.NoError(t, err)
				require.NotEqual(t, shown[c.ID], c.Rev, "%s twice", c.ID)
				if shown[c.ID] = c.Rev; c.Deleted {
					delete(shown, c.ID)
				}
				cursor, total = c.Cursor.String(), total+1
			}
			return nil
		}))
		now := map[string]string{}
		require.NoError(t, db.View(func(r *crdt.Replica) error {
			for doc, err := range r.All(crdt.Range{}) {
				require.NoError(t, err)
				now[doc["_id"].(string)] = doc["_rev"].(string)
			}
			return nil
		}))
		require.Equal(t, now, shown)
	}
	restart := func(flush bool) {
		t.Helper()
		if flush {
			require.NoError(t, db.Flush(t.Context()))
		}
		ann.restart()
		db = ann.Database(db.id)
	}
	read()
	for i := range 6 {
		put(t, bobs, fmt.Sprint("b", i), "bob")
		put(t, db, fmt.Sprint("a", i), "ann")
		meet(t, db, bobs)
		read()
		restart(i%2 == 0)
		read()
	}
	// What bob writes after ann last heard of him falls with his removal.
	cut := demote(bob, db)
	for i := range 3 {
		put(t, bobs, fmt.Sprint("late", i), "bob")
		put(t, bobs, "a1", fmt.Sprint("bob ", i))
	}
	give(t, bobs, db)
	read()
	restart(false)
	read()
	ann.link(db.team, cut, nil)
	require.NotContains(t, docs(t, db), "late1")
	read()
	for i := range 3 { // what comes behind the rows of the new verdict stays behind them
		put(t, db, fmt.Sprint("after", i), "ann")
		restart(i == 1)
		read()
	}
	before := total
	restart(false)
	read()
	require.Equal(t, before, total)
}

// Nodes of old checkpoints go; those that the newest two need stay, and so does what
// they share with the old ones.
func TestOldNodesAreCollected(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	ann.flush = FlushAt{Documents: 1 << 20, Commits: 1 << 20, Close: 1 << 20, Garbage: 8}
	ann.restart()
	_, db := ann.found("fam")
	writes := make([]crdt.Write, 400)
	for i := range writes {
		writes[i] = crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("d%03d", i), Body: crdt.Doc{"text": "x"}}
	}
	_, err := db.Write(t.Context(), writes)
	require.NoError(t, err)
	nodes := func() (n int) {
		for e, err := range ann.st.Scan(store.Blocks()) {
			require.NoError(t, err)
			u, err := block.Parse(append([]byte(nil), e.Value...))
			require.NoError(t, err)
			if u.Kind == block.KindNode {
				n++
			}
		}
		return n
	}
	most := 0
	for i := range 40 {
		put(t, db, fmt.Sprintf("d%03d", i*7), fmt.Sprint("round ", i))
		require.NoError(t, db.Flush(t.Context()))
		most = max(most, nodes())
	}
	list, err := db.checkpoints()
	require.NoError(t, err)
	require.Len(t, list, keptCheckpoints)
	require.Less(t, most, 120, "nodes of 40 checkpoints of a tree of some 25")
	want := docs(t, db)
	// Both kept checkpoints open: the newest, and the one before if that is damaged.
	for i := range 2 {
		if i == 1 {
			ann.rot(list[0].id)
		}
		ann.restart()
		db = ann.Database(db.id)
		require.Equal(t, want, docs(t, db))
		require.NoError(t, db.Damage())
	}
}

// While nodes are being sealed writers go on, and what they write is in neither the
// checkpoint nor lost.
func TestWritingWhileFlushing(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	put(t, db, "a", "1")
	db = ann.seldom(db)
	put(t, db, "b", "1")
	db.writing.Lock()
	p := db.freeze()
	db.writing.Unlock()
	require.NotNil(t, p)
	put(t, db, "b", "2")
	put(t, db, "c", "1")
	want := map[string]string{"a": "1", "b": "2", "c": "1"}
	require.Equal(t, want, docs(t, db))
	db.finish(t.Context(), p)
	require.NoError(t, p.err)
	require.Equal(t, want, docs(t, db))
	ann.restart()
	db = ann.Database(db.id)
	require.Equal(t, want, docs(t, db))
	// One that fails keeps everything in memory, and the next takes it along.
	put(t, db, "d", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, db.Flush(ctx), context.Canceled)
	put(t, db, "e", "1")
	require.NoError(t, db.Flush(t.Context()))
	want["d"], want["e"] = "1", "1"
	require.Equal(t, want, docs(t, db))
	ann.restart()
	require.Equal(t, want, docs(t, ann.Database(db.id)))
	require.False(t, errors.Is(ann.Database(db.id).Alarm(), crdt.ErrMalformed))
}
