package store

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	ds "github.com/ipfs/go-datastore"
	"github.com/stretchr/testify/require"
)

// isLogSync picks the one operation that makes a commit durable.
func isLogSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync && vfs.Default.PathBase(op.Path) != "wal"
}

// Commits that come while an fsync is under way share the next one.
func TestConcurrentCommitsShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		var holding atomic.Bool
		gate := make(chan struct{})
		s, err := Open("/db", Options{FS: everyChange(vfs.NewMem(), func(_ int64, op errorfs.Op) error {
			if holding.Load() && isLogSync(op) {
				syncs.Add(1)
				<-gate
			}
			return nil
		})})
		require.NoError(t, err)
		holding.Store(true)

		const followers = 100
		l := newLedger(1 + followers)
		var done atomic.Int64
		var wg sync.WaitGroup
		commit := func(w int) {
			wg.Go(func() {
				if err := s.Commit(context.Background(), l.batch(w, 0)); err != nil {
					t.Error(err)
				}
				l.acked[w].Add(1)
				done.Add(1)
			})
		}
		commit(0)
		synctest.Wait()
		require.EqualValues(t, 1, syncs.Load())
		for w := range followers {
			commit(1 + w)
		}
		synctest.Wait()
		require.Zero(t, done.Load(), "nothing is acknowledged before its sync")
		gate <- struct{}{}
		synctest.Wait()
		require.EqualValues(t, 1, done.Load(), "the first sync covers the first commit only")
		gate <- struct{}{}
		wg.Wait()
		require.EqualValues(t, 2, syncs.Load(), "one more sync covers the hundred that came meanwhile")
		holding.Store(false)
		require.NoError(t, l.check(s, l.floor()))
		require.NoError(t, s.Close())
	})
}

func TestManyWritersReadersAndACloseInTheMiddle(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s, err := Open("/db", Options{FS: disk, tune: small})
	require.NoError(t, err)
	l := newLedger(16)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := l.write(s, 1<<20)
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	for range 4 {
		wg.Go(func() {
			for {
				for w, n := range l.floor() {
					if n == 0 {
						continue
					}
					id, body := blockOf(w, int(n)-1)
					value, err := s.Get(Block(id))
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || !bytes.Equal(value, body) {
						t.Errorf("writer %d, batch %d: %v", w, n-1, err)
						return
					}
				}
			}
		})
	}
	for l.acked[0].Load() < 40 {
		// The writers make progress on their own.
		if _, err := s.Has([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	require.NoError(t, s.Close())
	wg.Wait()
	require.NoError(t, reopen(l, l.floor(), disk))
}

// When tables cannot be written, commits are held back; they give up when
// their context ends or the disk fails, and never hang.
func TestCommitsThatWaitForRoomGiveUp(t *testing.T) {
	for _, how := range []string{"context", "disk", "room"} {
		t.Run(how, func(t *testing.T) {
			gate := make(chan error)
			var once sync.Once
			held := make(chan struct{})
			disk := everyChange(vfs.NewMem(), func(_ int64, op errorfs.Op) error {
				base := vfs.Default.PathBase(op.Path)
				if op.Kind == errorfs.OpCreate && len(base) > 4 && base[len(base)-4:] == ".sst" {
					once.Do(func() { close(held) })
					return <-gate
				}
				return nil
			})
			s, err := Open("/db", Options{FS: disk, tune: small})
			require.NoError(t, err)
			l := newLedger(2)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() {
				var err error
				for n := 0; n < 5000 && err == nil; n++ {
					if err = s.Commit(ctx, l.batch(0, n)); err == nil {
						l.acked[0].Add(1)
					}
				}
				result <- err
			}()
			<-held
			for !s.eng.crowded.Load() {
				select {
				case err := <-result:
					t.Fatal("not held back", err)
				default:
				}
			}
			switch how {
			case "context":
				cancel()
				require.ErrorIs(t, <-result, context.Canceled)
				close(gate)
			case "disk":
				gate <- syscall.EIO
				require.ErrorIs(t, <-result, ErrReadOnly)
				close(gate)
			case "room":
				close(gate)
				for l.acked[0].Load() < 2000 {
					if _, err := s.Has([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				cancel()
				require.ErrorIs(t, <-result, context.Canceled)
			}
			require.NoError(t, l.check(s, l.floor()))
			require.NoError(t, s.Close())
		})
	}
}

// Recover waits for a scan under way, and the scan may go on reading
// meanwhile.
func TestRecoverWaitsForScansAndObeysItsContext(t *testing.T) {
	f := &fault{err: syscall.ENOSPC}
	f.mended.Store(true)
	s, err := Open("/db", Options{FS: f.wrap(vfs.NewMem())})
	require.NoError(t, err)
	put(t, s, "a", "1", "b", "2")
	require.NoError(t, s.Recover(t.Context()), "nothing is wrong")
	f.mended.Store(false)
	b := s.NewBatch()
	b.Set([]byte("c"), []byte("3"))
	mustBeFault(t, s.Commit(t.Context(), b), syscall.ENOSPC)
	mustBeFault(t, s.Recover(t.Context()), syscall.ENOSPC)
	f.mended.Store(true)
	for _, err := range s.Scan([]byte("a")) {
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		recovering := make(chan error)
		go func() { recovering <- s.Recover(ctx) }()
		_, err := s.Get([]byte("b"))
		require.NoError(t, err)
		cancel()
		require.ErrorIs(t, <-recovering, context.Canceled)
	}
	require.NoError(t, s.Recover(t.Context()))
	require.NoError(t, s.Commit(t.Context(), b))
	require.Equal(t, "a=1 b=2 c=3", list(t, s, Span{}))
	require.NoError(t, s.Close())
}

func TestDatastorePutsAreDurableAfterSync(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s, err := Open("/db", Options{FS: disk})
	require.NoError(t, err)
	view := s.Datastore()
	survives := func(key string) bool {
		after, err := Open("/db", Options{FS: crash(disk, 0)})
		require.NoError(t, err)
		has, err := after.Datastore().Has(t.Context(), ds.NewKey(key))
		require.NoError(t, err)
		require.NoError(t, after.Close())
		return has
	}
	require.NoError(t, view.Put(t.Context(), ds.NewKey("k"), []byte("v")))
	require.NoError(t, view.Sync(t.Context(), ds.NewKey("/")))
	require.True(t, survives("k"))
	require.NoError(t, view.Delete(t.Context(), ds.NewKey("k")))
	require.NoError(t, view.Sync(t.Context(), ds.NewKey("/")))
	require.False(t, survives("k"))
	batch, err := view.Batch(t.Context())
	require.NoError(t, err)
	require.NoError(t, batch.Put(t.Context(), ds.NewKey("b"), nil))
	require.NoError(t, batch.Commit(t.Context()))
	require.True(t, survives("b"))
	require.NoError(t, s.Close())
}
