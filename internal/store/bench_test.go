package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// benchBatch is what a put of a 256-byte document stores: a sealed commit, its
// index entry, heads and frontier.
func benchBatch(b *Batch, n uint64) {
	var id [32]byte
	binary.BigEndian.PutUint64(id[:], n*0x9e3779b97f4a7c15)
	var db [16]byte
	value := make([]byte, 700)
	rng := rand.NewPCG(n, 1)
	for i := 0; i < len(value); i += 4 {
		binary.BigEndian.PutUint32(value[i:], uint32(rng.Uint64()))
	}
	b.Set(Block(id), value)
	b.Set(CommitIndex(db, n), id[:])
	b.Set(DatabaseHeads(db), id[:])
	b.Set(DatabaseFrontier(db), id[:])
}

// spread runs commit from so many goroutines until b.N are done.
func spread(b *testing.B, writers int, commit func(n uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
				commit(n)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkCommit runs beside a bare engine with its default options, so that
// the ratio says what this package costs.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("store/writers=%d", writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			require.NoError(b, err)
			defer func() { _ = s.Close() }()
			spread(b, writers, func(n uint64) {
				batch := s.NewBatch()
				benchBatch(batch, n)
				if err := s.Commit(context.Background(), batch); err != nil {
					b.Error(err)
				}
			})
		})
		b.Run(fmt.Sprintf("pebble/writers=%d", writers), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}})
			require.NoError(b, err)
			defer func() { _ = db.Close() }()
			spread(b, writers, func(n uint64) {
				var batch Batch
				benchBatch(&batch, n)
				bare := db.NewBatch()
				if err := batch.copyTo(bare); err != nil {
					b.Error(err)
				}
				if err := bare.Commit(pebble.Sync); err != nil {
					b.Error(err)
				}
				_ = bare.Close()
			})
		})
	}
}

// BenchmarkCommitBatches commits 64 puts at a time: what 64 concurrent writers
// compete with.
func BenchmarkCommitBatches(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	require.NoError(b, err)
	defer func() { _ = s.Close() }()
	b.ResetTimer()
	for n := uint64(0); n < uint64(b.N); n += 64 {
		batch := s.NewBatch()
		for i := range uint64(64) {
			benchBatch(batch, n+i)
		}
		require.NoError(b, s.Commit(b.Context(), batch))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func BenchmarkGet(b *testing.B) {
	for _, stored := range []uint64{1_000, 100_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			require.NoError(b, err)
			defer func() { _ = s.Close() }()
			batch := s.NewBatch()
			for n := range stored {
				if benchBatch(batch, n); n%1000 == 999 {
					require.NoError(b, s.Commit(b.Context(), batch))
					batch.Reset()
				}
			}
			s.eng.settle()
			used, err := s.DiskUsage()
			require.NoError(b, err)
			rng := rand.New(rand.NewPCG(1, 1))
			b.ResetTimer()
			for b.Loop() {
				var id [32]byte
				binary.BigEndian.PutUint64(id[:], rng.Uint64N(stored)*0x9e3779b97f4a7c15)
				if _, err := s.Get(Block(id)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used)/float64(stored)/793, "disk/payload") // what stays of a put: 700+34 and 32+27
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...interface{})  {}
func (quiet) Errorf(string, ...interface{}) {}
func (quiet) Fatalf(string, ...interface{}) {}
