package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// deadline bounds whatever waits for another node. Only a failure reaches it.
const deadline = 60 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// home is a node on a real disk that can be stopped and started again.
type home struct {
	t   testing.TB
	cfg node.Config
	*node.Node
}

// configOf is a test configuration with the store on the disk.
func configOf(t testing.TB) node.Config {
	cfg := nodetest.Config(t)
	cfg.FS = nil
	return cfg
}

func newHome(t testing.TB, name string) *home {
	h := &home{t: t, cfg: configOf(t)}
	h.cfg.User, h.cfg.Device = name, name+"-laptop"
	h.start()
	t.Cleanup(func() { _ = h.Node.Close() })
	return h
}

func (h *home) start() {
	h.t.Helper()
	n, err := node.Open(h.t.Context(), h.cfg)
	require.NoError(h.t, err)
	h.Node = n
}

func (h *home) stop() {
	h.t.Helper()
	require.NoError(h.t, h.Node.Close())
}

// pair makes two homes in one team with one database, on both.
func pair(t testing.TB) (a, b *home, onA, onB api.DB) {
	t.Helper()
	ctx := within(t)
	a, b = newHome(t, "ann"), newHome(t, "bob")
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA = nodetest.DB(t, a, "notes")
	j := nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "")
	require.Len(t, j.DBs, 1, "join brings the databases")
	onB, err = b.DB(ctx, "notes")
	require.NoError(t, err)
	return a, b, onA, onB
}

func puts(t testing.TB, db api.DB, prefix string, n int) {
	t.Helper()
	for i := range n {
		_, err := db.Put(t.Context(), api.Doc{"_id": fmt.Sprintf("%s-%04d", prefix, i), "n": i, "by": prefix})
		require.NoError(t, err)
	}
}

func rows(t testing.TB, db api.DB) []api.Doc {
	t.Helper()
	var out []api.Doc
	for d, err := range db.All(t.Context(), api.Range{}) {
		require.NoError(t, err)
		out = append(out, d)
	}
	return out
}

// watching collects the ids a watch tells of, apart from those there at the start.
func watching(ctx context.Context, db api.DB) <-chan api.LiveEvent {
	out, ready := make(chan api.LiveEvent, 10_000), make(chan struct{})
	go func() {
		defer close(out)
		for ev, err := range db.Watch(ctx) {
			switch {
			case err != nil:
				return
			case ev.Op == api.OpReady:
				close(ready)
			case ev.Op != api.OpInit:
				out <- ev
			}
		}
	}()
	<-ready
	return out
}

func TestTwoPeersShareADatabase(t *testing.T) {
	ctx := within(t)
	a, b, onA, onB := pair(t)
	watchA, watchB := watching(ctx, onA), watching(ctx, onB)

	puts(t, onA, "a", 100)
	for i := range 100 {
		ev := <-watchB
		require.Equal(t, fmt.Sprintf("a-%04d", i), ev.ID, "live, in order, each once")
		require.Equal(t, api.OpAdd, ev.Op)
	}
	require.Equal(t, rows(t, onA), rows(t, onB))

	puts(t, onB, "b", 100)
	seen := 0
	for ev := range watchA {
		if ev.Doc["by"] == "b" {
			if seen++; seen == 100 {
				break
			}
		}
	}
	require.Equal(t, rows(t, onA), rows(t, onB))
	nodetest.Equal(ctx, t, "notes", a, b)
}

func TestCatchUpAfterBeingAway(t *testing.T) {
	ctx := within(t)
	a, b, onA, _ := pair(t)
	nodetest.Equal(ctx, t, "notes", a, b)
	b.stop()
	puts(t, onA, "a", 1000)
	b.start()
	onB := nodetest.Arrived(ctx, t, b, "notes")
	nodetest.Equal(ctx, t, "notes", a, b)
	require.Len(t, rows(t, onB), 1000)
}

func TestBothWriteApartAndMeetAgain(t *testing.T) {
	ctx := within(t)
	a, b, onA, onB := pair(t)
	_, err := onA.Put(ctx, api.Doc{"_id": "plan", "title": "trip", "who": "ann"})
	require.NoError(t, err)
	nodetest.Until(ctx, t, "B has the plan", func() bool { _, err := onB.Get(ctx, "plan"); return err == nil })

	a.stop()
	_, err = onB.Patch(ctx, "plan", api.Doc{"title": "big trip"})
	require.NoError(t, err, "alone, B still writes")
	got, err := onB.Get(ctx, "plan")
	require.NoError(t, err, "and reads")
	require.Equal(t, "big trip", got["title"])
	b.stop()

	a.start()
	onA, err = a.DB(ctx, "notes")
	require.NoError(t, err)
	_, err = onA.Patch(ctx, "plan", api.Doc{"who": "ann and bob"})
	require.NoError(t, err)
	a.stop()

	a.start()
	b.start()
	nodetest.Equal(ctx, t, "notes", a, b)
	for _, h := range []*home{a, b} {
		db, err := h.DB(ctx, "notes")
		require.NoError(t, err)
		got, err := db.Get(ctx, "plan")
		require.NoError(t, err)
		require.Equal(t, "big trip", got["title"])
		require.Equal(t, "ann and bob", got["who"])
		s, err := h.Status(ctx)
		require.NoError(t, err)
		require.Empty(t, s.Warnings)
	}
}

// A chain A–B–C without a connection between A and C: what A writes reaches C
// through B.
func TestThirdPeerLearnsThroughTheSecond(t *testing.T) {
	ctx := within(t)
	mesh := nodetest.Mesh(t, 3)
	onA := nodetest.DB(t, mesh[0], "notes")
	onC := nodetest.Arrived(ctx, t, mesh[2], "notes")
	puts(t, onA, "a", 20)
	nodetest.Equal(ctx, t, "notes", mesh[0], mesh[1], mesh[2])
	require.Len(t, rows(t, onC), 20)
}

// Whoever joins late finds everything there when join returns.
func TestJoinBringsTheData(t *testing.T) {
	ctx := within(t)
	a := newHome(t, "ann")
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	puts(t, onA, "a", 1500)
	_, err = onA.Put(ctx, api.Doc{"_id": "big", "text": strings.Repeat("long ", 10_000)})
	require.NoError(t, err)
	b := newHome(t, "bob")
	start := time.Now()
	j := nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "")
	t.Logf("joined with 1,501 commits after %s", time.Since(start).Round(time.Millisecond))
	require.EqualValues(t, 1501, j.DBs[0].Docs)
	onB, err := b.DB(ctx, "notes")
	require.NoError(t, err)
	require.Equal(t, rows(t, onA), rows(t, onB))
}
