//go:build !plantedbug_nosync

package store

// plantedNoSync is true in a build with tag plantedbug_nosync, where Commit
// forgets the fsync: the crash tests must notice.
const plantedNoSync = false
