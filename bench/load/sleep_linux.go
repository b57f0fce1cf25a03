package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep waits with the kernel's timer. time.Sleep may wait a millisecond too long when the process
// is idle, since epoll counts in milliseconds; that would be the largest part of a latency.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // a signal only ends it early
}
