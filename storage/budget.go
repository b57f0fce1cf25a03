package storage

import (
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Fractions of the WAL budget (docs/operations.md). What is above refuseAt is the
// reserve for state records, which are what lets the WAL shrink.
const (
	throttleAt     = 0.70
	throttleHardAt = 0.85
	refuseAt       = 0.95

	throttleSoft = 100 * time.Millisecond // at the upper end of the first band
	throttleHard = time.Second
)

// budget counts what is not in the bucket yet against what the operator allows.
type budget struct {
	bytesMax   int64
	batchesMax int64

	queued    atomic.Int64 // bytes handed to the WAL, not durable yet
	batches   atomic.Int64 // in the index and not committed
	span      atomic.Int64 // of the own WAL: durable end minus lowest uncommitted position
	tailBytes atomic.Int64 // of sealed tails
}

// used returns the fuller of the two budgets, from 0 to 1 and above, if extra bytes came.
func (b *budget) used(extra int64) float64 {
	bytes := float64(b.queued.Load()+b.span.Load()+b.tailBytes.Load()+extra) / float64(b.bytesMax)
	return max(bytes, float64(b.batches.Load())/float64(b.batchesMax))
}

func (b *budget) placed(bytes int64, batches int) {
	b.queued.Add(bytes)
	b.batches.Add(int64(batches))
}

// throttle returns for how long a producer should be held back after its answer (KIP-219).
func (b *budget) throttle() time.Duration {
	switch u := b.used(0); {
	case u < throttleAt:
		return 0
	case u < throttleHardAt:
		return time.Duration((u - throttleAt) / (throttleHardAt - throttleAt) * float64(throttleSoft))
	default:
		return throttleHard
	}
}

// Throttle returns for how long the broker should stop reading from a producer
// whose request it has just answered; 0 while there is room.
func (e *Engine) Throttle() time.Duration { return e.budget.throttle() }

// persistedMore is called after each durable group.
func (e *Engine) persistedMore(bytes int64) {
	e.budget.queued.Add(-bytes)
	e.measureSpan()
	if e.unflushed.Add(bytes) >= e.cfg.flushAt() {
		signal(e.flushNow)
	}
	e.hot.evict()
}

// measureSpan notes how much of the own WAL is in use.
func (e *Engine) measureSpan() {
	e.budget.span.Store(int64(e.wal.Durable() - ident.Position(e.trimmedTo.Load())))
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
