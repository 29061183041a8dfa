package store

import "github.com/cockroachdb/pebble/v2/vfs"

// FS is a file system a store can lie on: the seam for tests. Callers above this
// room name it without naming the engine.
type FS = vfs.FS

// NewMem returns an empty file system in memory.
func NewMem() FS { return vfs.NewMem() }
