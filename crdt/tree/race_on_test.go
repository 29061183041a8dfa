//go:build race

package tree

// Sizes of large tests: the keys of an attack and the documents of a tree. Both are
// smaller where the race detector watches every access.
const (
	groundKeys = 400
	largest    = 10_000
)
