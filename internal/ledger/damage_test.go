package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// rot changes one bit of a stored block.
func (d *device) rot(id block.ID) {
	d.t.Helper()
	data, err := d.st.Get(store.Block(id))
	require.NoError(d.t, err)
	data[len(data)/2] ^= 1
	batch := d.st.NewBatch()
	batch.Set(store.Block(id), data)
	require.NoError(d.t, d.st.Commit(d.t.Context(), batch))
}

// One bit of one block has changed on ann's disk. The database says so and takes
// nothing more, neither from her nor from peers; the other one works, and the disk
// is as it was.
func TestARottenBlockIsReportedAndNothingElseChanges(t *testing.T) {
	for _, which := range []string{"commit", "value"} {
		t.Run(which, func(t *testing.T) {
			ann, bob, db, bobs := pair(t, 2)
			other := ann.addDB(db.team, "other")
			ann.tell(db.team, bob)
			put(t, other, "x", "1")
			w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a")}}})
			require.NoError(t, err)
			put(t, db, "last", "1")
			meet(t, db, bobs)
			put(t, bobs, "from bob", "1")

			victim := w.Commit
			if which == "value" {
				u, err := ann.Stored(w.Commit)
				require.NoError(t, err)
				victim = u.Links[u.Parents]
			}
			ann.rot(victim)
			before := ann.disk()
			for range 2 {
				ann.restart()
				db, other = ann.Database(db.id), ann.Database(other.id)
				var damage *DamageError
				require.ErrorAs(t, db.Damage(), &damage)
				require.Equal(t, victim, damage.Block)
				require.ErrorContains(t, db.Damage(), victim.String())
				require.ErrorAs(t, db.View(func(*crdt.Replica) error { return nil }), &damage)
				_, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "no", Body: crdt.Doc{}}})
				require.ErrorAs(t, err, &damage)
				_, err = db.Commit(t.Context(), commits(t, bobs))
				require.ErrorAs(t, err, &damage)
				_, err = ann.Stored(victim)
				require.ErrorAs(t, err, &damage)
				require.Zero(t, db.Heads().Digest, "it claims no state")
				require.Equal(t, before, ann.disk())
				require.Equal(t, map[string]string{"x": "1"}, docs(t, other))
			}
			put(t, other, "y", "2")
			give(t, other, bob.Database(other.id))
			require.Equal(t, docs(t, other), docs(t, bob.Database(other.id)))
		})
	}
}

// A chain cannot be read around a hole: who may write hangs on every link. The
// whole ledger says so and changes nothing.
func TestARottenLinkFailsTheWhole(t *testing.T) {
	ann := newDevice(t, "ann")
	c, _ := ann.found("fam")
	victim := c.Since(nil)[2]
	ann.rot(victim)
	before := ann.disk()
	ann.stop()
	var damage *DamageError
	require.ErrorAs(t, ann.open(), &damage)
	require.Equal(t, victim, damage.Block)
	ann.Ledger = nil
	var err error
	ann.st, err = store.Open("/db", store.Options{FS: ann.fs})
	require.NoError(t, err)
	require.Equal(t, before, ann.disk())
	require.NoError(t, ann.st.Close())
}
