package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep waits with the kernel's timer. time.Sleep may wait a millisecond longer than asked when the process is idle, as epoll
// counts in milliseconds, which would be the largest part of a latency.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // a signal only ends it early
}
