package ledger

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// below takes away the blocks and index entries of all commits below the floor, as gc
// does once the grace is over.
func (d *device) below(db *Database) (gone []block.ID) {
	d.t.Helper()
	batch := d.st.NewBatch()
	require.NoError(d.t, db.View(func(r *crdt.Replica) error {
		for c, void := range r.Commits() {
			if r.Below(c.ID) && void == "" {
				batch.Delete(store.Block(c.ID))
				gone = append(gone, c.ID)
			}
		}
		return nil
	}))
	for e, err := range d.st.Scan(store.Commits(db.id)) {
		require.NoError(d.t, err)
		if n, _ := store.Arrival(e.Key); n < db.floor.Arrival {
			batch.Delete(e.Key)
		}
	}
	require.NoError(d.t, d.st.Commit(d.t.Context(), batch))
	return gone
}

// floorHere lets the history begin at the present.
func (d *Database) floorHere(ctx context.Context) error {
	_, err := d.floorNow(ctx, d.replica.Len())
	return err
}

// A history that begins at a floor opens, is read and written as if it were whole:
// from its checkpoints, and without any from the ground.
func TestAHistoryBeginsAtAFloor(t *testing.T) {
	for name, spoil := range map[string]func(d *device, db *Database){
		"nothing": func(*device, *Database) {},
		"both checkpoints": func(d *device, db *Database) {
			list, err := db.checkpoints()
			require.NoError(d.t, err)
			for _, s := range list {
				if s.id != db.floor.Checkpoint {
					d.rot(s.id)
				}
			}
		},
		"their records":      func(d *device, db *Database) { d.rotDerived(db.derivedAll('r')) },
		"the graph":          func(d *device, db *Database) { d.rotDerived(db.derivedAll('g')) },
		"everything derived": func(d *device, _ *Database) { require.NoError(d.t, d.st.DropDerived(d.t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			ann := newDevice(t, "ann").flushing()
			ann.flush.Garbage = -1 << 20 // collected with every flush
			ann.restart()
			_, db := ann.found("fam")
			for i := range 12 {
				put(t, db, fmt.Sprint("d", i%8), fmt.Sprint("text ", i))
			}
			require.NoError(t, db.floorHere(t.Context()))
			require.Equal(t, 12, db.replica.Floor())
			require.Len(t, ann.below(db), 12)
			for i := range 10 {
				put(t, db, fmt.Sprint("d", i%4), fmt.Sprint("later ", i))
				require.NoError(t, db.Flush(t.Context()))
			}
			want, heads := docs(t, db), db.Heads()
			spoil(ann, db)
			for range 2 {
				ann.restart()
				db = ann.Database(db.id)
				require.NoError(t, db.Damage())
				require.Equal(t, 12, db.replica.Floor())
				require.Equal(t, want, docs(t, db))
				require.Equal(t, heads, db.Heads())
				require.Len(t, full(t, db), len(want))
			}
			_, cursor := feed(t, db, "")
			put(t, db, "d9", "last")
			ann.restart()
			db = ann.Database(db.id)
			ids, _ := feed(t, db, cursor)
			require.Equal(t, []string{"d9"}, ids, "the feed that began at the ground is kept")
			require.NoError(t, db.reload(), "from the ground")
			want["d9"] = "last"
			require.Equal(t, want, docs(t, db))
			require.NoError(t, db.floorHere(t.Context()), "and the floor rises")
			require.Equal(t, 23, db.replica.Floor())
			ann.below(db)
			ann.restart()
			db = ann.Database(db.id)
			require.Equal(t, want, docs(t, db))
			_, err := db.read(db.replica.Heads()[0])
			require.Error(t, err)
		})
	}
}

// nobody is a Fetch when no member is there.
func nobody(context.Context, *Chain, []block.ID) (map[block.ID][]byte, error) { return nil, nil }

// Ann compacted what bob wrote; then his right to write ends before some of it. She
// shows what she showed, says that she is repairing, and goes on writing; when a member
// comes who has the old commits, she shows what he shows.
func TestARemovalReachesBelowTheFloor(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		ann, bob, dan := newDevice(t, "ann").flushing(), newDevice(t, "bob"), newDevice(t, "dan")
		c, db := ann.found("fam")
		_, bobs := ann.join(c, bob)
		_, dans := ann.join(c, dan)
		ann.tell(c, bob)
		put(t, db, "a", "ann")
		meet(t, db, bobs)
		put(t, bobs, "a", "bob")
		put(t, bobs, "large", large("b"))
		give(t, bobs, db)
		early := demote(bob, db)
		put(t, bobs, "a", "late")
		put(t, bobs, "b", large("c"))
		meet(t, bobs, db)
		put(t, db, "c", "on top")
		give(t, db, dans)
		was := docs(t, db)
		require.Equal(t, "late", was["a"])
		require.NoError(t, db.floorHere(t.Context()))
		ann.below(db)
		ann.link(c, early, nil)
		if restarted {
			ann.restart()
			db = ann.Database(db.id)
		}
		require.ErrorIs(t, db.Repairing(), crdt.ErrHistory)
		require.NoError(t, db.Damage())
		require.True(t, ann.NeedsHealing())
		require.Equal(t, was, docs(t, db))
		require.Error(t, ann.Heal(t.Context(), nobody))
		put(t, db, "d", "meanwhile")
		was["d"] = "meanwhile"
		require.Equal(t, was, docs(t, db))

		ann.tell(c, dan)
		give(t, db, dans)
		require.NoError(t, ann.Heal(t.Context(), from(dan)))
		require.NoError(t, db.Repairing())
		require.False(t, ann.NeedsHealing())
		require.Equal(t, docs(t, dans), docs(t, db))
		require.Equal(t, dans.Heads(), db.Heads())
		require.Equal(t, "bob", docs(t, db)["a"])
		require.Nil(t, db.floor, "the whole history is here again")
		require.Zero(t, db.replica.Floor())
		ann.checkIndex(db)
		for range 2 {
			ann.restart()
			db = ann.Database(db.id)
			require.NoError(t, db.Damage())
			require.Equal(t, dans.Heads(), db.Heads())
			ann.checkIndex(db)
			require.NoError(t, db.reload())
		}
		require.Empty(t, verify(t, db, true).Bad)
		require.NoError(t, db.floorHere(t.Context()))
		ann.below(db)
		ann.restart()
		db = ann.Database(db.id)
		require.Equal(t, dans.Heads(), db.Heads())
		require.NoError(t, db.reload())
		require.Equal(t, dans.Heads(), db.Heads())
	}
}
