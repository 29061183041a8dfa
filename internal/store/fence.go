package store

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence is the file system as the engine sees it. The first operation that was
// to change the disk and failed shuts it for good; after that nothing the
// engine does reaches the disk, whatever state the failure left it in.
//
// What the engine is told depends on the file, because of how Pebble 2.1 takes
// bad news:
//
//   - Its log. A failed write or sync ends in Logger.Fatalf, and if Fatalf
//     returns, the failed commit is reported as a success (db.go,
//     applyInternal). A failed rotation panics while a deferred unlock is
//     armed on a mutex that is not held (rotateWAL), which no recover can
//     stop. So the engine is told that all is well, the bytes go nowhere, and
//     Commit asks the fence before it believes the engine.
//   - Directories. A failed sync panics (atomicfs.Marker.Move), in a goroutine
//     nobody can guard. The same answer.
//   - Everything else (tables, manifest). The engine gets the error. It then
//     would delete the tables that a half-written manifest may already name:
//     the shut fence refuses that. And it would try again at once, for ever:
//     refused operations wait until release instead of burning a core. Only
//     while it opens it must hear that all is well here too: Open waits for a
//     flush for ever (open.go), and the caller asks the fence afterwards.
//
// The fence also adds an order that POSIX does not give and the engine takes
// for granted; see marker.
type fence struct {
	vfs.FS
	logDir  string
	reason  atomic.Pointer[error]
	shut    chan struct{} // closed with the first failure
	free    chan struct{} // closed by release
	running atomic.Bool   // the engine has opened
	once    sync.Once
	freed   sync.Once
}

func newFence(disk vfs.FS, logDir string) *fence {
	return &fence{FS: disk, logDir: logDir, shut: make(chan struct{}), free: make(chan struct{})}
}

// failure returns what shut the fence, as a *DiskFullError or *IOError, or nil
// while it is open.
func (f *fence) failure() error {
	if reason := f.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

// close shuts the fence. Only the first reason is kept.
func (f *fence) close(err error) {
	f.once.Do(func() {
		reason := writeError(err)
		f.reason.Store(&reason)
		close(f.shut)
	})
}

// release lets waiting operations go, with their error, so that the engine can
// be closed.
func (f *fence) release() { f.freed.Do(func() { close(f.free) }) }

// isLog reports whether name is the log directory or a file in it.
func (f *fence) isLog(name string) bool {
	rest, below := strings.CutPrefix(name, f.logDir)
	return below && (rest == "" || os.IsPathSeparator(rest[0]))
}

// change runs an operation that changes the disk. hush says that the engine
// must not learn of a failure.
func (f *fence) change(hush bool, op func() error) error {
	if reason := f.failure(); reason != nil {
		return f.refuse(hush, reason)
	}
	err := op()
	if err == nil {
		return nil
	}
	f.close(err)
	if hush || !f.running.Load() {
		return nil
	}
	return err
}

func (f *fence) refuse(hush bool, reason error) error {
	if hush || !f.running.Load() {
		return nil
	}
	<-f.free
	return reason
}

func (f *fence) Create(name string, why vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create(name, func() (vfs.File, error) { return f.FS.Create(name, why) })
}

func (f *fence) OpenReadWrite(name string, why vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.create(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, why, opts...) })
}

func (f *fence) ReuseForWrite(from, to string, why vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create(to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, why) })
}

func (f *fence) create(name string, open func() (vfs.File, error)) (vfs.File, error) {
	toLog := f.isLog(name)
	var file vfs.File
	err := f.change(toLog, func() (err error) {
		if err := f.marker(name); err != nil {
			return err
		}
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil {
		file = vfs.NewMemFile(nil) // what the engine believes it has
	}
	return &fencedFile{File: file, fence: f, hush: toLog}, nil
}

// marker syncs the directory before a marker file is made or removed. The
// engine makes a manifest, then a marker with the manifest's name in its own
// name, removes the old marker and syncs the directory once. A file system may
// bring any of these names to the disk first; a power loss that keeps the
// marker and not the manifest leaves a store that does not open. (Found by the
// crash test; file systems with an ordered journal hide it.)
func (f *fence) marker(name string) error {
	if !strings.HasPrefix(f.FS.PathBase(name), "marker.") {
		return nil
	}
	return syncDir(f.FS, f.FS.PathDir(name))
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: dir, fence: f, hush: true}, nil
}

func (f *fence) Link(from, to string) error {
	return f.change(f.isLog(to), func() error { return f.FS.Link(from, to) })
}

func (f *fence) Rename(from, to string) error {
	return f.change(f.isLog(to), func() error { return f.FS.Rename(from, to) })
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	return f.change(false, func() error { return f.FS.MkdirAll(dir, perm) })
}

// Remove does not shut the fence when it fails: a file that stays costs only
// space, and the engine tries again when it opens.
func (f *fence) Remove(name string) error {
	if reason := f.failure(); reason != nil {
		return reason
	}
	if err := f.marker(name); err != nil {
		f.close(err)
		return err
	}
	return f.FS.Remove(name)
}

func (f *fence) RemoveAll(name string) error {
	if reason := f.failure(); reason != nil {
		return reason
	}
	return f.FS.RemoveAll(name)
}

// Unwrap is part of vfs.FS.
func (f *fence) Unwrap() vfs.FS { return f.FS }

// fencedFile is a file or directory the engine may change.
type fencedFile struct {
	vfs.File
	fence *fence
	hush  bool // see fence.change
}

func (w *fencedFile) Write(p []byte) (n int, err error) {
	n = len(p)
	err = w.fence.change(w.hush, func() (err error) { n, err = w.File.Write(p); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (w *fencedFile) WriteAt(p []byte, at int64) (n int, err error) {
	n = len(p)
	err = w.fence.change(w.hush, func() (err error) { n, err = w.File.WriteAt(p, at); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (w *fencedFile) Sync() error {
	return w.fence.change(w.hush, w.File.Sync)
}

func (w *fencedFile) SyncData() error {
	return w.fence.change(w.hush, w.File.SyncData)
}

func (w *fencedFile) SyncTo(length int64) (full bool, err error) {
	err = w.fence.change(w.hush, func() (err error) { full, err = w.File.SyncTo(length); return err })
	return full && w.fence.failure() == nil, err
}

// Preallocate asks for space ahead of use. The write that follows tells
// whether there is any.
func (w *fencedFile) Preallocate(offset, length int64) error {
	if reason := w.fence.failure(); reason != nil {
		return nil
	}
	return w.File.Preallocate(offset, length)
}

// Stat of a log must not fail: the engine asks while it rotates logs.
func (w *fencedFile) Stat() (vfs.FileInfo, error) {
	info, err := w.File.Stat()
	if err != nil && w.hush {
		w.fence.close(err)
		return vfs.NewMemFile(nil).Stat()
	}
	return info, err
}

// Close always reaches the file: descriptors are given back even behind a shut
// fence. Some file systems report a lost write only here.
func (w *fencedFile) Close() error {
	err := w.File.Close()
	if err == nil || errors.Is(err, os.ErrClosed) {
		return err
	}
	w.fence.close(err)
	if w.hush || !w.fence.running.Load() {
		return nil
	}
	return err
}
