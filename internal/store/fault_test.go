package store

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// fault is a disk that fails from its n-th change on, until it is mended.
type fault struct {
	at     int64
	err    syscall.Errno
	once   bool // only that one operation fails, as after a passing hiccup
	mended atomic.Bool
	struck atomic.Bool
	seen   atomic.Int64
}

func (f *fault) wrap(disk vfs.FS) vfs.FS {
	return everyChange(disk, func(n int64, op errorfs.Op) error {
		f.seen.Store(n)
		if f.mended.Load() || n < f.at || f.once && n > f.at {
			return nil
		}
		f.struck.Store(true)
		return &os.PathError{Op: "write", Path: op.Path, Err: f.err}
	})
}

// mustBeFault checks that a caller can tell what happened.
func mustBeFault(t *testing.T, err error, want syscall.Errno) {
	t.Helper()
	require.ErrorIs(t, err, want)
	var full *DiskFullError
	var broken *IOError
	if want == syscall.ENOSPC {
		require.ErrorAs(t, err, &full)
	} else {
		require.ErrorAs(t, err, &broken)
	}
}

// strike runs one workload over one fault and follows it to the end: reads go
// on, writes are refused with the reason, Recover brings them back, and
// neither a crash nor a restart at the worst moment loses a thing.
func strike(t *testing.T, f *fault, writers, batches int) {
	l := newLedger(writers)
	disk := vfs.NewCrashableMem()
	s, err := Open("/db", Options{FS: f.wrap(disk), tune: small})
	if err != nil {
		mustBeFault(t, err, f.err)
	} else {
		err := l.write(s, batches)
		for err == nil && !f.struck.Load() && f.at < 1<<40 {
			err = l.write(s, int(l.acked[0].Load())+1)
		}
		if err != nil {
			mustBeFault(t, err, f.err)
			require.ErrorIs(t, s.Writable(), ErrReadOnly)
		}
		require.NoError(t, l.check(s, l.floor()), "reads must go on")
		if s.Writable() != nil {
			mustBeFault(t, s.Writable(), f.err)
			require.ErrorIs(t, s.Commit(t.Context(), l.batch(0, 0)), ErrReadOnly)
		}
		require.NoError(t, reopen(l, l.floor(), crash(disk, 0)), "power loss after the fault")
		require.NoError(t, reopen(l, l.floor(), crash(disk, uint64(3*f.at+1))), "power loss after the fault")
		require.NoError(t, reopen(l, l.floor(), crash(disk, 2)), "kill after the fault")
		if s.Writable() != nil {
			if !f.once {
				mustBeFault(t, s.Recover(t.Context()), f.err)
				require.NoError(t, l.check(s, l.floor()), "reads after a recovery that failed")
			}
			f.mended.Store(true)
			require.NoError(t, s.Recover(t.Context()))
			require.NoError(t, s.Writable())
			require.NoError(t, l.check(s, l.floor()), "recovered")
			l.adopt(t, s)
			require.NoError(t, l.write(s, batches+5))
			require.NoError(t, l.check(s, l.floor()))
		}
		require.NoError(t, s.Close())
	}
	f.mended.Store(true)
	require.NoError(t, reopen(l, l.floor(), disk), "restart")
}

// adopt makes the ledger continue after batches whose outcome was open.
func (l *ledger) adopt(t *testing.T, s *Store) {
	for w, db := range l.writers {
		have := int64(0)
		for _, err := range s.Scan(Commits(db)) {
			require.NoError(t, err)
			have++
		}
		l.acked[w].Store(have)
	}
}

func TestAFailingDiskAtEveryOperation(t *testing.T) {
	const batches = 30
	whole := &fault{at: 1 << 40}
	strike(t, whole, 1, batches)
	total := whole.seen.Load()
	require.Greater(t, total, int64(100))
	count := 0
	for n := int64(1); n <= total; n += stride {
		for _, f := range []*fault{
			{at: n, err: syscall.ENOSPC},
			{at: n, err: syscall.EIO, once: true},
		} {
			name := fmt.Sprintf("operation %d, %v, once %v", n, f.err, f.once)
			if !t.Run(name, func(t *testing.T) { strike(t, f, 1+int(n%2), batches) }) {
				return
			}
			count++
		}
	}
	t.Logf("%d faults", count)
}

// A disk whose reads fail must not be taken for one that is empty.
func TestAFailedReadIsAnErrorAndNotAnAbsence(t *testing.T) {
	disk := vfs.NewMem()
	l := newLedger(1)
	s, err := Open("/db", Options{FS: disk, tune: small})
	require.NoError(t, err)
	require.NoError(t, l.write(s, 100))
	require.NoError(t, s.Close())

	var broken atomic.Bool
	reads := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileReadAt {
			return syscall.EIO
		}
		return nil
	}))
	s, err = Open("/db", Options{FS: reads, CacheBytes: 1, tune: small})
	require.NoError(t, err)
	broken.Store(true)
	failed := 0
	for n := range 100 {
		id, _ := blockOf(0, n)
		_, err := s.Get(Block(id))
		if err != nil {
			mustBeFault(t, err, syscall.EIO)
			has, err := s.Has(Block(id))
			require.Error(t, err)
			require.False(t, has)
			failed++
		}
	}
	require.NotZero(t, failed)
	require.NoError(t, s.Writable(), "a failed read does not stop writes")
	broken.Store(false)
	require.NoError(t, l.check(s, l.floor()))
	require.NoError(t, s.Close())
}

// Bytes that rot on the disk are noticed, do not spread, and setting the block
// again heals it.
func TestRottenBytesAreNoticedAndHealed(t *testing.T) {
	disk := vfs.NewMem()
	l := newLedger(1)
	s, err := Open("/db", Options{FS: disk, tune: small})
	require.NoError(t, err)
	require.NoError(t, l.write(s, 200))
	require.NoError(t, s.Close())
	rot(t, disk)

	heard := new(lines)
	s, err = Open("/db", Options{FS: disk, tune: small, Logger: slog.New(slog.NewTextHandler(heard, nil))})
	require.NoError(t, err)
	rotten, sound := 0, 0
	for n := range 200 {
		id, body := blockOf(0, n)
		value, err := s.Get(Block(id))
		if err == nil {
			require.Equal(t, body, value)
			sound++
			continue
		}
		rotten++
		var damage *CorruptError
		require.ErrorAs(t, err, &damage)
		require.Equal(t, Block(id), damage.Key)
		b := s.NewBatch()
		b.Set(Block(id), body)
		require.NoError(t, s.Commit(t.Context(), b))
		value, err = s.Get(Block(id))
		require.NoError(t, err)
		require.Equal(t, body, value)
	}
	require.NotZero(t, rotten)
	require.NotZero(t, sound)
	require.NoError(t, s.Writable(), "damage to some blocks does not stop writes")
	t.Logf("%d rotten, %d sound", rotten, sound)
	require.NoError(t, s.Close())
	require.Equal(t, 1, strings.Count(heard.String(), "damaged bytes on disk"), "once per file: %s", heard)
}

// lines is what a logger wrote; the engine writes from many goroutines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// rot flips one byte in the middle of the largest table.
func rot(t *testing.T, disk *vfs.MemFS) {
	names, err := disk.List("/db/pebble")
	require.NoError(t, err)
	var largest string
	var size int64
	for _, name := range names {
		info, err := disk.Stat("/db/pebble/" + name)
		require.NoError(t, err)
		if len(name) > 4 && name[len(name)-4:] == ".sst" && info.Size() > size {
			largest, size = name, info.Size()
		}
	}
	raw, err := disk.UnsafeGetFileDataBuffer("/db/pebble/" + largest)
	require.NoError(t, err)
	raw[len(raw)/3] ^= 1
}

func TestADamagedLogOrManifestIsACorruptErrorAndNotAPanic(t *testing.T) {
	for _, part := range []string{"MANIFEST", ".log"} {
		disk := vfs.NewCrashableMem()
		l := newLedger(1)
		s, err := Open("/db", Options{FS: disk}) // a log of several blocks
		require.NoError(t, err)
		require.NoError(t, l.write(s, 200))
		killed := crash(disk, 0)
		require.NoError(t, s.Close())
		require.True(t, damage(t, killed, part))
		s, err = Open("/db", Options{FS: killed})
		if err == nil {
			require.NoError(t, s.Close())
			t.Fatalf("%s: opened over damage", part)
		}
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt, part)
	}
}

// damage flips a byte early in every file whose name holds part.
func damage(t *testing.T, disk *vfs.MemFS, part string) (found bool) {
	for _, dir := range []string{"/db/pebble/", "/db/pebble/wal/"} {
		names, err := disk.List(dir)
		require.NoError(t, err)
		for _, name := range names {
			raw, err := disk.UnsafeGetFileDataBuffer(dir + name)
			if err != nil || len(raw) < 32 || !strings.Contains(name, part) || strings.Contains(name, "marker") {
				continue
			}
			raw[20] ^= 1
			found = true
		}
	}
	return found
}
