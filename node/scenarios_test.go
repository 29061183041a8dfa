package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// The data scenarios that whole nodes tell, by their numbers. Where each of the others is
// stands in testdata/scenarios.txt.

// TestScenarios: no scenario is forgotten, and what the list names is there.
func TestScenarios(t *testing.T) {
	data, err := os.ReadFile("testdata/scenarios.txt")
	require.NoError(t, err)
	told := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		word := strings.Fields(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		require.Greater(t, len(word), 2, line)
		told[word[0]] = true
		switch word[1] {
		case "later", "bench", "none":
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", word[1], "*_test.go"))
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(files, func(f string) bool {
			source, err := os.ReadFile(f)
			return err == nil && strings.Contains(string(source), "func "+word[2]+"(")
		}), line)
	}
	for n := 1; n <= 49; n++ {
		switch n {
		case 5, 12, 17, 20, 25, 26, 34, 37, 38, 41, 48: // not in the suite
			continue
		}
		require.True(t, told[fmt.Sprint("D", n)], "D%d", n)
	}
}

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

// D1: a document without an id gets a UUIDv7, and 1,000 ids sort as they were made: most
// within a millisecond of each other, and over many.
func TestD1IDsSortByTime(t *testing.T) {
	n := nodetest.Open(t, nodetest.Offline())
	db := team(t, n)
	last := ""
	moments := map[string]bool{}
	for range 1000 {
		res, err := db.Put(t.Context(), api.Doc{"hello": "world"})
		require.NoError(t, err)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, res.ID)
		require.Greater(t, res.ID, last)
		last = res.ID
		moments[last[:13]] = true
	}
	require.Greater(t, len(moments), 1, "all in one millisecond")
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
	for i := range 200 {
		require.NoError(t, n.Close())
		n = open()
		db, err = n.DB(t.Context(), "notes")
		require.NoError(t, err)
		require.Equal(t, want, docsOf(t, db))
		require.Equal(t, state, stateOf(t, n))
		if i%20 == 0 { // and it goes on from there
			other, err := n.DB(t.Context(), "notes")
			require.NoError(t, err)
			mustPut(t, other, "again", i)
			d, err := db.Get(t.Context(), "again")
			require.NoError(t, err)
			require.EqualValues(t, i, d["n"], "two handles share it")
			want, state = docsOf(t, db), stateOf(t, n)
		}
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

// restartable is a node that keeps its disk.
type restartable struct {
	*node.Node
	cfg node.Config
}

func (r *restartable) open(t *testing.T, network config.Network) {
	t.Helper()
	var err error
	r.cfg.Network = network
	r.Node, err = node.Open(t.Context(), r.cfg)
	require.NoError(t, err)
}

// three returns three nodes of one team with one database, all connected.
func three(t *testing.T) []*restartable {
	t.Helper()
	var nodes []*restartable
	for _, name := range []string{"ann", "bob", "carol"} {
		r := &restartable{cfg: nodetest.Config(t)}
		nodetest.Named(name)(&r.cfg)
		r.open(t, config.LAN)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		nodes = append(nodes, r)
		if name != "ann" {
			nodetest.Join(t, r, nodetest.Invite(t, nodes[0], nodetest.Team), "")
			continue
		}
		_, err := r.CreateTeam(t.Context(), nodetest.Team)
		require.NoError(t, err)
		nodetest.DB(t, r, "notes")
	}
	return nodes
}

// D27: three peers write; two go; the third writes on; the two come back and write
// before they have met anybody, and all end up with everything.
func TestD27ThreePeersComeAndGo(t *testing.T) {
	nodes := three(t)
	ctx := t.Context()
	apis := []api.API{nodes[0], nodes[1], nodes[2]}
	want := map[string]any{}
	write := func(i int, id string, n int) {
		t.Helper()
		mustPut(t, nodetest.Arrived(ctx, t, nodes[i], "notes"), id, n)
		want[id] = float64(n)
	}
	for i := range nodes {
		write(i, fmt.Sprint("row-", i), i)
	}
	nodetest.Equal(ctx, t, "notes", apis...)
	for _, r := range nodes[1:] {
		require.NoError(t, r.Close())
	}
	write(0, "alone", 3)
	for i, r := range nodes[1:] {
		r.open(t, config.Offline)
		require.Len(t, docsOf(t, nodetest.Arrived(ctx, t, r, "notes")), 3, "nobody has told it of the fourth")
		write(1+i, fmt.Sprint("apart-", i), 4+i)
		write(1+i, "both", 6+i)
		require.NoError(t, r.Close())
	}
	for _, r := range nodes[1:] {
		r.open(t, config.LAN)
	}
	nodetest.Equal(ctx, t, "notes", nodes[0], nodes[1], nodes[2])
	for _, r := range nodes {
		got := docsOf(t, nodetest.Arrived(ctx, t, r, "notes"))
		require.Len(t, got, len(want))
		for id := range want {
			require.Contains(t, got, id)
		}
	}
}

// D28, D47: a subscription hears of what is there, of what a remote peer writes, of a
// delete as one, and of what came while it was away when it connects again.
func TestD28SubscriptionsHearOfOthers(t *testing.T) {
	nodes := three(t)
	ctx := t.Context()
	onA := nodetest.Arrived(ctx, t, nodes[0], "notes")
	for i := range 3 {
		mustPut(t, onA, fmt.Sprint("row-", i), i)
	}
	nodetest.Equal(ctx, t, "notes", nodes[0], nodes[1], nodes[2])
	watch := func() (heard chan string, stop func()) {
		heard, ready := make(chan string, 16), make(chan struct{})
		ctx, stop := context.WithCancel(ctx)
		db := nodetest.Arrived(ctx, t, nodes[1], "notes")
		go func() { // ends with ctx
			for e, err := range db.Watch(ctx) {
				switch {
				case err != nil:
					return
				case e.Op == api.OpReady:
					close(ready)
				default:
					heard <- string(e.Op) + " " + e.ID
				}
			}
		}()
		<-ready
		return heard, stop
	}
	heard, stop := watch()
	for i := range 3 {
		require.Equal(t, fmt.Sprint("init row-", i), <-heard)
	}
	mustPut(t, onA, "row-9", 9)
	require.Equal(t, "add row-9", <-heard)
	_, err := onA.Delete(ctx, "row-9")
	require.NoError(t, err)
	require.Equal(t, "remove row-9", <-heard)
	stop()
	require.NoError(t, nodes[1].Close())
	mustPut(t, onA, "meanwhile", 10)
	nodes[1].open(t, config.LAN)
	heard, stop = watch()
	defer stop()
	for e := range heard {
		if e == "init meanwhile" || e == "add meanwhile" { // before or after it had caught up
			break
		}
		require.Contains(t, e, "init row-")
	}
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
