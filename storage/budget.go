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

	slowEarly, slowLate ramp // of what waits for the bucket

	queued    atomic.Int64 // bytes handed to the WAL, not durable yet
	batches   atomic.Int64 // in the index and not committed
	span      atomic.Int64 // of the own WAL: durable end minus lowest uncommitted position
	tailBytes atomic.Int64 // of sealed tails
	stuck     atomic.Int64 // of span: what stuck partitions alone hold back (carry.go)
}

// What waits for the bucket slows producers by what they bring, from two flushes' worth on. Early
// it grows fast: four connections that bring more than the bucket takes are held to the bucket's
// pace while what waits still fits the hot tail (four flushes' worth), and a flush that has to
// read its batches from the log again falls behind for good. Then it grows slowly: while the
// bucket is away, the log goes on taking records. A small request is hardly slowed at all.
const (
	slowEarlyPerMiB = 12 * time.Millisecond // at four flushes' worth
	slowLatePerMiB  = 60 * time.Millisecond // at throttleAt
)

func (b *budget) open(c *Config) {
	b.bytesMax, b.batchesMax = c.WALBudgetBytes, c.UnflushedBatchesMax
	flush := max(float64(c.flushAt()), float64(c.WALBudgetBytes)/64) // a small hot tail is no reason
	late := float64(c.WALBudgetBytes) * throttleAt
	b.slowEarly = ramp{min(2*flush, late/2), min(4*flush, late)}
	b.slowLate = ramp{b.slowEarly.to, late}
}

// ramp rises from 0 to 1 between two numbers of bytes.
type ramp struct{ from, to float64 }

func (r ramp) at(bytes float64) float64 {
	if bytes >= r.to {
		return 1
	}
	return max(0, (bytes-r.from)/(r.to-r.from))
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

// throttle returns for how long a producer should be held back after an answer to that many bytes
// (KIP-219).
func (b *budget) throttle(bytes int64) time.Duration {
	u := b.used(0)
	if u >= throttleHardAt {
		return throttleHard
	}
	waiting := float64(b.span.Load() + b.tailBytes.Load() - b.stuck.Load()) // what is stuck waits for nothing
	perMiB := float64(slowEarlyPerMiB)*b.slowEarly.at(waiting) + float64(slowLatePerMiB-slowEarlyPerMiB)*b.slowLate.at(waiting)
	slow := perMiB * float64(bytes) / (1 << 20)
	soft := max(0, u-throttleAt) / (throttleHardAt - throttleAt) * float64(throttleSoft)
	return min(time.Duration(max(slow, soft)), throttleHard)
}

// Throttle returns for how long the broker should stop reading from a producer
// whose requests of that many bytes it has just answered; 0 while there is room.
func (e *Engine) Throttle(bytes int64) time.Duration { return e.budget.throttle(bytes) }

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
