package apitest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

// Open returns two fresh nodes that can reach each other and share no team. The
// user of the first is ann, of the second bob. It cleans up after t.
type Open func(t *testing.T) (a, b api.API)

// Run tells every story. Each opens its own nodes.
func Run(t *testing.T, open Open) {
	for _, s := range []struct {
		name string
		tell func(t *testing.T, a, b api.API)
	}{
		{"documents come back exactly", documentsComeBack},
		{"a put without an id gets one in order of time", idsAreMade},
		{"strange ids", strangeIDs},
		{"conditions hold", conditionsHold},
		{"a patch changes what it names", patches},
		{"delete and restore", deleteAndRestore},
		{"bad documents are refused whole", badDocuments},
		{"a bulk write is all or nothing", bulkIsAtomic},
		{"updates do not lose each other", updates},
		{"all yields ranges", ranges},
		{"changes yields one row a document", changes},
		{"changes follows", changesFollow},
		{"watch tells the state and then what happens", watch},
		{"the log tells every commit", history},
		{"the past can be read", asOf},
		{"labels pin states", snapshots},
		{"two points are compared, and one is gone back to", diffAndRevert},
		{"what is on disk is verified", verification},
		{"history can be compacted", compaction},
		{"names and prefixes find teams and databases", references},
		{"a team is founded and told", teams},
		{"an invitation joins two nodes", join},
		{"who holds what can be asked and waited for", held},
		{"invitations end", invitationsEnd},
		{"a wrong code is refused", wrongCode},
		{"roles and names change", rolesAndNames},
		{"a removal is told before and done after", removals},
		{"who leaves is gone", leaves},
		{"a seed of one's own travels apart", ownSeeds},
		{"a team is shared by a token", shares},
		{"databases move, are renamed and dropped", homes},
		{"words bring a user back", recovery},
		{"secrets are kept and let go", secrets},
		{"status and identity agree", status},
		{"a context that has ended ends calls", ended},
	} {
		t.Run(s.name, func(t *testing.T) {
			a, b := open(t)
			s.tell(t, a, b)
		})
	}
}

// patience is how long a story waits for something that comes over the network.
const patience = 20 * time.Second

// collect returns what a sequence yields and the error that ends it.
func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func notes(t *testing.T, a api.API) api.DB {
	t.Helper()
	team, err := a.Team(t.Context(), api.Personal)
	require.NoError(t, err)
	db, err := team.CreateDB(t.Context(), "notes")
	require.NoError(t, err)
	return db
}

func put(t *testing.T, db api.DB, d api.Doc) api.PutResult {
	t.Helper()
	res, err := db.Put(t.Context(), d)
	require.NoError(t, err)
	return res
}

func documentsComeBack(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	d := api.Doc{
		"_id": "x", "null": nil, "yes": true, "exact": int64(1<<53 + 1), "least": int64(-1 << 63),
		"float": 1.0, "tiny": 5e-324, "text": "héllo\u2028\x00\"", "list": []any{int64(1), 1.0, []any{}},
		"object": map[string]any{"": map[string]any{}, "a/b": "c"},
	}
	res := put(t, db, d)
	require.Equal(t, "x", res.ID)
	require.NotEmpty(t, res.Commit)
	got, err := db.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, res.Rev, got.Rev())
	delete(got, "_rev")
	require.Equal(t, d, got)

	again := put(t, db, d)
	require.Equal(t, res.Rev, again.Rev, "nothing changed")
	require.Empty(t, again.Commit)

	withMeta, err := db.Get(t.Context(), "x", api.GetOptions{Meta: true, Conflicts: true})
	require.NoError(t, err)
	require.Contains(t, withMeta, "_conflicts")
	meta, ok := withMeta["_meta"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, res.Commit, meta["commit"])
	require.Equal(t, int64(0), meta["conflicts"])
	require.Equal(t, "ann", meta["member"])
}

func idsAreMade(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	last := ""
	for range 10 {
		res := put(t, db, api.Doc{"hello": "world"})
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, res.ID)
		require.Greater(t, res.ID, last)
		last = res.ID
		d, err := db.Get(t.Context(), res.ID)
		require.NoError(t, err)
		require.Equal(t, "world", d["hello"])
	}
}

func strangeIDs(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	for _, id := range []string{"..", ".", "a/b", "/", "//", "%2F", "?x=1", "#", " ", "é", "日本", "0", "a b+c", "&", "-", "{"} {
		put(t, db, api.Doc{"_id": id, "id": id})
		d, err := db.Get(t.Context(), id)
		require.NoError(t, err, "%q", id)
		require.Equal(t, id, d["id"])
		_, err = db.Patch(t.Context(), id, api.Doc{"more": true})
		require.NoError(t, err, "%q", id)
		_, err = db.Delete(t.Context(), id)
		require.NoError(t, err, "%q", id)
	}
}

func conditionsHold(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	first := put(t, db, api.Doc{"_id": "x", "n": 1})
	_, err := db.Put(ctx, api.Doc{"_id": "x", "n": 2}, api.Cond{IfAbsent: true})
	require.ErrorIs(t, err, api.ErrExists)
	_, err = db.Put(ctx, api.Doc{"_id": "y", "n": 2}, api.Cond{IfAbsent: true})
	require.NoError(t, err)

	second, err := db.Put(ctx, api.Doc{"_id": "x", "n": 2}, api.Cond{IfRev: first.Rev})
	require.NoError(t, err)
	require.NotEqual(t, first.Rev, second.Rev)
	_, err = db.Put(ctx, api.Doc{"_id": "x", "n": 3}, api.Cond{IfRev: first.Rev})
	require.ErrorIs(t, err, api.ErrConflict)
	_, err = db.Put(ctx, api.Doc{"_id": "x", "_rev": first.Rev, "n": 3})
	require.ErrorIs(t, err, api.ErrConflict, "_rev in the body is a condition too")
	_, err = db.Delete(ctx, "x", api.Cond{IfRev: first.Rev})
	require.ErrorIs(t, err, api.ErrConflict)
	_, err = db.Put(ctx, api.Doc{"_id": "x"}, api.Cond{IfRev: second.Rev, IfAbsent: true})
	require.ErrorIs(t, err, api.ErrUsage)

	d, err := db.Get(ctx, "x")
	require.NoError(t, err)
	require.Equal(t, int64(2), d["n"], "nothing that was refused was written")
	d["n"] = 4
	_, err = db.Put(ctx, d)
	require.NoError(t, err, "what was read can be put")
}

func patches(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	put(t, db, api.Doc{"_id": "x", "keep": 1, "drop": 2, "in": map[string]any{"a": 1, "b": 2}})
	_, err := db.Patch(ctx, "x", api.Doc{"drop": nil, "new": "v", "in": map[string]any{"b": 3}})
	require.NoError(t, err)
	d, err := db.Get(ctx, "x")
	require.NoError(t, err)
	delete(d, "_rev")
	require.Equal(t, api.Doc{"_id": "x", "keep": int64(1), "new": "v", "in": map[string]any{"a": int64(1), "b": int64(3)}}, d)
	_, err = db.Patch(ctx, "made", api.Doc{"by": "patch"})
	require.NoError(t, err)
	_, err = db.Get(ctx, "made")
	require.NoError(t, err)
}

func deleteAndRestore(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	_, err := db.Get(ctx, "x")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Delete(ctx, "x")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Restore(ctx, "x")
	require.ErrorIs(t, err, api.ErrNotFound)

	put(t, db, api.Doc{"_id": "x", "a": 1})
	_, err = db.Delete(ctx, "x")
	require.NoError(t, err)
	_, err = db.Get(ctx, "x")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Delete(ctx, "x")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Restore(ctx, "x")
	require.NoError(t, err)
	d, err := db.Get(ctx, "x")
	require.NoError(t, err)
	require.Equal(t, int64(1), d["a"])

	_, err = db.Delete(ctx, "x")
	require.NoError(t, err)
	put(t, db, api.Doc{"_id": "x", "b": 2})
	d, err = db.Get(ctx, "x")
	require.NoError(t, err)
	require.NotContains(t, d, "a", "a put after a delete starts from nothing")
}

func badDocuments(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	put(t, db, api.Doc{"_id": "x", "a": 1})
	long := make([]byte, 1025)
	for i := range long {
		long[i] = 'x'
	}
	for name, d := range map[string]api.Doc{
		"infinity":     {"_id": "x", "a": func() float64 { z := 0.0; return 1 / z }()},
		"go type":      {"_id": "x", "a": struct{}{}},
		"uint64":       {"_id": "x", "a": uint64(1 << 63)},
		"utf-8":        {"_id": "x", "a": "\xff"},
		"reserved key": {"_id": "x", "_secret": 1},
		"control id":   {"_id": "a\nb"},
		"long id":      {"_id": string(long)},
	} {
		_, err := db.Put(ctx, d)
		require.ErrorIs(t, err, api.ErrBadDocument, name)
	}
	d, err := db.Get(ctx, "x")
	require.NoError(t, err)
	require.Equal(t, int64(1), d["a"])
}

func bulkIsAtomic(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	res, err := db.Bulk(ctx, []api.Write{
		{Doc: api.Doc{"_id": "ace", "n": 11}},
		{Op: api.VerbPut, ID: "king", Doc: api.Doc{"n": 10}},
		{Op: api.VerbPatch, ID: "ace", Doc: api.Doc{"suit": "hearts"}},
	})
	require.NoError(t, err)
	require.Len(t, res, 3)
	require.Equal(t, res[0].Commit, res[1].Commit)
	d, err := db.Get(ctx, "ace")
	require.NoError(t, err)
	require.Equal(t, "hearts", d["suit"], "writes of one batch see each other")

	_, err = db.Bulk(ctx, []api.Write{
		{Doc: api.Doc{"_id": "queen"}},
		{Op: api.VerbDelete, ID: "nobody"},
	})
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Get(ctx, "queen")
	require.ErrorIs(t, err, api.ErrNotFound, "none of it happened")
	_, err = db.Bulk(ctx, []api.Write{{Op: "shred", ID: "ace"}})
	require.ErrorIs(t, err, api.ErrUsage)
}

func updates(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	var wg sync.WaitGroup
	const writers, times = 4, 5
	errs := make(chan error, writers*times)
	for range writers {
		wg.Go(func() {
			for range times {
				errs <- db.Update(ctx, "count", func(d api.Doc) (api.Doc, error) {
					n, _ := d["n"].(int64)
					return api.Doc{"n": n + 1}, nil
				})
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	d, err := db.Get(ctx, "count")
	require.NoError(t, err)
	require.Equal(t, int64(writers*times), d["n"])

	mine := errors.New("mine")
	require.ErrorIs(t, db.Update(ctx, "count", func(api.Doc) (api.Doc, error) { return nil, mine }), mine)
}

func ranges(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	for _, id := range []string{"b", "a", "d", "c", "ca"} {
		put(t, db, api.Doc{"_id": id})
	}
	put(t, db, api.Doc{"_id": "gone"})
	_, err := db.Delete(ctx, "gone")
	require.NoError(t, err)
	for want, r := range map[string]api.Range{
		"a b c ca d": {},
		"d ca c b a": {Desc: true},
		"b c":        {From: "b", To: "c"},
		"c ca":       {Prefix: "c"},
		"a b":        {Limit: 2},
		"d ca":       {Desc: true, Limit: 2},
		"ca":         {From: "ca", Prefix: "c"},
		"":           {From: "x"},
	} {
		docs, err := collect(db.All(ctx, r))
		require.NoError(t, err)
		got := ""
		for i, d := range docs {
			if i > 0 {
				got += " "
			}
			got += d.ID()
			require.NotEmpty(t, d.Rev())
		}
		require.Equal(t, want, got, "%+v", r)
	}
	_, err = collect(db.All(ctx, api.Range{Limit: -1}))
	require.ErrorIs(t, err, api.ErrUsage)
	for range db.All(ctx, api.Range{}) {
		break // a loop may end early
	}
}

func changes(t *testing.T, a, _ api.API) {
	db, ctx := notes(t, a), t.Context()
	rows, err := collect(db.Changes(ctx, api.ChangesOptions{}))
	require.NoError(t, err)
	require.Empty(t, rows)
	for i := range 10 {
		put(t, db, api.Doc{"_id": fmt.Sprintf("id-%d", i)})
	}
	put(t, db, api.Doc{"_id": "id-6", "again": true})
	_, err = db.Delete(ctx, "id-7")
	require.NoError(t, err)

	rows, err = collect(db.Changes(ctx, api.ChangesOptions{Docs: true}))
	require.NoError(t, err)
	require.Len(t, rows, 10)
	require.Equal(t, "id-6", rows[8].ID)
	require.Equal(t, true, rows[8].Doc["again"])
	require.Equal(t, "id-7", rows[9].ID)
	require.True(t, rows[9].Deleted)
	require.Nil(t, rows[9].Doc)

	some, err := collect(db.Changes(ctx, api.ChangesOptions{Limit: 5}))
	require.NoError(t, err)
	require.Len(t, some, 5)
	require.Nil(t, some[0].Doc)
	rest, err := collect(db.Changes(ctx, api.ChangesOptions{Since: some[4].Cursor}))
	require.NoError(t, err)
	require.Len(t, rest, 5, "a cursor resumes")
	none, err := collect(db.Changes(ctx, api.ChangesOptions{Since: api.Now}))
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = collect(db.Changes(ctx, api.ChangesOptions{Since: "no cursor"}))
	require.ErrorIs(t, err, api.ErrUsage)
}

func changesFollow(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	put(t, db, api.Doc{"_id": "before"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for c, err := range db.Changes(ctx, api.ChangesOptions{Follow: true}) {
		require.NoError(t, err)
		got = append(got, c.ID)
		if c.ID == "before" {
			put(t, db, api.Doc{"_id": "after"})
		}
		if c.ID == "after" {
			break
		}
	}
	require.Equal(t, []string{"before", "after"}, got)
}

func watch(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	put(t, db, api.Doc{"_id": "there", "n": 1})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var told []string
	for e, err := range db.Watch(ctx) {
		require.NoError(t, err)
		told = append(told, string(e.Op)+" "+e.ID)
		switch len(told) {
		case 2:
			put(t, db, api.Doc{"_id": "new"})
		case 3:
			put(t, db, api.Doc{"_id": "there", "n": 2})
		case 4:
			require.Equal(t, int64(2), e.Doc["n"])
			require.Equal(t, e.Doc.Rev(), e.Rev)
			_, err := db.Delete(ctx, "new")
			require.NoError(t, err)
		}
		if len(told) == 5 {
			break
		}
	}
	require.Equal(t, []string{"init there", "ready ", "add new", "change there", "remove new"}, told)
}
