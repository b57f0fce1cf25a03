package storage

import "time"

// ThrottleOf returns how long a producer of that many bytes is held back while waiting bytes wait
// for the bucket.
func ThrottleOf(c Config, waiting, bytes int64) time.Duration {
	c = c.withDefaults()
	var b budget
	b.open(&c)
	b.durable.Store(waiting)
	return b.throttle(bytes)
}
