package e2e_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// Three nodes that joined, wrote and watched leave no goroutine behind.
func TestCloseLeaksNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("mesh", func(t *testing.T) {
		ctx := within(t)
		mesh := nodetest.Mesh(t, 3)
		onA := nodetest.DB(t, mesh[0], "notes")
		for _, n := range mesh[1:] {
			nodetest.Arrived(ctx, t, n, "notes")
		}
		onC, err := mesh[2].DB(ctx, "notes")
		require.NoError(t, err)
		live := watching(t.Context(), onC)
		puts(t, onA, "doc", 50)
		nodetest.Equal(ctx, t, "notes", mesh[0], mesh[1], mesh[2])
		<-live
	})
	goleak.VerifyNone(t, before, sweeper())
}

// Close in the middle of writes, a watch and the sync that carries them returns soon.
func TestCloseInTheMiddle(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("of writes, sync and watch", func(t *testing.T) {
		ctx := within(t)
		mesh := nodetest.Mesh(t, 2)
		onA := nodetest.DB(t, mesh[0], "notes")
		onB := nodetest.Arrived(ctx, t, mesh[1], "notes")
		live := watching(t.Context(), onB)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := onA.Put(ctx, api.Doc{"n": i}); err != nil {
					return
				}
			}
		})
		<-live
		closesSoon(t, mesh[1])
		closesSoon(t, mesh[0])
		wg.Wait()
	})
	t.Run("of a join", func(t *testing.T) {
		a, b := nodetest.Open(t, nodetest.Named("ann")), nodetest.Open(t, nodetest.Named("bob"))
		_, err := a.CreateTeam(t.Context(), nodetest.Team)
		require.NoError(t, err)
		code := nodetest.Invite(t, a, nodetest.Team)
		started, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			close(started)
			_, _ = b.Join(context.Background(), api.JoinRequest{Code: code})
		}()
		<-started
		closesSoon(t, b)
		<-ended
		closesSoon(t, a)
	})
	goleak.VerifyNone(t, before, sweeper())
}

// closesSoon allows 2 s, more than any Close should need.
func closesSoon(t testing.TB, n interface{ Close() error }) {
	t.Helper()
	start := time.Now()
	require.NoError(t, n.Close())
	require.Less(t, time.Since(start), 2*time.Second)
}

// sweeper is the one goroutine per process in which libp2p's byte counters average
// their rates; it parks itself when nothing is counted any more.
func sweeper() goleak.Option {
	return goleak.IgnoreTopFunction("github.com/libp2p/go-flow-metrics.(*sweeper).runActive")
}
