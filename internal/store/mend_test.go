package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// largestTable returns the largest table of a store on a real disk.
func largestTable(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, engineDir, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return slices.MaxFunc(names, func(a, b string) int {
		x, err := os.Stat(a)
		require.NoError(t, err)
		y, err := os.Stat(b)
		require.NoError(t, err)
		return int(x.Size() - y.Size())
	})
}

// A table on a real disk rots. As long as it is there no compaction over it ends; Mend
// takes it away, everything that could be read is still there, and what could not is
// told so, not told to be absent, until it is written again. Then tables no longer pile
// up.
func TestARottenTableIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	heard := 0
	opt := Options{tune: small, Rotten: func() { heard++ }}
	l := newLedger(1)
	s, err := Open(dir, opt)
	require.NoError(t, err)
	require.NoError(t, l.write(s, 300))
	require.NoError(t, s.Close())
	victim := largestTable(t, dir)
	raw, err := os.ReadFile(victim)
	require.NoError(t, err)
	raw[len(raw)/3] ^= 1
	require.NoError(t, os.WriteFile(victim, raw, 0o600))

	s, err = Open(dir, opt)
	require.NoError(t, err)
	require.ErrorAs(t, s.Compact(t.Context()), new(*CorruptError), "a compaction over it cannot end")
	require.True(t, s.Damaged())
	require.Equal(t, 1, heard)
	var bad, good int
	look := func() {
		bad, good = 0, 0
		for n := range 300 {
			id, body := blockOf(0, n)
			value, err := s.Get(Block(id))
			var damage *CorruptError
			switch {
			case errors.As(err, &damage):
				bad++
			default:
				require.NoError(t, err)
				require.Equal(t, body, value)
				good++
			}
		}
	}
	look()
	before := bad
	require.NotZero(t, bad)
	tables, err := s.Mend(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, tables)
	require.False(t, s.Damaged())
	look()
	require.LessOrEqual(t, bad, before, "nothing more is lost than could not be read")
	require.NotZero(t, bad)
	require.NoError(t, s.Compact(t.Context()))
	require.NoFileExists(t, victim)

	for range 2 { // and it stays so
		look()
		require.NotZero(t, bad)
		require.NoError(t, s.Close())
		s, err = Open(dir, opt)
		require.NoError(t, err)
	}
	for n := range 300 {
		id, body := blockOf(0, n)
		if _, err := s.Get(Block(id)); err != nil {
			has, err := s.Has(Block(id))
			require.NoError(t, err)
			require.False(t, has, "a block that is lost is not here")
			b := s.NewBatch()
			b.Set(Block(id), body)
			require.NoError(t, s.Commit(t.Context(), b))
		}
	}
	require.NoError(t, l.check(s, l.floor()))
	require.NoError(t, l.write(s, 600))
	require.NoError(t, l.check(s, l.floor()))
	require.NoError(t, s.Compact(t.Context()))
	require.NoError(t, s.Close())
	require.NoFileExists(t, filepath.Join(dir, mendFile))
}

// What lay under a rotten table must not come back: a value that had been replaced, a
// key that had been deleted. Nor may it look as if it had never been.
func TestMendingBringsNothingOldBack(t *testing.T) {
	disk := vfs.NewMem()
	opt := Options{FS: disk, tune: small}
	s, err := Open("/db", opt)
	require.NoError(t, err)
	db := [16]byte{7}
	key := func(n int) []byte { return CommitIndex(db, uint64(n)) }
	put := func(from, to int, text string) {
		t.Helper()
		b := s.NewBatch()
		for n := from; n < to; n++ {
			if text == "" {
				b.Delete(key(n))
			} else {
				b.Set(key(n), bytes.Repeat([]byte(text), 100))
			}
		}
		require.NoError(t, s.Commit(t.Context(), b))
		require.NoError(t, s.eng.db.Flush())
	}
	put(0, 400, "old")
	require.NoError(t, s.Compact(t.Context()))
	put(0, 400, "new")
	put(100, 200, "")
	require.NoError(t, s.Close())
	newest := ""
	names, err := disk.List("/db/" + engineDir)
	require.NoError(t, err)
	for _, n := range names {
		if filepath.Ext(n) == ".sst" && n > newest {
			newest = n
		}
	}
	for _, n := range names { // all but those at the bottom, which hold the old
		if filepath.Ext(n) != ".sst" {
			continue
		}
		raw, err := disk.UnsafeGetFileDataBuffer("/db/" + engineDir + "/" + n)
		require.NoError(t, err)
		if bytes.Contains(raw, []byte("newnew")) || n == newest {
			raw[len(raw)/2] ^= 1
			raw[len(raw)/4] ^= 1
		}
	}
	s, err = Open("/db", opt)
	require.NoError(t, err)
	check := func() (lost, seen int) {
		t.Helper()
		for n := range 400 {
			v, err := s.Get(key(n))
			var damage *CorruptError
			switch {
			case errors.As(err, &damage):
				lost++
				continue
			case errors.Is(err, ErrNotFound):
				require.True(t, n >= 100 && n < 200, "%d was never deleted", n)
			default:
				require.NoError(t, err)
				require.Equal(t, "new", string(v[:3]), "%d", n)
				require.False(t, n >= 100 && n < 200, "%d came back", n)
			}
			seen++
		}
		return lost, seen
	}
	lost, _ := check()
	require.NotZero(t, lost)
	for s.Damaged() {
		_, err = s.Mend(t.Context())
		require.NoError(t, err)
	}
	for range 2 {
		lost, seen := check()
		require.NotZero(t, lost)
		require.NotZero(t, seen)
		// A scan says where it can no longer tell, from either end.
		for _, reverse := range []bool{false, true} {
			var last error
			for _, err := range s.ScanSpan(Span{Prefix: Commits(db), Reverse: reverse}) {
				last = err
			}
			var damage *CorruptError
			require.ErrorAs(t, last, &damage)
			require.ErrorIs(t, last, errLost)
		}
		require.NoError(t, s.Close())
		s, err = Open("/db", opt)
		require.NoError(t, err)
	}
	// Whoever makes the whole anew takes the doubt away.
	b := s.NewBatch()
	b.DeleteSpan(Commits(db), key(300))
	require.NoError(t, s.Commit(t.Context(), b))
	for _, err := range s.ScanSpan(Span{Prefix: Commits(db), From: key(300)}) {
		t.Fatal("something is there", err)
	}
	b.Reset()
	b.DeleteSpan(Commits(db), nil)
	b.Set(key(1), []byte("made anew"))
	require.NoError(t, s.Commit(t.Context(), b))
	for range 2 {
		n := 0
		for e, err := range s.Scan(Commits(db)) {
			require.NoError(t, err)
			require.Equal(t, "made anew", string(e.Value))
			n++
		}
		require.Equal(t, 1, n)
		require.False(t, s.lostNow().meets(span{Commits(db), prefixEnd(Commits(db))}))
		require.NoError(t, s.Close())
		s, err = Open("/db", opt)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
}

// readableNow returns which keys of a ledger can be read; those that can must be right.
func (l *ledger) readableNow(t *testing.T, s *Store, batches int) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for n := range batches {
		id, body := blockOf(0, n)
		for key, want := range map[string][]byte{string(Block(id)): body, string(CommitIndex(l.writers[0], uint64(n))): id[:]} {
			v, err := s.Get([]byte(key))
			if err == nil {
				require.Equal(t, want, v)
			} else {
				require.ErrorAs(t, err, new(*CorruptError))
			}
			out[key] = err == nil
		}
	}
	return out
}

// The power goes at every operation of a mending, and the disk fills at every one: the
// table is there, or it is replaced; what could be read before can be read after.
func TestFailingWhileMending(t *testing.T) {
	const batches = 30
	l := newLedger(1)
	disk := vfs.NewCrashableMem()
	s, err := Open("/db", Options{FS: disk, tune: small})
	require.NoError(t, err)
	require.NoError(t, l.write(s, batches))
	require.NoError(t, s.Close())
	rot(t, disk)
	// begin mends, with before asked at every change; after is what a store then shows.
	begin := func(before func(disk *vfs.MemFS, n int64, op errorfs.Op) error) (s *Store, want map[string]bool, err error) {
		start, mending, first := crash(disk, 2), false, int64(0)
		var one sync.Mutex // the engine changes files from several goroutines
		s, err = Open("/db", Options{FS: everyChange(start, func(n int64, op errorfs.Op) error {
			one.Lock()
			defer one.Unlock()
			if !mending {
				first = n
				return nil
			}
			return before(start, n-first, op)
		}), tune: small})
		require.NoError(t, err)
		want = l.readableNow(t, s, batches)
		require.True(t, s.Damaged())
		one.Lock()
		mending = true
		one.Unlock()
		_, err = s.Mend(t.Context())
		return s, want, err
	}
	mended := func(where string, s *Store, want map[string]bool) {
		t.Helper()
		require.Equal(t, want, l.readableNow(t, s, batches), where)
		_, err := s.Mend(t.Context())
		require.NoError(t, err, where)
		require.False(t, s.Damaged(), where)
		require.Equal(t, want, l.readableNow(t, s, batches), where)
		require.NoError(t, s.Compact(t.Context()), where)
		require.NoError(t, s.Close(), where)
	}
	wrecks, changes := map[string]*vfs.MemFS{}, int64(0)
	s, want, err := begin(func(disk *vfs.MemFS, n int64, op errorfs.Op) error {
		if changes = n; n%stride == 0 {
			wrecks[fmt.Sprintf("operation %d (%v)", n, op)] = crash(disk, uint64(n/stride))
		}
		return nil
	})
	require.NoError(t, err)
	mended("without a fault", s, want)
	for where, wreck := range wrecks {
		s, err := Open("/db", Options{FS: wreck, tune: small})
		require.NoError(t, err, where)
		mended(where, s, want)
	}
	faults := 0
	for at := int64(1); at <= changes; at += 3 * stride {
		var over atomic.Bool
		s, want, err := begin(func(_ *vfs.MemFS, n int64, op errorfs.Op) error {
			if n < at || over.Load() {
				return nil
			}
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		})
		if err != nil {
			mustBeFault(t, err, syscall.ENOSPC)
			require.Equal(t, want, l.readableNow(t, s, batches), "reads go on")
			faults++
		}
		over.Store(true)
		require.NoError(t, s.Recover(t.Context()))
		mended(fmt.Sprintf("full disk at operation %d", at), s, want)
	}
	t.Logf("%d crash points, %d faults", len(wrecks), faults)
	require.Greater(t, changes, int64(20))
	require.Greater(t, faults, 3/stride)
}
