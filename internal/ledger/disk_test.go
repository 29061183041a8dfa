package ledger

import (
	"context"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

func rename(name string) team.Content { return team.Name{Kind: team.NameTeam, Name: name} }

// copyTeam starts a team on x from what d holds, without an admission: they are one
// device in two places.
func (x *device) copyTeam(d *device, c *Chain) error {
	raw := d.links(c)
	u, err := block.Parse(raw[0])
	if err != nil {
		return err
	}
	mine, err := x.Begin(context.Background(), u, block.ID{})
	if err != nil {
		return err
	}
	_, err = mine.Receive(context.Background(), raw)
	return err
}

// failing is a disk whose files cannot be written while fail is set.
type failing struct {
	store.FS
	fail atomic.Bool
	sync atomic.Bool // only that what was written is safe cannot be had
}

func (f *failing) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.fail.Load() {
		return nil, errBroken
	}
	file, err := f.FS.Create(name, c)
	return &brittle{File: file, disk: f}, err
}

func (f *failing) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.fail.Load() {
		return nil, errBroken
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	return &brittle{File: file, disk: f}, err
}

type brittle struct {
	vfs.File
	disk *failing
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.disk.fail.Load() {
		return 0, errBroken
	}
	return b.File.Write(p)
}

func (b *brittle) Sync() error {
	if b.disk.fail.Load() || b.disk.sync.Load() {
		return errBroken
	}
	return b.File.Sync()
}

func (b *brittle) SyncData() error {
	if b.disk.fail.Load() || b.disk.sync.Load() {
		return errBroken
	}
	return b.File.SyncData()
}
