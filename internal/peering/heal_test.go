package peering

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/store"
)

// A block rots on one device while it is running. The first read that meets it
// fails; in the background the block is fetched from the other member, and the same
// read works.
func TestARottenBlockComesBackFromAPeer(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := a.found("fam")
	first := put(t, db, "d", crdt.Doc{"n": int64(1)})
	put(t, db, "d", crdt.Doc{"n": int64(2)})
	_, theirs := b.join(a, c)
	same(t, db, theirs)

	rot := func(id block.ID) {
		data, err := a.store.Get(store.Block(id))
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		batch := a.store.NewBatch()
		batch.Set(store.Block(id), data)
		require.NoError(t, a.store.Commit(t.Context(), batch))
	}
	rot(first)
	_, err := db.DocAt(t.Context(), "d", first.String())
	require.ErrorContains(t, err, first.String())
	hosttest.Wait(t, "the block to be healed", func() bool { return len(a.ledger.Rotten()) == 0 })
	doc, err := db.DocAt(t.Context(), "d", first.String())
	require.NoError(t, err)
	require.EqualValues(t, 1, doc["n"])

	// Rot that no read has met is found by looking, and repaired by asking.
	rot(first)
	out, err := db.Repair(within(t), a.Fetch)
	require.NoError(t, err)
	require.Empty(t, out.Bad)
	rep, err := db.Verify(t.Context(), true)
	require.NoError(t, err)
	require.Empty(t, rep.Bad)
}

// With nobody there nothing is lost and nothing hangs; who connects heals.
func TestRotWaitsForAPeer(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := a.found("fam")
	first := put(t, db, "d", nil)
	_, theirs := b.join(a, c)
	same(t, db, theirs)
	require.NoError(t, a.host.Network().ClosePeer(b.host.ID()))

	data, err := a.store.Get(store.Block(first))
	require.NoError(t, err)
	batch := a.store.NewBatch()
	batch.Set(store.Block(first), data[:len(data)-1])
	require.NoError(t, a.store.Commit(t.Context(), batch))
	_, err = a.ledger.Stored(first)
	require.Error(t, err)
	connect(t, a, b) // or the dial loop was faster
	hosttest.Wait(t, "the block to be healed", func() bool { return len(a.ledger.Rotten()) == 0 })
	_, err = a.ledger.Stored(first)
	require.NoError(t, err)
}
