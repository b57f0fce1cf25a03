package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// Space returns the size of the file system that holds dir, and how much of it this process may
// still use.
func Space(dir string) (totalBytes, usableBytes int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return -1, -1, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize, nil
}
