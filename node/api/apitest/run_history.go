package apitest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

// value returns a field of a document as it was at a point, nil if it was not there.
func value(t *testing.T, db api.DB, id, point string) (v any) {
	t.Helper()
	d, err := db.Get(t.Context(), id, api.GetOptions{AsOf: point})
	if err != nil {
		require.ErrorIs(t, err, api.ErrNotFound, point)
		return nil
	}
	return d["n"]
}

func history(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	first := put(t, db, api.Doc{"_id": "x", "n": 1})
	second, err := db.Bulk(ctx, []api.Write{{Doc: api.Doc{"_id": "x", "n": 2}}, {Doc: api.Doc{"_id": "y", "n": 2}}})
	require.NoError(t, err)
	gone, err := db.Delete(ctx, "x")
	require.NoError(t, err)

	all, err := collect(db.Log(ctx, api.LogOptions{}))
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, []string{gone.Commit, second[0].Commit, first.Commit}, []string{all[0].CID, all[1].CID, all[2].CID}, "newest first")
	require.Equal(t, []string{second[0].Commit}, all[0].Parents)
	require.Empty(t, all[2].Parents)
	require.Equal(t, []api.CommitOp{{ID: "x", Op: "write"}, {ID: "y", Op: "write"}}, all[1].Ops)
	require.Equal(t, []api.CommitOp{{ID: "x", Op: "delete"}}, all[0].Ops)
	for _, c := range all {
		require.True(t, c.Valid)
		require.Equal(t, "ann", c.Member)
		require.False(t, c.Time.IsZero())
		require.Empty(t, c.Rev)
	}

	revs, err := collect(db.Log(ctx, api.LogOptions{ID: "x"}))
	require.NoError(t, err)
	require.Len(t, revs, 3)
	require.True(t, revs[0].Deleted)
	require.Equal(t, second[0].Rev, revs[1].Rev)
	require.Equal(t, first.Rev, revs[2].Rev)
	newest, err := collect(db.Log(ctx, api.LogOptions{ID: "x", Limit: 1}))
	require.NoError(t, err)
	require.Equal(t, revs[:1], newest)
	void, err := collect(db.Log(ctx, api.LogOptions{Void: true}))
	require.NoError(t, err)
	require.Empty(t, void)
	_, err = collect(db.Log(ctx, api.LogOptions{ID: "nobody"}))
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = collect(db.Log(ctx, api.LogOptions{Limit: -1}))
	require.ErrorIs(t, err, api.ErrUsage)
}

func asOf(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	first := put(t, db, api.Doc{"_id": "x", "n": 1})
	meta, err := db.Get(ctx, "x", api.GetOptions{Meta: true})
	require.NoError(t, err)
	when, ok := meta["_meta"].(map[string]any)["time"].(string)
	require.True(t, ok)
	_, err = db.CreateSnapshot(ctx, "before the trip", "")
	require.NoError(t, err)
	second := put(t, db, api.Doc{"_id": "x", "n": 2})
	put(t, db, api.Doc{"_id": "y", "n": 3})

	at, err := time.Parse(time.RFC3339Nano, when)
	require.NoError(t, err)
	early := at.Add(-time.Second).Format(time.RFC3339Nano)
	for point, want := range map[string]any{
		"": int64(2), "now": int64(2), first.Commit: int64(1), first.Commit[:24]: int64(1), second.Commit: int64(2),
		"before the trip": int64(1), early: nil, "24h ago": nil, "0s ago": int64(2),
	} {
		require.Equal(t, want, value(t, db, "x", point), "as of %q", point)
	}
	docs, err := collect(db.All(ctx, api.Range{AsOf: first.Commit}))
	require.NoError(t, err)
	require.Len(t, docs, 1)
	require.Equal(t, first.Rev, docs[0].Rev())
	for _, none := range []string{"bafkreiaaaaaaaaaaaaaa", "no such label"} {
		_, err = collect(db.All(ctx, api.Range{AsOf: none}))
		require.ErrorIs(t, err, api.ErrNotFound, none)
	}
}

func snapshots(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	res := put(t, db, api.Doc{"_id": "x", "n": 1})
	made, err := db.CreateSnapshot(ctx, "v1/beta", "now")
	require.NoError(t, err)
	require.Equal(t, []string{res.Commit}, made.Heads)
	require.False(t, made.Created.IsZero())
	_, err = db.CreateSnapshot(ctx, "v1/beta", "now")
	require.ErrorIs(t, err, api.ErrExists)
	_, err = db.CreateSnapshot(ctx, "2h ago", "now")
	require.ErrorIs(t, err, api.ErrUsage)
	_, err = db.CreateSnapshot(ctx, "v2", "nowhere")
	require.ErrorIs(t, err, api.ErrNotFound)
	all, err := collect(db.Snapshots(ctx))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "v1/beta", all[0].Label)
	require.NoError(t, db.DeleteSnapshot(ctx, "v1/beta"))
	require.ErrorIs(t, db.DeleteSnapshot(ctx, "v1/beta"), api.ErrNotFound)
	require.Equal(t, int64(1), value(t, db, "x", res.Commit), "the commits stay")
}

func diffAndRevert(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	first := put(t, db, api.Doc{"_id": "x", "n": 1, "in": map[string]any{"a": 1, "b": 2}})
	put(t, db, api.Doc{"_id": "goes"})
	put(t, db, api.Doc{"_id": "stays"})
	from, err := db.CreateSnapshot(ctx, "from", "")
	require.NoError(t, err)
	second := put(t, db, api.Doc{"_id": "x", "in": map[string]any{"a": 1, "b": 3}})
	_, err = db.Delete(ctx, "goes")
	require.NoError(t, err)
	put(t, db, api.Doc{"_id": "new", "n": 1})

	rows, err := collect(db.Diff(ctx, "", from.Label, "now"))
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, api.OpRemove, rows[0].Op)
	require.Empty(t, rows[0].To)
	require.Equal(t, api.DocDiff{ID: "new", Op: api.OpAdd, To: rows[1].To, Patch: api.Doc{"n": int64(1)}}, rows[1])
	require.Equal(t, api.DocDiff{
		ID: "x", Op: api.OpChange, From: first.Rev, To: second.Rev, Patch: api.Doc{"n": nil, "in": map[string]any{"b": int64(3)}},
	}, rows[2])
	one, err := collect(db.Diff(ctx, "x", first.Rev, second.Rev))
	require.NoError(t, err)
	require.Equal(t, rows[2:], one, "of one document revisions are points too")
	same, err := collect(db.Diff(ctx, "", "now", "now"))
	require.NoError(t, err)
	require.Empty(t, same)
	_, err = collect(db.Diff(ctx, "", "nowhere", "now"))
	require.ErrorIs(t, err, api.ErrNotFound)

	for id, to := range map[string]string{"x": first.Rev, "goes": "from", "new": "from"} {
		res, err := db.Revert(ctx, id, to)
		require.NoError(t, err)
		require.NotEmpty(t, res.Commit)
	}
	rows, err = collect(db.Diff(ctx, "", from.Label, "now"))
	require.NoError(t, err)
	require.Empty(t, rows, "everything reads as it did")
	again, err := db.Revert(ctx, "x", first.Commit)
	require.NoError(t, err)
	require.Empty(t, again.Commit, "nothing to change")
	all, err := collect(db.Log(ctx, api.LogOptions{}))
	require.NoError(t, err)
	require.Len(t, all, 9, "and nothing was lost")
	_, err = db.Revert(ctx, "x", "1-0123456789abcdef")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Revert(ctx, "nobody", "now")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Revert(ctx, "x", "")
	require.ErrorIs(t, err, api.ErrUsage)
}

func verification(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	for range 3 {
		put(t, db, api.Doc{})
	}
	r, err := db.Verify(ctx, false)
	require.NoError(t, err)
	require.True(t, r.OK)
	require.EqualValues(t, 3, r.Checked)
	require.Zero(t, r.Digests)
	r, err = db.Verify(ctx, true)
	require.NoError(t, err)
	require.EqualValues(t, 3, r.Digests)
	require.Empty(t, r.Bad)
	r, err = db.Repair(ctx)
	require.NoError(t, err)
	require.True(t, r.OK)
	require.Zero(t, r.Healed)
	require.False(t, r.Rebuilt)
}

func compaction(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	first := put(t, db, api.Doc{"_id": "x", "n": 1})
	_, err := db.CreateSnapshot(ctx, "early", "now")
	require.NoError(t, err)
	second := put(t, db, api.Doc{"_id": "x", "n": 2})
	put(t, db, api.Doc{"_id": "y", "n": 3})

	_, err = db.Compact(ctx, api.CompactOptions{Keep: "a while"})
	require.ErrorIs(t, err, api.ErrUsage)
	s, err := db.Compact(ctx, api.CompactOptions{})
	require.NoError(t, err)
	require.Zero(t, s.Commits, "nothing is as old as that")
	require.Len(t, s.Held, 1)
	require.Equal(t, "young", s.Held[0].Why)
	require.EqualValues(t, 3, s.Held[0].Commits)
	s, err = db.Compact(ctx, api.CompactOptions{Keep: "0", DryRun: true})
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Commits)
	require.Equal(t, int64(1), value(t, db, "x", first.Commit), "it was only asked")

	s, err = db.Compact(ctx, api.CompactOptions{Keep: "0"})
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Commits)
	require.False(t, s.Oldest.IsZero())
	require.False(t, s.Waiting.IsZero())
	third := put(t, db, api.Doc{"_id": "x", "n": 4})
	for range 2 {
		for point, want := range map[string]any{"now": int64(4), "early": int64(1), third.Commit: int64(4)} {
			require.Equal(t, want, value(t, db, "x", point), "as of %q", point)
		}
		for _, point := range []string{first.Commit, second.Commit} {
			_, err = db.Get(ctx, "x", api.GetOptions{AsOf: point})
			require.ErrorIs(t, err, api.ErrCompacted, point)
		}
		all, err := collect(db.Log(ctx, api.LogOptions{}))
		require.NoError(t, err)
		require.Len(t, all, 4)
		require.False(t, all[0].Compacted)
		require.True(t, all[3].Compacted)
		require.Empty(t, all[3].Ops)
		one, err := collect(db.Log(ctx, api.LogOptions{ID: "x"}))
		require.NoError(t, err)
		require.Len(t, one, 2)
		require.Equal(t, second.Commit, one[1].CID)
		require.Equal(t, second.Rev, one[1].Rev)
		r, err := db.Verify(ctx, true)
		require.NoError(t, err)
		require.True(t, r.OK)
		require.EqualValues(t, 3, r.Compacted)

		s, err = db.GC(ctx, api.GCOptions{})
		require.NoError(t, err)
		require.Zero(t, s.Blocks, "a day has not passed, or all is gone")
		s, err = db.GC(ctx, api.GCOptions{Now: true, DryRun: true})
		require.NoError(t, err)
		before := s.Blocks
		s, err = db.GC(ctx, api.GCOptions{Now: true})
		require.NoError(t, err)
		require.Equal(t, before, s.Blocks)
	}
	require.Zero(t, s.Freed, "the second time there is nothing left")
	changes, err := collect(db.Changes(ctx, api.ChangesOptions{}))
	require.NoError(t, err)
	require.Len(t, changes, 2)
}
