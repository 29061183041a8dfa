package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

var crashDocs = flag.Int("crash.docs", 2500, "how many documents TestKilledColdSyncResumes syncs")

// moved returns how many bytes a process has exchanged with its peers since it began.
// libp2p's counters are brought up to date once a second: it waits until they rest.
func (p *process) moved(ctx context.Context) (n int64) {
	p.t.Helper()
	rested := time.Now()
	nodetest.Until(ctx, p.t, "the counters rest", func() bool {
		var now int64
		for row, err := range p.Peers(ctx) {
			require.NoError(p.t, err)
			now += row.RX + row.TX
		}
		if now != n {
			n, rested = now, time.Now()
		}
		return time.Since(rested) > 1500*time.Millisecond
	})
	return n
}

// docs returns how many documents of the database a process shows.
func (p *process) docs(ctx context.Context) (n, size int64) {
	p.t.Helper()
	s, err := p.Status(ctx)
	require.NoError(p.t, err)
	for _, db := range s.DBs {
		if db.Name == "notes" {
			return db.Docs, db.Bytes
		}
	}
	return 0, 0
}

// A device that was away fetches everything, and is interrupted ten times by kill -9
// of one side or the other. It goes on where it was: what went over the wire adds up to the
// documents once, and for each kill what was on its way and the list of what was
// lacking.
func TestKilledColdSyncResumes(t *testing.T) {
	const kills = 10
	limit := deadline + time.Duration(*crashDocs)*2*time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	a, b := newProcess(t), newProcess(t)
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "bob")
	nodetest.Equal(ctx, t, "notes", a, b)
	b.kill()
	pad := strings.Repeat("x", 2<<10)
	for i := range *crashDocs {
		_, err := onA.Put(ctx, api.Doc{"_id": fmt.Sprintf("doc-%06d", i), "text": pad})
		require.NoError(t, err)
	}
	all, size := a.docs(ctx)
	require.EqualValues(t, *crashDocs, all)
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	_ = a.cmd.Wait()

	var moved int64
	midway := 0
	for round := range kills {
		a.start()
		b.start()
		before, _ := b.docs(ctx)
		nodetest.Until(ctx, t, "something arrives", func() bool {
			n, _ := b.docs(ctx)
			return n > before || n == all
		})
		victim, survivor := a, b
		if round%2 == 0 {
			victim, survivor = b, a
		}
		victim.kill()
		moved += survivor.moved(ctx)
		survivor.kill()
		if before < all {
			midway++
		}
	}
	a.start()
	b.start()
	nodetest.Equal(ctx, t, "notes", a, b)
	moved += b.moved(ctx)
	n, _ := b.docs(ctx)
	require.Equal(t, all, n)
	require.Greater(t, midway, 2, "the kills came too late to show anything")
	each := size / all
	most := size*5/4 + int64(midway)*(replicate.Window*each+512<<10+48*all) // a window, what came inline, the list of ids
	t.Logf("%d documents, %.1f MiB; %d kills, %d of them midway; %.1f MiB on the wire, at most %.1f",
		all, mib(size), kills, midway, mib(moved), mib(most))
	require.Greater(t, moved, size, "the count is wrong")
	require.Less(t, moved, most)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// received returns how many bytes a process has read from its peers, as far as they
// are counted yet.
func (p *process) received(ctx context.Context) (n int64) {
	p.t.Helper()
	for row, err := range p.Peers(ctx) {
		if err != nil {
			return n
		}
		n += row.RX
	}
	return n
}

// The same where documents are small and the history is long: b begins at a checkpoint,
// and shows nothing before all of it is here. What it has of tree, rows and history it
// does not fetch again, whoever is killed.
func TestKilledAdoptionResumes(t *testing.T) {
	const kills = 10
	limit := deadline + time.Duration(*crashDocs)*2*time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	a, b := newProcess(t), newProcess(t)
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "bob")
	nodetest.Equal(ctx, t, "notes", a, b)
	b.kill()
	pad := strings.Repeat("x", 100)
	for i := range *crashDocs {
		_, err := onA.Put(ctx, api.Doc{"_id": fmt.Sprintf("doc-%06d", i), "text": pad})
		require.NoError(t, err)
	}
	all, size := a.docs(ctx)
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	_ = a.cmd.Wait()

	whole := func() bool {
		db, err := b.DB(ctx, "notes")
		if err != nil {
			return false
		}
		info, err := db.Info(ctx)
		return err == nil && info.Docs == all && info.Unaudited == ""
	}
	var moved int64
	midway := 0
	for round := range kills {
		a.start()
		b.start()
		nodetest.Until(ctx, t, "something arrives", func() bool { return b.received(ctx) > size/16 || whole() })
		if !whole() {
			midway++
		}
		victim, survivor := a, b
		if round%2 == 0 {
			victim, survivor = b, a
		}
		victim.kill()
		moved += survivor.moved(ctx)
		survivor.kill()
	}
	a.start()
	b.start()
	nodetest.Equal(ctx, t, "notes", a, b)
	nodetest.Until(ctx, t, "the history is here and agrees", whole)
	moved += b.moved(ctx)
	once := size*6/5 + all*400 // history, and the state
	each := int64(2 << 20)
	most := once + int64(midway)*each // a window of nodes, a chunk of rows, a checkpoint
	t.Logf("%d documents, history %.1f MiB; %d kills, %d of them midway; %.1f MiB on the wire, at most %.1f",
		all, mib(size), kills, midway, mib(moved), mib(most))
	require.Greater(t, moved, size, "the count is wrong")
	require.Less(t, moved, most)
}
