package node_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// fullDisk is a disk that has no space left while full is set.
type fullDisk struct {
	store.FS
	full atomic.Bool
}

func (f *fullDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() {
		return nil, syscall.ENOSPC
	}
	file, err := f.FS.Create(name, c)
	return &fullFile{file, f}, err
}

func (f *fullDisk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() {
		return nil, syscall.ENOSPC
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	return &fullFile{file, f}, err
}

type fullFile struct {
	vfs.File
	disk *fullDisk
}

func (f *fullFile) Write(p []byte) (int, error) {
	if f.disk.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

func (f *fullFile) Sync() error {
	if f.disk.full.Load() {
		return syscall.ENOSPC
	}
	return f.File.Sync()
}

func (f *fullFile) SyncData() error { return f.Sync() }

// The disk is full: the node says so, refuses writes, and goes on reading. Once there
// is space again the next write succeeds, without a restart, and nothing that was
// acknowledged is gone, neither then nor after a restart.
func TestAFullDiskIsReadOnlyUntilThereIsSpace(t *testing.T) {
	disk := &fullDisk{FS: store.NewMem()}
	n := nodetest.Open(t, nodetest.Offline(), nodetest.On(disk))
	db, ctx := team(t, n), t.Context()
	first := mustPut(t, db, "kept", 1)
	alarms := func() (ids []string) {
		s, err := n.Status(ctx)
		require.NoError(t, err)
		for _, w := range s.Warnings {
			if w.Severity == api.Alarm {
				ids = append(ids, w.ID)
				require.NotEmpty(t, w.Fix)
			}
		}
		return ids
	}
	require.Empty(t, alarms())

	disk.full.Store(true)
	for i := range 3 {
		_, err := db.Put(ctx, api.Doc{"_id": fmt.Sprint("no-", i)})
		require.ErrorIs(t, err, api.ErrDiskFull)
		require.Equal(t, 1, api.ErrorOf(err).Code)
		require.NotEmpty(t, api.ErrorOf(err).Hint)
	}
	_, err := db.CreateSnapshot(ctx, "no", "")
	require.ErrorIs(t, err, api.ErrDiskFull)
	require.Equal(t, []string{"store_read_only"}, alarms())
	d, err := db.Get(ctx, "kept")
	require.NoError(t, err)
	require.EqualValues(t, 1, d["n"])
	d, err = db.Get(ctx, "kept", api.GetOptions{AsOf: first.Commit})
	require.NoError(t, err, "the past is readable too")
	require.EqualValues(t, 1, d["n"])
	r, err := db.Verify(ctx, true)
	require.NoError(t, err)
	require.True(t, r.OK)

	disk.full.Store(false)
	mustPut(t, db, "kept", 2)
	require.Empty(t, alarms())
	want := docsOf(t, db)
	require.EqualValues(t, 2, want["kept"])
	r, err = db.Verify(ctx, true)
	require.NoError(t, err)
	require.True(t, r.OK, "%+v", r.Bad)
}
