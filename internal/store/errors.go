package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrNotFound is returned by Get and Size for a key that has no value.
	ErrNotFound = errors.New("store: key not found")

	// ErrClosed is returned by every call after Close has begun.
	ErrClosed = errors.New("store: closed")

	// ErrReadOnly is wrapped by Commit once the disk has failed: nothing of
	// the batch was written. The chain also holds the reason, a
	// *DiskFullError or an *IOError. Recover makes the store writable again.
	ErrReadOnly = errors.New("store: read-only until Recover")

	// ErrTooLarge is wrapped by Commit for a batch above MaxBatch, an empty
	// key, a key above MaxKey or a value above MaxValue. Nothing was written.
	ErrTooLarge = errors.New("store: over a limit")
)

// LockedError says that another process, or another Store of this process, has
// the directory open. Nothing was touched.
type LockedError struct {
	Dir    string
	Holder Holder // zero if the lock file could not be read
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("store %s is in use by %s: stop it first, or talk to it", e.Dir, e.Holder)
}

// VersionError says that the directory was written in a format this program
// does not know. Nothing was touched.
type VersionError struct {
	Dir   string
	Found int // 0: the format file is missing beside data, or is not readable as one
	Known int
}

func (e *VersionError) Error() string {
	if e.Found > e.Known {
		return fmt.Sprintf("store %s has format %d, this program knows up to %d: use a newer toft", e.Dir, e.Found, e.Known)
	}
	return fmt.Sprintf("store %s has no valid format file: it is damaged or not a toft store, restore it from a backup", e.Dir)
}

// CorruptError says that bytes on the disk do not match their checksum. Other
// keys may still be read; setting the key again heals what Get returns.
type CorruptError struct {
	Key []byte // the key asked for, the last good key of a scan, or nil while opening
	Err error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("store: bytes on disk are damaged near key %q: %v", printable(e.Key), e.Err)
}
func (e *CorruptError) Unwrap() error { return e.Err }

// DiskFullError says that the file system has no space (or no quota) left.
// Returned by Commit without ErrReadOnly it means that the outcome of this one
// batch is open until the store is opened or recovered: it will be there whole
// or not at all.
type DiskFullError struct{ Err error }

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("store: disk full, free some space: %v", e.Err)
}
func (e *DiskFullError) Unwrap() error { return e.Err }

// IOError says that the file system failed in another way. From Commit it
// means the same as DiskFullError does.
type IOError struct{ Err error }

func (e *IOError) Error() string { return fmt.Sprintf("store: disk failed: %v", e.Err) }
func (e *IOError) Unwrap() error { return e.Err }

// writeError sorts a failure of the file system by what its owner can do.
func writeError(err error) error {
	if vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT) {
		return &DiskFullError{Err: err}
	}
	return &IOError{Err: err}
}

// readError sorts what the engine says about a read of key.
func readError(key []byte, err error) error {
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case pebble.IsCorruptionError(err):
		return &CorruptError{Key: append([]byte(nil), key...), Err: err}
	default:
		return &IOError{Err: err}
	}
}

// printable keeps error lines short: keys hold binary ids.
func printable(key []byte) []byte {
	if len(key) > 64 {
		return key[:64]
	}
	return key
}
