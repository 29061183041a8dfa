//go:build !unix

package node

import "path/filepath"

// inodeOf names a directory by its path, where there are no inodes.
func inodeOf(dir string) (string, error) { return filepath.Abs(dir) }
