package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestAFreshStoreSaysItsFormatBeforeItHasData(t *testing.T) {
	disk := vfs.NewMem()
	found, err := readFormat(disk, "/db")
	require.NoError(t, err)
	require.Zero(t, found)
	require.NoError(t, open(t, disk).Close())
	raw, err := readBounded(disk, "/db/format", maxFormatLen)
	require.NoError(t, err)
	require.Equal(t, "toft-store 1\n", string(raw), "frozen bytes")
	found, err = readFormat(disk, "/db")
	require.NoError(t, err)
	require.Equal(t, 1, found)
}

func TestANewerOrDamagedFormatIsRefusedWithoutATrace(t *testing.T) {
	for text, found := range map[string]int{
		"toft-store 2\n":  2,
		"toft-store 99\n": 99,
		"":                0,
		"toft-store 1":    0,
		"toft-store 01\n": 0,
		"toft-store 0\n":  0,
		"toft-store -1\n": 0,
		"toft-store +1\n": 0,
		"other 1\n":       0,
		"toft-store 99999999999999999999999999\n":                        0,
		"toft-store 1\n                                              \n": 0,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, formatFile), []byte(text), 0o600))
		before := tree(t, dir)
		_, err := Open(dir, Options{})
		var version *VersionError
		require.ErrorAs(t, err, &version, "%q", text)
		require.Equal(t, VersionError{Dir: dir, Found: found, Known: 1}, *version, "%q", text)
		require.Equal(t, before, tree(t, dir), "%q: nothing was touched", text)
	}
}

func TestDataWithoutAFormatFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, formatFile)))
	_, err = Open(dir, Options{})
	var version *VersionError
	require.ErrorAs(t, err, &version)
	require.Zero(t, version.Found)
}

func TestADirectoryThatExistsAndIsEmptyIsFresh(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keystore"), []byte("another room's file"), 0o600))
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
