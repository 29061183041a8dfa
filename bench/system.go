package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// system is a database that is measured.
type system interface {
	Name() string
	// Open opens or creates a replica that is alone. With sync, a put that returned
	// is on the disk.
	Open(ctx context.Context, dir string, sync bool) (replica, error)
	// Join opens one replica a host, all of one database and allowed to talk to each
	// other. When it returns they have met, and hold nothing.
	Join(ctx context.Context, dir string, links *network) ([]replica, error)
}

// replica is one copy of a database.
type replica interface {
	// Put writes documents as one batch.
	Put(ctx context.Context, docs []document) error
	// Get reads one document.
	Get(ctx context.Context, key string) error
	// Count returns how many documents a reader sees.
	Count(ctx context.Context) (int, error)
	// Seen is closed once a reader sees all of the documents.
	Seen(ctx context.Context, keys []string) (<-chan struct{}, error)
	Close() error
}

func systemOf(name string) (system, error) {
	switch name {
	case "toft":
		return toft{}, nil
	case "go-ds-crdt":
		return dsCRDT{}, nil
	}
	return nil, fmt.Errorf("unknown system %q: toft or go-ds-crdt", name)
}

// batch is how many documents one batch of the workload has.
const batch = 100

// load writes documents, size at a time.
func fill(ctx context.Context, r replica, docs []document, size int) error {
	for len(docs) > 0 {
		n := min(size, len(docs))
		if err := r.Put(ctx, docs[:n]); err != nil {
			return err
		}
		docs = docs[n:]
	}
	return nil
}

// errPatience: a sync did not finish in the time it was given.
var errPatience = errors.New("not finished")

// until polls for n visible documents.
func until(ctx context.Context, r replica, n int, patience time.Duration) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; {
		have, err := r.Count(ctx)
		if err != nil || have >= n {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w after %s: %d of %d", errPatience, patience, have, n)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// diskFS is the disk, with fsync or without.
func diskFS(sync bool) vfs.FS {
	if sync {
		return vfs.Default
	}
	return noSync{vfs.Default}
}

// noSync is a file system whose fsync does nothing: what a system costs beside it.
type noSync struct{ vfs.FS }

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error                             { return nil }
func (noSyncFile) SyncData() error                         { return nil }
func (noSyncFile) SyncTo(int64) (fullSync bool, err error) { return true, nil }
func wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

func (f noSync) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrap(f.FS.Create(name, c))
}

func (f noSync) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return wrap(f.FS.OpenReadWrite(name, c, o...))
}

func (f noSync) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrap(f.FS.ReuseForWrite(old, name, c))
}

func (f noSync) OpenDir(name string) (vfs.File, error) { return wrap(f.FS.OpenDir(name)) }
