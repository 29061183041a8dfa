package store

import (
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dstest "github.com/ipfs/go-datastore/test"
	"github.com/stretchr/testify/require"
)

func TestDatastorePassesTheSuiteOfTheInterface(t *testing.T) {
	s, err := Open("/db", Options{FS: vfs.NewMem(), tune: small}) // small: deletes are compacted away, not scanned over
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	dstest.SubtestAll(t, s.Datastore())
}

func TestDatastoreKeepsToItsPrefixAndPages(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, "w", "below", "y", "above")
	view := s.Datastore()
	const many = 3*pageEntries + 1
	for i := range many {
		require.NoError(t, view.Put(t.Context(), ds.NewKey("n/"+strconv.Itoa(i)), []byte{1}))
	}
	require.NoError(t, view.Put(t.Context(), ds.NewKey("nn"), nil))
	results, err := view.Query(t.Context(), query.Query{Prefix: "/n"})
	require.NoError(t, err)
	entries, err := results.Rest()
	require.NoError(t, err)
	require.Len(t, entries, many)

	open, err := view.Query(t.Context(), query.Query{})
	require.NoError(t, err)
	open.NextSync()
	require.NoError(t, view.Close())
	require.NoError(t, s.Close(), "a result set nobody closed holds nothing open")
}
