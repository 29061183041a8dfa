package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	engineDir = "pebble"
	logSubdir = "wal"

	// engineFormat is pinned, never "newest": a release must not write what
	// the release before it cannot read without FormatVersion saying so. This
	// one has log chunks that tell a torn end from damage, and checksummed
	// table footers.
	engineFormat = pebble.FormatTableFormatV6

	defaultCacheBytes = 16 << 20
	memTableBytes     = 8 << 20 // also the size of a log: up to 6 of them stay for reuse
	maxOpenFiles      = 512

	// Commits wait when so much is not yet flushed or compacted. The engine
	// has limits of its own, but a commit that waits there waits for ever once
	// the disk has failed. (Not fewer than 2 tables: the engine flushes once
	// half a table has piled up, and small ones come first.)
	maxMemTables = 4
	maxSublevels = 20
	noLimit      = 1 << 20
)

// engine is one open Pebble and its fence. Recover replaces it.
type engine struct {
	db    *pebble.DB
	fence *fence
	dir   string          // of the tables
	opt   *pebble.Options // as the engine has them

	memTable   uint64       // bytes of one memory table
	unmeasured atomic.Int64 // bytes committed since the last look
	crowded    atomic.Bool  // the last look found too much
	mu         sync.Mutex
	bad        map[string]struct{} // files of rotten tables: compactions over them never end, see Mend
	work       sync.WaitGroup      // unlessShut
	progress   chan struct{}       // closed and replaced when a flush or compaction ends
	reported   map[string]struct{} // troubles the log has heard of
}

func openEngine(disk vfs.FS, dir string, opt Options, readOnly bool) (*engine, error) {
	root := disk.PathJoin(dir, engineDir)
	logDir := disk.PathJoin(root, logSubdir)
	eng := &engine{fence: newFence(disk, logDir), progress: make(chan struct{}), reported: map[string]struct{}{}, bad: map[string]struct{}{}, dir: root}
	settings := eng.settings(opt, logDir)
	eng.opt = settings
	settings.ReadOnly = readOnly
	eng.memTable = settings.MemTableSize
	db, err := pebble.Open(root, settings)
	eng.db = db
	if failure := eng.fence.failure(); failure != nil {
		// The engine may believe that it opened: see fence.
		return nil, errors.Join(fmt.Errorf("store %s: open: %w", dir, failure), eng.close())
	}
	switch {
	case err == nil:
	case pebble.IsCorruptionError(err):
		return nil, fmt.Errorf("store %s: open: %w", dir, &CorruptError{Err: err})
	default:
		return nil, fmt.Errorf("store %s: open: %w", dir, writeError(err))
	}
	eng.fence.running.Store(true)
	return eng, nil
}

func (e *engine) settings(opt Options, logDir string) *pebble.Options {
	level := pebble.LevelOptions{
		BlockSize:    8 << 10,
		FilterPolicy: bloom.FilterPolicy(10),
		// Values are sealed: compressing them costs time and saves nothing.
		Compression: func() *sstable.CompressionProfile { return sstable.NoCompression },
	}
	settings := &pebble.Options{
		FS:                          e.fence,
		WALDir:                      logDir,
		FormatMajorVersion:          engineFormat,
		CacheSize:                   opt.CacheBytes,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: noLimit,
		L0StopWritesThreshold:       noLimit,
		MaxOpenFiles:                maxOpenFiles,
		Logger:                      &engineLog{log: opt.Logger, fence: e.fence},
		EventListener:               e.listener(opt),
	}
	for i := range settings.Levels {
		settings.Levels[i] = level
	}
	if opt.tune != nil {
		opt.tune(settings)
	}
	settings.EnsureDefaults()
	return settings
}

// listener hears of progress and of damage. Without DataCorruption the engine
// would end the process over one rotten table.
func (e *engine) listener(opt Options) *pebble.EventListener {
	log := opt.Logger
	return &pebble.EventListener{
		FlushEnd:      func(pebble.FlushInfo) { e.moved() },
		CompactionEnd: func(pebble.CompactionInfo) { e.moved() },
		BackgroundError: func(err error) {
			known := pebble.IsCorruptionError(err) || e.fence.failure() != nil
			if !known && e.isNew(err.Error()) {
				log.Error("store: work in the background failed", "err", err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			e.noteRotten(e.fence.PathBase(info.Path))
			opt.damaged.Store(true)
			if e.isNew(info.Path) {
				log.Error("store: damaged bytes on disk", "file", info.Path, "err", info.Details)
				opt.Rotten()
			}
		},
	}
}

const maxReported = 1000

// isNew keeps the engine, which tries a failed compaction ten times a second,
// from saying the same thing as often.
func (e *engine) isNew(trouble string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, old := e.reported[trouble]; old || len(e.reported) == maxReported {
		return false
	}
	e.reported[trouble] = struct{}{}
	return true
}

// noteRotten is told of a table that is rotten.
func (e *engine) noteRotten(file string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bad[file] = struct{}{}
}

// rotten returns the files of the tables that are known to be rotten.
func (e *engine) rotten() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.bad))
}

// cured is told of rotten tables that are gone.
func (e *engine) cured(files []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range files {
		delete(e.bad, f)
	}
}

func (e *engine) moved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.progress)
	e.progress = make(chan struct{})
}

// makeRoom holds back a commit of n bytes while flushes and compactions are
// behind. It gives up when the disk fails or ctx ends.
func (e *engine) makeRoom(ctx context.Context, n int) error {
	if uint64(e.unmeasured.Add(int64(n))) < e.memTable/4 && !e.crowded.Load() {
		return nil
	}
	e.unmeasured.Store(0)
	for {
		e.mu.Lock()
		progress := e.progress
		e.mu.Unlock()
		var m *pebble.Metrics // waits for a manifest that may stand before the shut fence
		if err := e.unlessShut(func() error { m = e.db.Metrics(); return nil }); err != nil {
			return fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
		crowded := m.MemTable.Size > maxMemTables*e.memTable ||
			m.Levels[0].Sublevels > maxSublevels && len(e.rotten()) == 0
		e.crowded.Store(crowded)
		if !crowded {
			return nil
		}
		select {
		case <-progress:
		case <-e.fence.shut:
			return fmt.Errorf("%w: %w", ErrReadOnly, e.fence.failure())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle moves what is only in the log into tables. The next open has nothing
// to replay, and rot is noticed: tables have a checksum for every block, while
// damage in the last 32 KiB of a log looks like the torn end that a power loss
// leaves.
func (e *engine) settle() {
	if e.writable() == nil {
		_ = e.flush() // the log still has everything
	}
}

// flush moves what is only in the log into tables, or says why the fence is shut.
func (e *engine) flush() error {
	flushed, err := e.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-e.fence.shut:
		return e.fence.failure()
	}
}

// unlessShut runs what writes through the fence, and does not wait for it once that is
// shut: it may then stand before the fence until close lets it go.
func (e *engine) unlessShut(work func() error) error {
	done := make(chan error, 1)
	e.work.Go(func() { done <- work() })
	select {
	case err := <-done:
		if failure := e.fence.failure(); failure != nil {
			return failure
		}
		return err
	case <-e.fence.shut:
		return e.fence.failure()
	}
}

func (e *engine) close() error {
	e.fence.release()
	e.work.Wait()
	if e.db == nil {
		return nil
	}
	err := e.db.Close()
	if e.fence.failure() != nil {
		return nil // it complains of the fence, which has been reported
	}
	return err
}

// engineLog hands the engine's own words to slog. The engine calls Fatalf when
// it cannot go on writing; the process can go on reading, so the fence shuts
// instead.
type engineLog struct {
	log   *slog.Logger
	fence *fence
}

func (l *engineLog) Infof(format string, args ...interface{}) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("store: engine: " + fmt.Sprintf(format, args...))
	}
}

func (l *engineLog) Errorf(format string, args ...interface{}) {
	l.log.Error("store: engine: " + fmt.Sprintf(format, args...))
}

func (l *engineLog) Fatalf(format string, args ...interface{}) {
	err := fmt.Errorf("engine gave up: "+format, args...)
	l.fence.close(err)
	l.log.Error("store: read-only from here", "err", err)
}
