//go:build unix

package node

import (
	"fmt"
	"os"
	"syscall"
)

// inodeOf names a directory by device and inode.
func inodeOf(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
	}
	return dir, nil
}
