package storage_test

import (
	"testing"
	"testing/synctest"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// behindRig has a log of 40 batches, each in an object of its own, and room for all of them in the
// cache.
func behindRig(t *testing.T) (*rig, *modelLog) {
	r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 1; c.CacheBytes = 8 << 20 })
	m := r.newLog("cold", nil)
	r.fillFlushed(m, 40)
	r.restart()
	return r, m
}

// A reader that goes on where it ended finds the next batches in the cache, even if the bucket has
// gone down meanwhile.
func TestReadAheadOfASequentialReader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m := behindRig(t)
		next := m.start
		for range 4 {
			next = m.holds(t, r.fetch(m.tp, next, 1))
			synctest.Wait()
		}
		r.bucket.Away(fault.Hang)
		for range 8 {
			q := r.fetch(m.tp, next, 1)
			if q.Err != nil || q.Bytes == 0 {
				t.Fatalf("at %d: %v, %d bytes", next, q.Err, q.Bytes)
			}
			next = m.holds(t, q)
		}
	})
}

// A reader that jumps about gets what it asks for, and nothing more is read.
func TestNoReadAheadOfARandomReader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m := behindRig(t)
		read := func(o ident.Offset) int {
			before := r.bucket.Calls(bucket.OpReadAt)
			m.holds(t, r.fetch(m.tp, o, 1))
			synctest.Wait()
			return r.bucket.Calls(bucket.OpReadAt) - before
		}
		for o := m.end() - 1; o > m.start; o -= 2 {
			if n := read(o); n > 4 { // manifest, leaf, section, batch
				t.Fatalf("%d reads for offset %d", n, o)
			}
		}
	})
}

// Small ranges, as a bundle of many partitions leaves them, are combined into one answer.
func TestColdReadGoesOnInTheNextRange(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m := behindRig(t)
		q := r.fetch(m.tp, m.start, 1<<20)
		m.holds(t, q)
		if len(q.Batches) != 4 {
			t.Errorf("%d batches in one answer, want those of 4 ranges", len(q.Batches))
		}
		one := len(q.Batches[0])
		if q = r.fetch(m.tp, m.start, one); len(q.Batches) != 1 {
			t.Errorf("%d batches, the limit allows 1", len(q.Batches))
		}
		r.bucket.FailAt(bucket.OpReadAt, r.bucket.Calls(bucket.OpReadAt)+2, fault.Refused)
		m.holds(t, r.fetch(m.tp, m.start+8, 1<<20))
	})
}

// A read ahead of a reader does not outlive the engine.
func TestReadAheadEndsWithTheEngine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, m := behindRig(t)
		next := m.holds(t, r.fetch(m.tp, m.start, 1))
		r.bucket.Script(bucket.OpReadAt, fault.None, fault.None, fault.Hang, fault.Hang, fault.Hang)
		m.holds(t, r.fetch(m.tp, next, 1))
		r.stop() // synctest fails the test if any goroutine is left
	})
}
