package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/store"
)

// Where memory and disk could come apart: what cannot be read half way, batches that
// failed and are there all the same, verdicts between two batches.

// many fills a database, so that its tree has several nodes, and writes a checkpoint.
func many(t *testing.T, db *Database) {
	t.Helper()
	writes := make([]crdt.Write, 400)
	for i := range writes {
		writes[i] = crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("d%03d", i), Body: crdt.Doc{"text": "x"}}
	}
	_, err := db.Write(t.Context(), writes)
	require.NoError(t, err)
	require.NoError(t, db.Flush(t.Context()))
}

// rotLeaves spoils all nodes of the newest checkpoint but the root.
func (d *device) rotLeaves(db *Database) {
	d.t.Helper()
	list, err := db.checkpoints()
	require.NoError(d.t, err)
	c, err := db.openCheckpoint(list[0].id)
	require.NoError(d.t, err)
	var nodes []tree.Ref
	for ref, err := range db.replica.Nodes(d.t.Context(), tree.Ref{Hash: c.RootHash, ID: c.Root}) {
		require.NoError(d.t, err)
		nodes = append(nodes, ref)
	}
	require.Greater(d.t, len(nodes), 1)
	for _, ref := range nodes[1:] { // the root comes first
		d.rot(ref.ID)
	}
}

// A node of the tree rots, and a commit behind the checkpoint needs it when the database
// is opened. No commit is lost for that: the checkpoint is passed over.
func TestANodeRotsUnderWhatIsPlayedAtOpen(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	many(t, db)
	db = ann.seldom(db)
	put(t, db, "d007", "new")
	put(t, db, "other", "new")
	want, heads := docs(t, db), db.Heads()
	ann.rotLeaves(db)
	for range 2 {
		ann.restart()
		db = ann.Database(db.id)
		require.NoError(t, db.Damage())
		require.Equal(t, want, docs(t, db))
		require.Equal(t, heads, db.Heads())
		ann.checkIndex(db)
	}
}

// A node rots under a database that is open. A write that needs it fails, and is as if
// it had never been; the database says that it is damaged, and heals without a restart.
func TestANodeRotsUnderAWrite(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	many(t, db)
	db = ann.seldom(db)
	put(t, db, "other", "1")
	want, heads := docs(t, db), db.Heads()
	bob := newDevice(t, "bob")
	_, bobs := ann.join(db.team, bob)
	meet(t, db, bobs)
	put(t, bobs, "d007", "bob")
	db = ann.seldom(db)
	ann.rotLeaves(db)
	_, err := db.Commit(t.Context(), commits(t, bobs))
	require.Error(t, err)
	require.Error(t, db.Damage())
	require.NotZero(t, ann.damaged.Load())
	require.NoError(t, ann.Heal(t.Context(), nobody))
	require.Empty(t, ann.Rotten())
	require.NoError(t, db.Damage())
	require.Equal(t, want, docs(t, db))
	require.Equal(t, heads, db.Heads())
	ann.checkIndex(db)
	meet(t, db, bobs)
	require.Equal(t, "bob", docs(t, db)["d007"])
}

// A node rots that only readers need. Nobody else has it; it is made again.
func TestANodeThatNobodyHasIsMadeAgain(t *testing.T) {
	ann := newDevice(t, "ann").flushing()
	_, db := ann.found("fam")
	many(t, db)
	want := docs(t, db)
	db = ann.seldom(db)
	ann.rotLeaves(db)
	require.ErrorAs(t, db.View(func(r *crdt.Replica) error { _, _, err := r.Get("d007"); return err }), new(*DamageError))
	require.True(t, ann.NeedsHealing())
	require.NoError(t, ann.Heal(t.Context(), nobody))
	require.Equal(t, want, docs(t, db))
	require.False(t, ann.NeedsHealing())
	ann.restart()
	require.Equal(t, want, docs(t, ann.Database(db.id)))
}

// A batch of several commits fails, and the disk has it all the same. What is stored in
// its place when the disk works again stands alone: the next start finds no children
// without parents.
func TestWhatAFailedBatchLeftIsCutOff(t *testing.T) {
	disk := &failing{FS: store.NewMem()}
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	bob.stop()
	bob.fs = disk
	require.NoError(t, bob.open())
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	for i := range 5 {
		put(t, db, fmt.Sprint("d", i), "1")
	}
	disk.sync.Store(true)
	_, err := bobs.Commit(t.Context(), commits(t, db))
	require.Error(t, err)
	require.Empty(t, docs(t, bobs))
	disk.sync.Store(false)
	put(t, bobs, "mine", "1")
	bob.restart()
	bobs = bob.Database(db.id)
	require.NoError(t, bobs.Damage())
	require.Equal(t, "1", docs(t, bobs)["mine"])
	bob.checkIndex(bobs)
	meet(t, db, bobs)
	require.Len(t, docs(t, bobs), 6)
}

// The last batch of a flush fails, and is there all the same. The feed shows every row
// once, also where the next flush wrote it again.
func TestWhatAFailedFlushLeftIsNotToldTwice(t *testing.T) {
	disk := &failing{FS: store.NewMem()}
	ann := newDevice(t, "ann")
	ann.flush = FlushAt{Close: 1 << 30}
	ann.stop()
	ann.fs = disk
	require.NoError(t, ann.open())
	_, db := ann.found("fam")
	for i := range 5 {
		put(t, db, fmt.Sprint("d", i), "1")
	}
	disk.sync.Store(true)
	require.Error(t, db.Flush(t.Context()))
	disk.sync.Store(false)
	put(t, db, "d2", "2")
	put(t, db, "d9", "2")
	require.NoError(t, db.Flush(t.Context()))
	want := []string{"d0", "d1", "d3", "d4", "d2", "d9"}
	for range 2 {
		got, _ := feed(t, db, "")
		require.Equal(t, want, got)
		ann.restart()
		db = ann.Database(db.id)
	}
}

// A checkpoint is written between a link that takes something away and the verdicts that
// follow from it, and the power goes. The next start judges again.
func TestACheckpointBetweenALinkAndItsVerdicts(t *testing.T) {
	ann, bob, db, bobs := pair(t, 2)
	db = ann.seldom(db)
	cut := demote(bob, db)
	put(t, bobs, "late", "bob")
	give(t, bobs, db)
	c := db.team
	before := docs(t, db)
	require.Contains(t, before, "late")
	carl := ann.twin(store.NewMem(), "elsewhere") // writes the link where nobody judges
	require.NoError(t, carl.copyTeam(ann, c))
	carl.link(carl.Chain(c.id), cut, nil)
	_, err := c.take(t.Context(), carl.links(carl.Chain(c.id)))
	require.NoError(t, err)
	require.NoError(t, db.Flush(t.Context()))
	ann.restart()
	db = ann.Database(db.id)
	require.NotContains(t, docs(t, db), "late")
	ann.restart()
	db = ann.Database(db.id)
	require.NotContains(t, docs(t, db), "late")
	require.NotZero(t, db.Heads().Void)
}

// A verdict changes what was read, and no checkpoint can be written. Where its rows stand
// nobody will know after a restart: cursors of behind them are refused, not believed.
func TestACursorBehindRowsThatAreNotWrittenDown(t *testing.T) {
	ann, bob, db, bobs := pair(t, 2)
	db = ann.seldom(db)
	cut := demote(bob, db)
	put(t, bobs, "late", "bob")
	give(t, bobs, db)
	_, before := feed(t, db, "")
	db.noFlush = true
	ann.link(db.team, cut, nil)
	rows, after := feed(t, db, "")
	require.Equal(t, []string{"d0", "d1", "late"}, rows)
	put(t, db, "d0", "again")
	ann.restart()
	db = ann.Database(db.id)
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		c, err := crdt.ParseCursor(after)
		require.NoError(t, err)
		for _, err := range r.Changes(c) {
			require.ErrorIs(t, err, crdt.ErrCursor)
		}
		return nil
	}))
	rows, _ = feed(t, db, before)
	require.ElementsMatch(t, []string{"late", "d0"}, rows, "those of before are good")
}

// The index is read in portions; none of it is passed over between two of them.
func TestAReplayOfSeveralPortions(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	for i := range maxIndexed + 1 {
		put(t, db, fmt.Sprint("d", i%300), fmt.Sprint(i))
	}
	db = ann.seldom(db)
	require.NoError(t, db.Damage())
	want, heads := docs(t, db), db.Heads()
	require.Len(t, want, 300)
	require.NoError(t, ann.st.DropDerived(t.Context()))
	ann.restart()
	db = ann.Database(db.id)
	require.NoError(t, db.Damage())
	require.Equal(t, heads, db.Heads())
	require.Equal(t, want, docs(t, db))
	ann.checkIndex(db)
}
