package store

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ids() (id, other [32]byte, db [16]byte) {
	for i := range id {
		id[i], other[i] = byte(i), byte(0xf0^i)
	}
	copy(db[:], other[16:])
	return id, other, db
}

// named is every kind of key once.
func named() map[string][]byte {
	id, other, db := ids()
	return map[string][]byte{
		"Block":            Block(id),
		"TeamInfo":         TeamInfo(id),
		"TeamHeads":        TeamHeads(id),
		"TeamSnapshot":     TeamSnapshot(id),
		"LinkIndex":        LinkIndex(id, 258),
		"ParkedLink":       ParkedLink(id, other),
		"DatabaseInfo":     DatabaseInfo(db),
		"DatabaseHome":     DatabaseHome(db),
		"DatabaseActor":    DatabaseActor(db),
		"DatabaseFrontier": DatabaseFrontier(db),
		"DatabaseHeads":    DatabaseHeads(db),
		"CommitIndex":      CommitIndex(db, 258),
		"Checkpoint":       Checkpoint(db, 258),
		"Floor":            Floor(db, 258),
		"Graph":            Graph(db, 258),
		"Label":            Label(db, []byte{0xaa}),
		"ParkedCommit":     ParkedCommit(db, id),
		"Peer":             Peer([]byte{0xaa}),
		"Meta":             Meta("name"),
		"Derived":          Derived([]byte("index/1/")),
	}
}

// Stored keys are frozen with format 1: this file may only grow.
func TestKeysHaveTheirFrozenBytes(t *testing.T) {
	golden, err := os.ReadFile("testdata/keys.txt")
	require.NoError(t, err)
	keys := named()
	for line := range strings.Lines(string(golden)) {
		name, want, ok := strings.Cut(strings.TrimSpace(line), " ")
		require.True(t, ok, line)
		require.Equal(t, want, hex.EncodeToString(keys[name]), name)
		delete(keys, name)
	}
	require.Empty(t, keys, "kinds that testdata/keys.txt does not know")
}

func TestNoKeyIsThePrefixOfAnotherKind(t *testing.T) {
	keys := named()
	keys["Datastore"] = []byte(prefixDatastore + "k")
	for a, x := range keys {
		for b, y := range keys {
			require.False(t, a != b && bytes.HasPrefix(y, x), "%s begins %s", a, b)
		}
	}
}

func TestPrefixesHoldTheirKeys(t *testing.T) {
	id, other, db := ids()
	for _, c := range []struct{ prefix, key []byte }{
		{Blocks(), Block(id)},
		{Teams(), Team(id)},
		{Team(id), TeamInfo(id)},
		{Links(id), LinkIndex(id, 0)},
		{ParkedLinks(id), ParkedLink(id, other)},
		{Databases(), Database(db)},
		{Database(db), DatabaseInfo(db)},
		{Commits(db), CommitIndex(db, 0)},
		{Checkpoints(db), Checkpoint(db, 0)},
		{Floors(db), Floor(db, 0)},
		{Graphs(db), Graph(db, 0)},
		{Labels(db), Label(db, []byte("x"))},
		{ParkedCommits(db), ParkedCommit(db, id)},
		{Peers(), Peer([]byte{1})},
	} {
		require.True(t, bytes.HasPrefix(c.key, c.prefix), "%q %q", c.prefix, c.key)
	}
}

func TestIdsAndNumbersAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id [32]byte
		var db [16]byte
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id"))
		copy(db[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "db"))
		n, m := rapid.Uint64().Draw(t, "n"), rapid.Uint64().Draw(t, "m")

		gotID, err := BlockID(Block(id))
		require.NoError(t, err)
		require.Equal(t, id, gotID)
		gotID, err = TeamID(LinkIndex(id, n))
		require.NoError(t, err)
		require.Equal(t, id, gotID)
		gotDB, err := DatabaseID(CommitIndex(db, n))
		require.NoError(t, err)
		require.Equal(t, db, gotDB)
		for _, key := range [][]byte{LinkIndex(id, n), CommitIndex(db, n), Checkpoint(db, n)} {
			at, err := Arrival(key)
			require.NoError(t, err)
			require.Equal(t, n, at)
		}
		require.Equal(t, n < m, bytes.Compare(CommitIndex(db, n), CommitIndex(db, m)) < 0, "order of bytes is order of numbers")
	})
}

func TestKeysOfAnotherKindAreRefused(t *testing.T) {
	id, _, db := ids()
	for _, key := range [][]byte{nil, []byte("b/"), append(Block(id), 0), Team(id), []byte("x")} {
		_, err := BlockID(key)
		require.Error(t, err, "%q", key)
	}
	for _, key := range [][]byte{nil, []byte("t/"), Block(id), Team(id)[:33]} {
		_, err := TeamID(key)
		require.Error(t, err, "%q", key)
	}
	for _, key := range [][]byte{nil, []byte("d/"), Block(id), Database(db)[:17]} {
		_, err := DatabaseID(key)
		require.Error(t, err, "%q", key)
	}
	for _, key := range [][]byte{nil, Block(id), TeamHeads(id), DatabaseHeads(db), ParkedCommit(db, id)} {
		_, err := Arrival(key)
		require.Error(t, err, "%q", key)
	}
	_, err := ID[[32]byte](make([]byte, 31))
	require.Error(t, err)
	got, err := ID[[32]byte](id[:])
	require.NoError(t, err)
	require.Equal(t, id, got)
}
