package e2e_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

// alone is a node without a network on a real disk, with a database.
func alone(b *testing.B) api.DB {
	h := &home{t: b, cfg: configOf(b)}
	h.cfg.Network = config.Offline
	h.start()
	b.Cleanup(h.stop)
	team, err := h.Team(b.Context(), api.Personal)
	require.NoError(b, err)
	db, err := team.CreateDB(b.Context(), "bench")
	require.NoError(b, err)
	return db
}

// BenchmarkPut is one durable put of a small document at a time; puts/s is the rate.
func BenchmarkPut(b *testing.B) {
	db, body, i := alone(b), strings.Repeat("x", 180), 0
	for b.Loop() {
		_, err := db.Put(b.Context(), api.Doc{"_id": fmt.Sprintf("doc-%08d", i), "body": body, "n": i})
		require.NoError(b, err)
		i++
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkPutConcurrent is the same from 64 goroutines, which share commits.
func BenchmarkPutConcurrent(b *testing.B) {
	db, body := alone(b), strings.Repeat("x", 180)
	var i atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := db.Put(b.Context(), api.Doc{"_id": fmt.Sprintf("doc-%08d", i.Add(1)), "body": body})
			require.NoError(b, err)
		}
	})
	b.ReportMetric(float64(i.Load())/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkPutBatch writes 100 documents in one atomic batch at a time.
func BenchmarkPutBatch(b *testing.B) {
	db, body, i := alone(b), strings.Repeat("x", 180), 0
	for b.Loop() {
		var writes []api.Write
		for range 100 {
			writes = append(writes, api.Write{Doc: api.Doc{"_id": fmt.Sprintf("doc-%08d", i), "body": body}})
			i++
		}
		_, err := db.Bulk(b.Context(), writes)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "docs/s")
}
