package ledger

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/vault"
)

// D29: a head is offered whose blocks cannot be fetched yet. The replica stays where
// it is, readers see no error, and it catches up when the blocks come.
func TestD29HeadsWithoutBlocks(t *testing.T) {
	_, bob, db, bobs := pair(t, 2)
	meet(t, db, bobs)
	before, heads := docs(t, bobs), bobs.Heads()
	_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a")}}})
	require.NoError(t, err)
	put(t, db, "last", "1")
	all := commits(t, db)

	out, err := bobs.Commit(t.Context(), all[len(all)-1:]) // the head alone
	require.NoError(t, err)
	require.NoError(t, out.Rejected)
	require.Len(t, out.Missing, 1)
	bare := all[len(all)-2]
	bare.Linked = nil
	out, err = bobs.Commit(t.Context(), []Candidate{bare, all[len(all)-1]})
	require.NoError(t, err)
	require.NoError(t, out.Rejected)
	require.Len(t, out.Needs, 1)
	require.Equal(t, before, docs(t, bobs))
	require.Equal(t, heads, bobs.Heads())
	require.NoError(t, bobs.Damage())
	bob.checkIndex(bobs)

	give(t, db, bobs)
	require.Equal(t, docs(t, db), docs(t, bobs))
}

// D30: a tampered envelope, an author without a seat, another team's key: refused,
// and nothing has changed.
func TestD30WhatIsForgedChangesNothing(t *testing.T) {
	ann, bob, db, bobs := pair(t, 2)
	meet(t, db, bobs)
	before, disk := docs(t, bobs), bob.disk()
	put(t, db, "new", "1")
	all := commits(t, db)
	good := all[len(all)-1].Data

	offer := func(what string, data []byte) {
		t.Helper()
		out, err := bobs.Commit(t.Context(), []Candidate{{Data: data}})
		require.NoError(t, err, what)
		require.Zero(t, out.Applied, what)
		require.Equal(t, before, docs(t, bobs), what)
	}
	for i := 0; i < len(good); i += 3 {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		offer("a flipped bit", bad)
	}
	offer("cut short", good[:len(good)-1])
	offer("with more behind it", append(bytes.Clone(good), 0))

	// The same body under another author's signature: a device that has no seat.
	stranger, err := vault.NewIdentity(ann.o.Rand)
	require.NoError(t, err)
	u, err := block.Parse(good)
	require.NoError(t, err)
	gen, ok := db.team.Generation(u.GenerationHint)
	require.True(t, ok)
	b, err := u.Resolve(db.team.id, gen)
	require.NoError(t, err)
	h := b.Header
	h.Author = stranger.Device()
	forged, err := stranger.SignBlock(h, b.Body)
	require.NoError(t, err)
	offer("a stranger's signature", forged.Data)

	// A commit of another team of the same device.
	other, notes := ann.found("other")
	put(t, notes, "new", "1")
	foreign := commits(t, notes)
	offer("another team's", foreign[0].Data)
	require.NotEqual(t, other.id, db.team.id)
	require.Equal(t, disk, bob.disk())

	out, err := bobs.Commit(t.Context(), []Candidate{{Data: good}})
	require.NoError(t, err)
	require.Equal(t, 1, out.Applied)
}
