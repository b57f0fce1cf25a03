package storage_test

import (
	"testing"
)

// TestProduceAndRead takes the normal path: produce, read, flush, restart, read from the bucket.
func TestProduceAndRead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, seed(t))
		a := r.mustCreate("a", 2, nil)
		b := r.mustCreate("b", 1, classObject)
		for range 30 {
			r.mustSend(r.plain(a[0], 3), r.batch(a[1], 2, 100, 7), r.batch(b[0], 1, 50, 8))
		}
		r.check()
		r.restart()
		r.check()
		r.resume()
		r.mustFlush()
		r.check()
		r.crash()
		r.mustOpen()
		r.check()
		r.resume()
		r.mustFlush()
		if n := r.tails(); n != 0 {
			t.Errorf("%d tails after a flush", n)
		}
		r.restart()
		r.check()
	})
}
