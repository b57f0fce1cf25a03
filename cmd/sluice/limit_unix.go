//go:build unix

package main

import "syscall"

// descriptorLimit returns how many files and sockets the process may have open. Go's runtime has
// raised the limit as far as the system allows before main began.
func descriptorLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 62 // not known, so nothing to complain about
	}
	return uint64(limit.Cur)
}
