package node_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// The data scenarios by their numbers, where whole nodes tell them. The others:
//
//	D2 D3 D4 D6 D7 D8 D9 D19 D23 D24 D39 D40 D42 D46 D47   crdt, scenarios_test.go
//	D29 D30                                                internal/ledger, scenarios_test.go
//	D10–D18, D31–D36    queries and indexes: there are none yet
//	D22                 compaction: there is none yet
//	D24 D45 (content)   files have manifests and no door yet
//	D44                 no stall in 10,000 puts: a matter of timing, measured by bench
//	D49                 internal/ledger: TestAReaderMayNotWrite, TestWhoIsRemovedReadsNothingNew

func docsOf(t *testing.T, db api.DB) map[string]any {
	t.Helper()
	out := map[string]any{}
	for d, err := range db.All(t.Context(), api.Range{}) {
		require.NoError(t, err)
		out[d.ID()] = d["n"]
	}
	return out
}

func mustPut(t *testing.T, db api.DB, id string, n int) api.PutResult {
	t.Helper()
	res, err := db.Put(t.Context(), api.Doc{"_id": id, "n": n})
	require.NoError(t, err)
	return res
}

// D1: a document without an id gets a UUIDv7, and ids sort as they were made.
func TestD1IDsSortByTime(t *testing.T) {
	n := nodetest.Open(t, nodetest.Offline())
	db := team(t, n)
	last := ""
	for range 200 {
		res, err := db.Put(t.Context(), api.Doc{"hello": "world"})
		require.NoError(t, err)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, res.ID)
		require.Greater(t, res.ID, last)
		last = res.ID
	}
	d, err := db.Get(t.Context(), last)
	require.NoError(t, err)
	require.Equal(t, last, d.ID())
	require.Equal(t, "world", d["hello"])
}

// D21: what was written is there after every reopening, with the same heads and
// digest, and two handles on one name share it.
func TestD21Reopening(t *testing.T) {
	fs, dir := store.NewMem(), t.TempDir()
	open := func() *node.Node {
		cfg := nodetest.Config(t)
		cfg.Dir, cfg.FS, cfg.Network = dir, fs, "offline"
		n, err := node.Open(t.Context(), cfg)
		require.NoError(t, err)
		return n
	}
	n := open()
	db := team(t, n)
	for i := range 10 {
		mustPut(t, db, fmt.Sprint("d", i), i)
	}
	other, err := n.DB(t.Context(), "notes")
	require.NoError(t, err)
	mustPut(t, other, "d3", 33)
	d, err := db.Get(t.Context(), "d3")
	require.NoError(t, err)
	require.EqualValues(t, 33, d["n"])
	want, state := docsOf(t, db), stateOf(t, n)
	for range 20 {
		require.NoError(t, n.Close())
		n = open()
		db, err = n.DB(t.Context(), "notes")
		require.NoError(t, err)
		require.Equal(t, want, docsOf(t, db))
		require.Equal(t, state, stateOf(t, n))
	}
	mustPut(t, db, "d10", 10)
	require.NoError(t, n.Close())
}

// stateOf is where the only database of a team stands.
func stateOf(t *testing.T, n *node.Node) [2]any {
	t.Helper()
	s, err := n.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, s.DBs, 1)
	return [2]any{s.DBs[0].Heads, s.DBs[0].Digest}
}

// D27: three peers write; two go; the third writes on; they come back, write before
// they have met anybody, and all end up with everything.
func TestD27ThreePeersComeAndGo(t *testing.T) {
	mesh := nodetest.Mesh(t, 3)
	ctx := t.Context()
	dbs := []api.DB{nodetest.DB(t, mesh[0], "notes")}
	for _, n := range mesh[1:] {
		dbs = append(dbs, nodetest.Arrived(ctx, t, n, "notes"))
	}
	for i, db := range dbs {
		mustPut(t, db, fmt.Sprint("row-", i), i)
	}
	apis := []api.API{mesh[0], mesh[1], mesh[2]}
	nodetest.Equal(ctx, t, "notes", apis...)
	require.Len(t, docsOf(t, dbs[2]), 3)

	// D28: a subscription hears of what was there, and of what a remote peer writes.
	heard := make(chan string, 16)
	ready := make(chan struct{})
	go func() { // ends with the test's context
		for e, err := range dbs[1].Watch(ctx) {
			if err != nil {
				return
			}
			if e.Op == api.OpReady {
				close(ready)
				continue
			}
			heard <- string(e.Op) + " " + e.ID
		}
	}()
	for i := range 3 {
		require.Equal(t, fmt.Sprint("init row-", i), <-heard)
	}
	<-ready
	mustPut(t, dbs[0], "row-9", 9)
	require.Equal(t, "add row-9", <-heard)
	nodetest.Equal(ctx, t, "notes", apis...)
	require.Len(t, docsOf(t, dbs[2]), 4)
}

// D43: a thousand puts started at once in one process are all there, behind one head.
func TestD43AThousandPutsAtOnce(t *testing.T) {
	n := nodetest.Open(t, nodetest.Offline())
	db := team(t, n)
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	for i := range 1000 {
		wg.Go(func() {
			_, err := db.Put(t.Context(), api.Doc{"_id": fmt.Sprintf("p-%04d", i), "n": i})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, docsOf(t, db), 1001)
	heads, ok := stateOf(t, n)[0].([]string)
	require.True(t, ok)
	require.Len(t, heads, 1)
	commits := 0
	for _, err := range db.Log(t.Context(), api.LogOptions{}) {
		require.NoError(t, err)
		commits++
	}
	require.Less(t, commits, 900, "writers that wait share a commit")
}
