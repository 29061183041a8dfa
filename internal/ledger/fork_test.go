package ledger

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// clone copies the disk of a device that is not running.
func (d *device) clone() store.FS {
	d.t.Helper()
	disk := vfs.NewMem()
	ok, err := vfs.Clone(d.fs, disk, "/db", "/db")
	require.NoError(d.t, err)
	require.True(d.t, ok)
	return disk
}

func forks(t *testing.T, db *Database) (n int) {
	t.Helper()
	require.NoError(t, db.View(func(r *crdt.Replica) error { n = len(r.Forks()); return nil }))
	return n
}

// Ann copies her directory to another place and goes on in both. The copy notices
// where it is and writes under an actor of its own.
func TestACopiedDirectoryDoesNotFork(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	put(t, db, "both", "0")
	ann.stop()
	copied := ann.twin(ann.clone(), "usb stick")
	require.NoError(t, ann.open())
	db, other := ann.Database(db.id), copied.Database(db.id)
	require.NotEqual(t, db.actor, other.actor)
	for i := range 3 {
		put(t, db, "ann", fmt.Sprint(i))
		put(t, other, "copy", fmt.Sprint(i))
		put(t, db, "both", fmt.Sprint("ann ", i))
		put(t, other, "both", fmt.Sprint("copy ", i))
	}
	meet(t, db, other)
	require.Zero(t, forks(t, db))
	require.Zero(t, db.Heads().Void)
	require.Equal(t, docs(t, db), docs(t, other))
	actor := other.actor
	copied.restart()
	require.Equal(t, actor, copied.Database(db.id).actor, "the place has not changed again")
}

// A copy that cannot be told from the original writes under the same actor. When
// the two meet, one line of commits stands on both, and whoever's was void goes on
// under a new actor; so does the other, because it cannot know who else writes.
func TestAForkedActorIsSettledAlike(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	put(t, db, "both", "0")
	ann.stop()
	copied := ann.twin(ann.clone(), ann.place)
	require.NoError(t, ann.open())
	db, other := ann.Database(db.id), copied.Database(db.id)
	require.Equal(t, db.actor, other.actor)
	for i := range 3 {
		put(t, db, "both", fmt.Sprint("ann ", i))
		put(t, db, fmt.Sprint("ann ", i), "1")
		put(t, other, "both", fmt.Sprint("copy ", i))
		put(t, other, fmt.Sprint("copy ", i), "1")
	}
	meet(t, db, other)
	require.Equal(t, 6, forks(t, db), "every seq that both used")
	require.NotZero(t, db.Heads().Void)
	require.Len(t, docs(t, db), 4, "one side's line stands")
	require.Equal(t, docs(t, db), docs(t, other))

	was := db.actor
	put(t, db, "after", "ann")
	put(t, other, "later", "copy")
	require.NotEqual(t, was, db.actor)
	require.NotEqual(t, was, other.actor)
	require.NotEqual(t, db.actor, other.actor)
	meet(t, db, other)
	require.Len(t, docs(t, db), 6)
	for _, d := range []*device{ann, copied} {
		heads, actor := d.Database(db.id).Heads(), d.Database(db.id).actor
		d.restart()
		require.Equal(t, heads, d.Database(db.id).Heads())
		require.Equal(t, actor, d.Database(db.id).actor)
		d.checkIndex(d.Database(db.id))
	}
}

// A backup from yesterday, put back in the same place, continues where the others
// are: nothing it had acknowledged before is written over.
func TestARolledBackDiskComesBackByItsPeers(t *testing.T) {
	ann, bob, db, bobs := pair(t, 3)
	ann.stop()
	backup := ann.clone()
	require.NoError(t, ann.open())
	db = ann.Database(db.id)
	put(t, db, "today", "1")
	give(t, db, bobs)
	ann.stop()
	ann.fs = backup
	require.NoError(t, ann.open())
	db = ann.Database(db.id)
	put(t, db, "today", "2") // the same seq again
	meet(t, db, bobs)
	require.Equal(t, 1, forks(t, db))
	require.Equal(t, docs(t, db), docs(t, bobs))
	put(t, db, "tomorrow", "1")
	meet(t, db, bobs)
	require.Len(t, docs(t, bobs), 5)
	for _, d := range []*device{ann, bob} {
		heads := d.Database(db.id).Heads()
		d.restart()
		require.Equal(t, heads, d.Database(db.id).Heads())
	}
}
