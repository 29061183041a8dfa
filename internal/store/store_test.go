package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// open opens a store on disk (a file system in memory) and closes it with the
// test.
func open(t testing.TB, disk vfs.FS) *Store {
	t.Helper()
	s, err := Open("/db", Options{FS: disk})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put commits pairs of key and value as one batch.
func put(t testing.TB, s *Store, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	for i := 0; i < len(pairs); i += 2 {
		b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	require.NoError(t, s.Commit(t.Context(), b))
}

// list draws a scan: "a=1 b=2".
func list(t testing.TB, s *Store, span Span) string {
	t.Helper()
	text := ""
	for e, err := range s.ScanSpan(span) {
		require.NoError(t, err)
		text += fmt.Sprintf(" %s=%s", e.Key, e.Value)
	}
	if text == "" {
		return ""
	}
	return text[1:]
}

func TestABatchIsVisibleAndSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	put(t, s, "a", "1", "b", "2", "empty", "")
	b := s.NewBatch()
	b.Set([]byte("a"), []byte("old"))
	b.Set([]byte("a"), []byte("new"))
	b.Delete([]byte("b"))
	require.Equal(t, 3, b.Len())
	require.Equal(t, 9, b.Bytes())
	require.NoError(t, s.Commit(t.Context(), b))

	for range 2 {
		require.Equal(t, "a=new empty=", list(t, s, Span{}))
		value, err := s.Get([]byte("a"))
		require.NoError(t, err)
		require.Equal(t, "new", string(value))
		_, err = s.Get([]byte("b"))
		require.ErrorIs(t, err, ErrNotFound)
		_, err = s.Get(nil)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = s.Size([]byte("b"))
		require.ErrorIs(t, err, ErrNotFound)
		size, err := s.Size([]byte("a"))
		require.NoError(t, err)
		require.Equal(t, 3, size)
		for key, want := range map[string]bool{"a": true, "b": false, "empty": true} {
			has, err := s.Has([]byte(key))
			require.NoError(t, err)
			require.Equal(t, want, has, key)
		}
		require.NoError(t, s.Close())
		s, err = Open(dir, Options{})
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
}

func TestABatchMayBeCommittedAgainAndReset(t *testing.T) {
	s := open(t, vfs.NewMem())
	b := s.NewBatch()
	require.NoError(t, s.Commit(t.Context(), b), "empty")
	b.Set([]byte("k"), []byte("v"))
	require.NoError(t, s.Commit(t.Context(), b))
	put(t, s, "k", "other")
	require.NoError(t, s.Commit(t.Context(), b))
	require.Equal(t, "k=v", list(t, s, Span{}))
	b.Reset()
	require.Zero(t, b.Len())
	require.Zero(t, b.Bytes())
	b.Delete([]byte("k"))
	require.NoError(t, s.Commit(t.Context(), b))
	require.Equal(t, "", list(t, s, Span{}))
}

func TestScanShowsASpanInOrder(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, "a", "0", "b1", "1", "b2", "2", "b3", "3", "c", "4", "b\xff", "5", "\xff\xff", "6")
	for name, c := range map[string]struct {
		span Span
		want string
	}{
		"all":                 {Span{}, "a=0 b1=1 b2=2 b3=3 b\xff=5 c=4 \xff\xff=6"},
		"prefix":              {Span{Prefix: []byte("b")}, "b1=1 b2=2 b3=3 b\xff=5"},
		"from":                {Span{Prefix: []byte("b"), From: []byte("b2")}, "b2=2 b3=3 b\xff=5"},
		"from between":        {Span{Prefix: []byte("b"), From: []byte("b11")}, "b2=2 b3=3 b\xff=5"},
		"reverse":             {Span{Prefix: []byte("b"), Reverse: true}, "b\xff=5 b3=3 b2=2 b1=1"},
		"reverse from":        {Span{Prefix: []byte("b"), From: []byte("b2"), Reverse: true}, "b2=2 b1=1"},
		"from below prefix":   {Span{Prefix: []byte("b"), From: []byte("a")}, "b1=1 b2=2 b3=3 b\xff=5"},
		"from above, reverse": {Span{Prefix: []byte("b"), From: []byte("c"), Reverse: true}, "b\xff=5 b3=3 b2=2 b1=1"},
		"prefix of ff":        {Span{Prefix: []byte("\xff\xff")}, "\xff\xff=6"},
		"nothing":             {Span{Prefix: []byte("zz")}, ""},
	} {
		require.Equal(t, c.want, list(t, s, c.span), name)
	}
}

func TestScanSeesTheStoreAsItWasAndMayStop(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, "a", "1", "b", "2", "c", "3")
	seen := ""
	for e, err := range s.Scan(nil) {
		require.NoError(t, err)
		seen += string(e.Key)
		put(t, s, "bb", "new", "c", "changed") // commits inside a scan are fine
	}
	require.Equal(t, "abc", seen)
	for range s.Scan(nil) {
		break
	}
	require.NoError(t, s.Close(), "a stopped scan holds nothing open")
}

func TestLimitsAreReportedByCommitAndWriteNothing(t *testing.T) {
	s := open(t, vfs.NewMem())
	for name, change := range map[string]func(*Batch){
		"empty key": func(b *Batch) { b.Set(nil, nil) },
		"long key":  func(b *Batch) { b.Delete(make([]byte, MaxKey+1)) },
		"value":     func(b *Batch) { b.Set([]byte("k"), make([]byte, MaxValue+1)) },
		"batch": func(b *Batch) {
			for i := range 5 {
				b.Set([]byte{byte(i)}, make([]byte, MaxValue))
			}
		},
	} {
		b := s.NewBatch()
		b.Set([]byte("before"), nil)
		change(b)
		b.Set([]byte("after"), nil)
		require.ErrorIs(t, s.Commit(t.Context(), b), ErrTooLarge, name)
		require.Equal(t, "", list(t, s, Span{}), name)
	}
}

func TestACancelledContextWritesNothing(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := s.NewBatch()
	b.Set([]byte("k"), nil)
	require.ErrorIs(t, s.Commit(ctx, b), context.Canceled)
	require.Equal(t, "", list(t, s, Span{}))
}

func TestAfterCloseEverythingSaysClosed(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, "a", "1", "b", "2")
	b := s.NewBatch()
	b.Set([]byte("k"), nil)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Get([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Commit(t.Context(), b), ErrClosed)
	require.ErrorIs(t, s.Writable(), ErrClosed)
	require.ErrorIs(t, s.Recover(t.Context()), ErrClosed)
	for _, err := range s.Scan(nil) {
		require.ErrorIs(t, err, ErrClosed)
	}
}

func TestCloseEndsAScanUnderWay(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, "a", "1", "b", "2")
	closed := make(chan error)
	var last error
	for _, err := range s.Scan(nil) {
		if last = err; err != nil {
			break
		}
		go func() { closed <- s.Close() }()
		for !s.isClosed() {
		}
	}
	require.ErrorIs(t, last, ErrClosed)
	require.NoError(t, <-closed)
}

func TestDropDerivedForgetsOnlyWhatIsDerived(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, string(Derived([]byte("index/1/x"))), "1", string(Derived(nil)), "2", "derived", "3", "derived0", "4", "b/x", "5")
	require.NoError(t, s.DropDerived(t.Context()))
	require.Equal(t, "b/x=5 derived=3 derived0=4", list(t, s, Span{}))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	full := fmt.Errorf("%w: %w", ErrReadOnly, writeError(errors.New("x")))
	var io *IOError
	require.ErrorAs(t, full, &io)
	require.Contains(t, (&LockedError{Dir: "/d", Holder: Holder{PID: 7, Command: "toft"}}).Error(), `"toft" (process 7)`)
	require.Contains(t, (&LockedError{Dir: "/d"}).Error(), "another process")
	require.Contains(t, (&VersionError{Found: 9, Known: 1}).Error(), "newer")
	require.Contains(t, (&VersionError{Known: 1}).Error(), "no valid format file")
}
