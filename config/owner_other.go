//go:build !unix

package config

import "io/fs"

// ours cannot be asked here; the temporary directory belongs to one user.
func ours(fs.FileInfo) bool { return true }
