package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// newest is the ID of the newest checkpoint, after a flush.
func newest(t *testing.T, db *Database) block.ID {
	t.Helper()
	require.NoError(t, db.Flush(t.Context()))
	list, err := db.checkpoints()
	require.NoError(t, err)
	return list[0].id
}

// forgeCheckpoint signs what a device's newest checkpoint says, changed.
func forgeCheckpoint(t *testing.T, db *Database, change func(c *crdt.Checkpoint)) block.ID {
	t.Helper()
	c, err := db.openCheckpoint(newest(t, db))
	require.NoError(t, err)
	change(c)
	gen, ok := db.team.writable()
	require.True(t, ok)
	s := &sink{d: db, gen: gen, batch: db.n.o.Store.NewBatch(), waiting: map[block.ID][]byte{}}
	b, err := db.signCheckpoint(c, s)
	require.NoError(t, err)
	require.NoError(t, s.flush(t.Context()))
	return b.ID
}

// shown is what a reader sees: id → field text.
func shown(t *testing.T, db *Database) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, db.Read(func(r *crdt.Replica) error {
		for doc, err := range r.All(crdt.Range{}) {
			require.NoError(t, err)
			out[doc["_id"].(string)], _ = doc["text"].(string)
		}
		return nil
	}))
	return out
}

// joined is a pair of which bob has the chain and no commit.
func joined(t *testing.T, n int) (ann, bob *device, db, bobs *Database) {
	ann, bob = newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs = ann.join(c, bob)
	for i := range n {
		put(t, db, fmt.Sprintf("d%03d", i), fmt.Sprint("text ", i))
	}
	return ann, bob, db, bobs
}

// A device that has nothing shows a checkpoint of ann at once, unaudited, though every
// third fetch fails; commits then come as ever, and as soon as all are here they are
// what is shown, and agree.
func TestAdoptingACheckpoint(t *testing.T) {
	ann, bob, db, bobs := joined(t, 60)
	_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("v")}}})
	require.NoError(t, err)
	put(t, db, "gone", "1")
	_, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: "gone"}})
	require.NoError(t, err)
	id := newest(t, db)
	calls, broken := 0, errors.New("connection lost")
	flaky := func(ctx context.Context, c *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		if calls++; calls%3 == 0 {
			return nil, broken
		}
		return from(ann)(ctx, c, ids)
	}
	for range 10 {
		if err = bobs.Adopt(t.Context(), id, flaky); err == nil {
			break
		}
		require.ErrorIs(t, err, broken)
		require.Empty(t, shown(t, bobs))
	}
	require.NoError(t, err)
	require.Greater(t, calls, 3)
	want := docs(t, db)
	require.Equal(t, want, shown(t, bobs))
	by, ok := bobs.Adopted()
	require.True(t, ok)
	require.Equal(t, ann.Me(), by)
	require.Empty(t, docs(t, bobs), "nothing of it is in the replica")
	require.Empty(t, bobs.Heads().Heads)

	all := commits(t, db)
	_, err = bobs.Commit(t.Context(), all[:40])
	require.NoError(t, err)
	require.Equal(t, want, shown(t, bobs), "what came so far is not all")
	put(t, bobs, "bob's", "1")
	_, err = bobs.Commit(t.Context(), all)
	require.NoError(t, err)
	_, ok = bobs.Adopted()
	require.False(t, ok)
	want["bob's"] = "1"
	require.Equal(t, want, shown(t, bobs))
	require.NoError(t, bobs.Alarm())
	bob.checkIndex(bobs)
}

// Checkpoints that lie. Those that contradict themselves, their commits or the chain
// are refused; one that is consistent and wrong is shown as what its author alone
// vouches for, and exposed by the commits. None changes what a device holds.
func TestLyingCheckpoints(t *testing.T) {
	ann, bob, db, bobs := joined(t, 12)
	old, err := db.openCheckpoint(newest(t, db))
	require.NoError(t, err)
	put(t, db, "d000", "newer")
	for name, x := range map[string]struct {
		change func(c *crdt.Checkpoint)
		want   error
	}{
		"inflated frontier":       {func(c *crdt.Checkpoint) { c.Frontier[0].Seq++ }, ErrAdopt},
		"another's tip":           {func(c *crdt.Checkpoint) { c.Frontier[0].Actor.Incarnation[0]++ }, ErrAdopt},
		"a head of nobody":        {func(c *crdt.Checkpoint) { c.Heads = []block.ID{old.Heads[0]} }, ErrAdopt},
		"a fork inside":           {func(c *crdt.Checkpoint) { c.Forked = true }, ErrAdopt},
		"unknown team links":      {func(c *crdt.Checkpoint) { c.TeamHeads = []block.ID{{1}} }, ErrAdopt},
		"dots above the frontier": {func(c *crdt.Checkpoint) { c.Frontier, c.Heads = old.Frontier, old.Heads }, crdt.ErrLie},
		"another state's tree":    {func(c *crdt.Checkpoint) { c.Root, c.RootHash = old.Root, old.RootHash }, crdt.ErrLie},
		"another digest":          {func(c *crdt.Checkpoint) { c.Accumulator = old.Accumulator }, crdt.ErrLie},
		"fewer documents":         {func(c *crdt.Checkpoint) { c.Documents-- }, crdt.ErrLie},
		"a root of another hash":  {func(c *crdt.Checkpoint) { c.RootHash[0]++ }, crdt.ErrLie},
		"a digest of nothing":     {func(c *crdt.Checkpoint) { c.Entries, c.Documents, c.Root, c.RootHash = 0, 0, block.ID{}, [32]byte{} }, crdt.ErrLie},
	} {
		id := forgeCheckpoint(t, db, x.change)
		require.ErrorIs(t, bobs.Adopt(t.Context(), id, from(ann)), x.want, name)
		require.Empty(t, shown(t, bobs), name)
	}
	// Bytes that are not what they are asked for by do not count as an answer.
	garbage := func(_ context.Context, _ *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		return map[block.ID][]byte{ids[0]: []byte("garbage")}, nil
	}
	require.ErrorContains(t, bobs.Adopt(t.Context(), newest(t, db), garbage), "did not come")

	// An empty tree with a full context: nothing to refuse it by.
	empty := func(c *crdt.Checkpoint) {
		c.Entries, c.Documents, c.Root, c.RootHash, c.Accumulator = 0, 0, block.ID{}, [32]byte{}, [2048]byte{}
	}
	id := forgeCheckpoint(t, db, empty)
	require.NoError(t, bobs.Adopt(t.Context(), id, from(ann)))
	by, ok := bobs.Adopted()
	require.True(t, ok)
	require.Equal(t, ann.Me(), by)
	require.Empty(t, shown(t, bobs))
	give(t, db, bobs)
	require.Equal(t, docs(t, db), shown(t, bobs))
	_, ok = bobs.Adopted()
	require.False(t, ok)
	var lie *Lie
	require.ErrorAs(t, bobs.Alarm(), &lie)
	require.Equal(t, ann.Me(), lie.Device)
	require.Equal(t, id, lie.Checkpoint)

	// Who holds commits takes none.
	before := docs(t, bobs)
	require.ErrorIs(t, bobs.Adopt(t.Context(), id, from(ann)), ErrAdopt)
	require.Equal(t, before, shown(t, bobs))
	bob.checkIndex(bobs)
}

// A reader's checkpoint counts for nobody, nor does one whose author did not know that
// somebody's work was cut.
func TestWhoseCheckpointCounts(t *testing.T) {
	ann, bob, db, bobs := joined(t, 3)
	eve := newDevice(t, "eve")
	c := db.team
	_, eves := ann.join(c, eve)
	ann.tell(c, bob)
	give(t, db, bobs)
	cut := demote(bob, db)
	put(t, bobs, "late", "1")
	give(t, bobs, db)
	before := newest(t, db) // of ann, with bob's work
	read := newest(t, bobs)
	require.NoError(t, eves.Adopt(t.Context(), before, from(ann)))
	eve.restart()
	eves = eve.Database(eves.id)
	_, ok := eves.Adopted()
	require.False(t, ok, "an adoption does not outlive the ledger")

	ann.link(c, cut, nil)
	ann.tell(c, eve)
	require.ErrorIs(t, eves.Adopt(t.Context(), before, from(ann)), ErrAdopt)
	require.ErrorIs(t, eves.Adopt(t.Context(), read, from(bob)), ErrAdopt)
	require.NoError(t, eves.Adopt(t.Context(), newest(t, db), from(ann)))
	require.NotContains(t, shown(t, eves), "late")
	give(t, db, eves)
	require.NoError(t, eves.Alarm())
	require.Equal(t, docs(t, db), shown(t, eves))
}
