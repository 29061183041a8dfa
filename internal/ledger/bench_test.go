package ledger

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// benchDB is a database of n documents on a disk that syncs nothing, so that the
// figures are of the processor.
func benchDB(b *testing.B, n int) *Database {
	id, err := vault.NewIdentity(cryptorand.Reader)
	require.NoError(b, err)
	st, err := store.Open(b.TempDir()+"/db", store.Options{NoSync: true})
	require.NoError(b, err)
	l, err := Open(Options{
		Store: st, Identity: id, Place: "bench", User: "ann", Device: "laptop", Clock: now, Rand: cryptorand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	b.Cleanup(func() { l.Close(); require.NoError(b, st.Close()) })
	c, err := l.Found(b.Context(), "fam", false)
	require.NoError(b, err)
	dbID, secret, err := vault.NewDatabase(cryptorand.Reader)
	require.NoError(b, err)
	_, err = c.Link(b.Context(), team.AddDB{DB: dbID, Name: "notes", Secret: secret}, []block.BoxGroup(nil))
	require.NoError(b, err)
	db := l.Database(dbID)
	for i := 0; i < n; i += 100 {
		benchBatch(b, db, i, 100)
	}
	return db
}

// benchBatch writes documents of about 256 bytes.
func benchBatch(b *testing.B, db *Database, from, n int) {
	writes := make([]crdt.Write, n)
	for i := range writes {
		body := make([]byte, 110)
		for j := range body {
			body[j] = 'a' + byte(rand.IntN(26))
		}
		writes[i] = crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("doc-%08d", from+i), Body: crdt.Doc{
			"type": "note", "author": fmt.Sprint("author-", i%10), "rev": int64(0), "ts": int64(1_700_000_000_000 + i),
			"done": i%2 == 0, "prio": int64(i % 5), "tags": []any{"red", "blue"}, "body": string(body),
		}}
	}
	_, err := db.Write(context.Background(), writes)
	require.NoError(b, err)
}

// BenchmarkBatches writes new documents in batches of 100 into a database of n,
// checkpoints included; the figure is per document.
func BenchmarkBatches(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("docs=%d", n), func(b *testing.B) {
			db := benchDB(b, n)
			at := n
			b.ResetTimer()
			for b.Loop() {
				benchBatch(b, db, at, 100)
				at += 100
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(at-n), "ns/doc")
		})
	}
}

// BenchmarkPut overwrites documents anywhere in a database of n, one at a time.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("docs=%d", n), func(b *testing.B) {
			db := benchDB(b, n)
			b.ResetTimer()
			for b.Loop() {
				benchBatch(b, db, rand.IntN(n), 1)
			}
		})
	}
}

// BenchmarkGet reads documents at random in a database of n that was opened anew.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("docs=%d", n), func(b *testing.B) {
			db := benchDB(b, n)
			require.NoError(b, db.Flush(b.Context()))
			b.ResetTimer()
			for b.Loop() {
				require.NoError(b, db.View(func(r *crdt.Replica) error {
					_, _, err := r.Get(fmt.Sprintf("doc-%08d", rand.IntN(n)))
					return err
				}))
			}
		})
	}
}
