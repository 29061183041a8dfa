package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of a store. The zero value is right for a daemon.
type Options struct {
	// FS is the file system; nil is the disk. A given FS is locked through its
	// own Lock and names no holder.
	FS vfs.FS

	// Holder is written into the lock file for whoever comes second. A zero
	// PID means this process, an empty Command the base name of its binary.
	Holder Holder

	// CacheBytes bounds the cache of table blocks; 0 means 16 MiB.
	CacheBytes int64

	// NoSync makes Commit return before its bytes are safe. For benchmarks
	// only: acknowledged writes are lost with the power.
	NoSync bool

	// Logger hears of damage and of a failed disk; nil is silent.
	Logger *slog.Logger

	// Rotten is called when a table turns out to be rotten, once for each, from
	// wherever that was noticed: it must not wait and not call the store. See Mend.
	Rotten func()

	tune    func(*pebble.Options) // tests shrink the engine
	damaged *atomic.Bool          // some table is known to be rotten
}

// Store is one open directory. Its methods may be called from any goroutine.
type Store struct {
	dir  string
	disk vfs.FS
	opt  Options
	lock io.Closer

	mu     sync.Mutex
	quiet  *sync.Cond // users is 0
	users  int        // calls and scans that hold eng
	closed bool
	done   chan struct{} // closed when Close has let the lock go
	eng    *engine       // nil after a Recover that failed half-way

	losing sync.Mutex            // one change of lost at a time
	lost   atomic.Pointer[spans] // what Mend could not read; changes with what is on disk
}

// Open opens the store in dir, or creates it. It returns a *VersionError for a
// format it does not know and a *LockedError if somebody has it open, in both
// cases without a change on the disk; a *CorruptError if the log or the
// manifest is damaged; a *DiskFullError or *IOError if the disk fails.
func Open(dir string, opt Options) (*Store, error) {
	opt = withDefaults(opt)
	disk := opt.FS
	if disk == nil {
		disk = vfs.Default
	}
	if _, err := readFormat(disk, dir); err != nil {
		return nil, err
	}
	if err := makeDir(disk, dir); err != nil {
		return nil, fmt.Errorf("store %s: make directory: %w", dir, writeError(err))
	}
	lock, err := lockIn(disk, dir, opt)
	if err != nil {
		return nil, err
	}
	eng, err := openLocked(disk, dir, opt)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Store{dir: dir, disk: disk, opt: opt, lock: lock, eng: eng, done: make(chan struct{})}
	s.quiet = sync.NewCond(&s.mu)
	if err := s.loadLost(); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: open: %w", dir, err), eng.close(), lock.Close())
	}
	return s, nil
}

func withDefaults(opt Options) Options {
	if opt.Holder.PID == 0 {
		opt.Holder.PID = os.Getpid()
	}
	if opt.Holder.Command == "" {
		opt.Holder.Command = filepath.Base(os.Args[0])
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = defaultCacheBytes
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Rotten == nil {
		opt.Rotten = func() {}
	}
	opt.damaged = new(atomic.Bool)
	return opt
}

// makeDir creates dir for its owner only and makes its name durable.
func makeDir(disk vfs.FS, dir string) error {
	_, err := disk.Stat(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(disk, disk.PathDir(dir))
}

func lockIn(disk vfs.FS, dir string, opt Options) (io.Closer, error) {
	if opt.FS == nil {
		return lockDir(dir, opt.Holder)
	}
	lock, err := disk.Lock(disk.PathJoin(dir, lockFile))
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES):
		return nil, &LockedError{Dir: dir}
	default:
		return nil, fmt.Errorf("store %s: lock: %w", dir, writeError(err))
	}
}

// openLocked looks at the format once more: another process may have created
// the store between the first look and the lock.
func openLocked(disk vfs.FS, dir string, opt Options) (*engine, error) {
	found, err := readFormat(disk, dir)
	if err != nil {
		return nil, err
	}
	if found == 0 {
		if err := create(disk, dir, opt); err != nil {
			return nil, err
		}
	}
	return openEngine(disk, dir, opt, false)
}

// create makes a fresh store: the format first, then an engine that is opened
// and closed once. The engine starts its first log before it takes up its
// format, so that log would lack the marks that tell damage from a torn end,
// and one rotten byte would silently hide every batch behind it.
func create(disk vfs.FS, dir string, opt Options) error {
	if err := writeFormat(disk, dir); err != nil {
		return err
	}
	eng, err := openEngine(disk, dir, opt, false)
	if err != nil {
		return err
	}
	err = eng.close()
	if failure := eng.fence.failure(); failure != nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("store %s: create: %w", dir, err)
	}
	return nil
}

// enter returns the engine and keeps it open until leave.
func (s *Store) enter() (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.eng == nil {
		return nil, fmt.Errorf("store %s: unusable since a failed Recover: %w", s.dir, ErrClosed)
	}
	s.users++
	return s.eng, nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users == 0 {
		s.quiet.Broadcast()
	}
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close waits for the commits and reads under way, closes the engine and lets
// the lock go. It may be called again. A scan under way ends with ErrClosed at
// its next step; Close must not be called from inside a scan's own loop.
// Nothing depends on Close being reached: it only makes the next Open faster.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	defer s.mu.Unlock()
	defer close(s.done)
	s.closed = true
	for s.users > 0 {
		s.quiet.Wait()
	}
	var err error
	if s.eng != nil {
		s.eng.settle()
		err = s.eng.close()
	}
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("store %s: close: %w", s.dir, err)
	}
	return nil
}

// Writable returns nil, or why Commit refuses: an error that wraps ErrReadOnly
// and the *DiskFullError or *IOError that caused it.
func (s *Store) Writable() error {
	eng, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	return eng.writable()
}

func (e *engine) writable() error {
	if failure := e.fence.failure(); failure != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, failure)
	}
	return nil
}

// probeBytes is what Recover must be able to write and sync before it gives up
// the engine that can at least read.
const probeBytes = 1 << 20

// Recover makes a store writable again after its disk failed, without a
// restart. It returns nil at once if nothing is wrong. Otherwise it tries the
// disk with a megabyte; if that works it waits until no call or scan is under
// way (ctx bounds the wait), closes the engine and opens it anew from what the
// disk holds. A batch whose Commit returned a *DiskFullError or *IOError is
// then there whole or not at all: callers that care look.
func (s *Store) Recover(ctx context.Context) error {
	if err := s.Writable(); !errors.Is(err, ErrReadOnly) {
		return err
	}
	if err := s.probe(); err != nil {
		return fmt.Errorf("store %s: recover: %w", s.dir, writeError(err))
	}
	if err := s.alone(ctx); err != nil {
		return fmt.Errorf("store %s: recover: %w", s.dir, err)
	}
	defer s.mu.Unlock()
	if s.eng == nil || s.eng.fence.failure() == nil {
		return nil // another Recover was faster
	}
	return s.reopen()
}

// alone waits until no call or scan is under way, or ctx ends, and returns with mu
// held, so that none begins.
func (s *Store) alone(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.quiet.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	for s.users > 0 && ctx.Err() == nil {
		s.quiet.Wait()
	}
	err := ctx.Err()
	if err == nil && s.closed {
		err = ErrClosed
	}
	if err != nil {
		s.mu.Unlock()
	}
	return err
}

// reopen replaces the engine. If the disk fails again meanwhile, the store
// goes on reading; only if it cannot even be read is there no engine left.
func (s *Store) reopen() error {
	failure := s.eng.fence.failure()
	_ = s.eng.close() // says only that the disk has failed
	s.eng = nil
	eng, err := openEngine(s.disk, s.dir, s.opt, false)
	if err != nil {
		reader, readErr := openEngine(s.disk, s.dir, s.opt, true)
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		reader.fence.close(failure)
		s.eng = reader
		return err
	}
	s.eng = eng
	return nil
}

func (s *Store) probe() error {
	name := s.disk.PathJoin(s.dir, "probe")
	f, err := s.disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), s.disk.Remove(name))
}
