package apitest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

// held waits for other devices, asks everybody, and says who holds what.
func held(t *testing.T, a, b api.API) {
	_, mine, inv := invited(t, a, api.MemberInvite{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := mine.Put(ctx, api.Doc{"_id": "alone"}, api.Cond{Durable: 1})
	require.ErrorIs(t, err, api.ErrUsage, "there is no other device")
	_, err = mine.Get(ctx, "alone")
	require.ErrorIs(t, err, api.ErrNotFound, "nothing was written")
	_, err = mine.Put(ctx, api.Doc{}, api.Cond{Durable: -1})
	require.ErrorIs(t, err, api.ErrUsage)

	_, err = b.Join(ctx, api.JoinRequest{Code: inv.Code, Name: "bob"})
	require.NoError(t, err)
	theirs, err := b.DB(ctx, "fam/notes")
	require.NoError(t, err)
	res, err := mine.Put(ctx, api.Doc{"_id": "milk", "n": 1}, api.Cond{Durable: 1})
	require.NoError(t, err)
	got, err := theirs.Get(ctx, "milk")
	require.NoError(t, err, "it is there when put returns")
	require.Equal(t, res.Rev, got.Rev())
	_, err = mine.Patch(ctx, "milk", api.Doc{"n": 2}, api.Cond{Durable: 1})
	require.NoError(t, err)

	var last api.SyncEvent
	for e, err := range mine.Sync(ctx, true) {
		require.NoError(t, err)
		require.Equal(t, "notes", e.DB)
		last = e
	}
	require.Equal(t, api.SyncEvent{DB: "notes", State: api.Synced, Peers: 1, Equal: 1}, last)

	for _, id := range []string{"", "milk"} {
		e, err := mine.Explain(ctx, id)
		require.NoError(t, err)
		require.Equal(t, id, e.ID)
		require.Equal(t, id != "", e.Rev != "")
		require.Len(t, e.Holders, 1)
		h := e.Holders[0]
		require.Equal(t, []any{"bob", "has", true, true}, []any{h.Member, h.State, h.Signed, h.Online}, h.Why)
		require.NotEmpty(t, h.PeerID)
	}
	_, err = mine.Explain(ctx, "nothing")
	require.ErrorIs(t, err, api.ErrNotFound)
}
