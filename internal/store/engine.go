package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

	memTable   uint64       // bytes of one memory table
	unmeasured atomic.Int64 // bytes committed since the last look
	crowded    atomic.Bool  // the last look found too much
	damaged    atomic.Bool  // a table is rotten: compactions over it will never end
	mu         sync.Mutex
	progress   chan struct{}       // closed and replaced when a flush or compaction ends
	reported   map[string]struct{} // troubles the log has heard of
}

func openEngine(disk vfs.FS, dir string, opt Options, readOnly bool) (*engine, error) {
	root := disk.PathJoin(dir, engineDir)
	logDir := disk.PathJoin(root, logSubdir)
	eng := &engine{fence: newFence(disk, logDir), progress: make(chan struct{}), reported: map[string]struct{}{}}
	settings := eng.settings(opt, logDir)
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
		EventListener:               e.listener(opt.Logger),
	}
	for i := range settings.Levels {
		settings.Levels[i] = level
	}
	if opt.tune != nil {
		opt.tune(settings)
	}
	return settings
}

// listener hears of progress and of damage. Without DataCorruption the engine
// would end the process over one rotten table.
func (e *engine) listener(log *slog.Logger) *pebble.EventListener {
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
			e.damaged.Store(true)
			if e.isNew(info.Path) {
				log.Error("store: damaged bytes on disk", "file", info.Path, "err", info.Details)
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
		m := e.db.Metrics()
		crowded := m.MemTable.Size > maxMemTables*e.memTable ||
			m.Levels[0].Sublevels > maxSublevels && !e.damaged.Load()
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
	if e.writable() != nil {
		return
	}
	flushed, err := e.db.AsyncFlush()
	if err != nil {
		return // the log still has everything
	}
	select {
	case <-flushed:
	case <-e.fence.shut:
	}
}

func (e *engine) close() error {
	e.fence.release()
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
