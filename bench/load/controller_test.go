package load

import (
	"testing"
	"time"
)

// TestControllerFindsTheLimit runs the controller against a system with a limit for publishing and
// delivering.
func TestControllerFindsTheLimit(t *testing.T) {
	const limit = 300_000.0
	c, rate := newController(), controlRate
	var published int64
	var seen []float64
	for range 60 {
		published += int64(min(rate, limit) * controlEvery.Seconds())
		rate = c.next(rate, controlEvery, published, published)
		seen = append(seen, rate)
	}
	if seen[0] != 2*controlRate || seen[1] != 4*controlRate {
		t.Errorf("begins with %v, want doubling from %v", seen[:2], controlRate)
	}
	if c.best < limit/2 || c.best > limit {
		t.Errorf("%.0f was sustained, of %.0f: %.0f", c.best, limit, seen)
	}
}

func TestControllerWaitsForReaders(t *testing.T) {
	c := newController()
	// 20,000 records were read and 30,000 wait.
	if got := c.next(50_000, time.Second, 50_000, 20_000); got != 0 {
		t.Errorf("%.0f, want 0: they have to catch up", got)
	}
	// 78,000 records were read and 2,000 wait.
	if got := c.next(50_000, time.Second, 100_000, 98_000); got != 76_000 {
		t.Errorf("%.0f, want 76,000", got)
	}
	// The factor was halved twice and doubled once.
	if got := c.next(70_000, time.Second, 170_000, 169_500); got != 105_000 {
		t.Errorf("%.0f, want 105,000", got)
	}
}
