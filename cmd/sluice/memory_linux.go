package main

import "golang.org/x/sys/unix"

// memoryFolder returns a folder whose files are in memory, and how much room it has. If there is
// none, it returns "", which stands for the system's temporary folder.
func memoryFolder() (folder string, freeBytes int64) {
	const shared = "/dev/shm"
	var s unix.Statfs_t
	if err := unix.Statfs(shared, &s); err != nil || s.Type != unix.TMPFS_MAGIC || unix.Access(shared, unix.W_OK) != nil {
		return "", 0
	}
	return shared, int64(s.Bavail) * s.Bsize
}
