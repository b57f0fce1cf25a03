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
	durable   atomic.Int64 // ident.Position: end of the own WAL on this disk
	trimmedTo atomic.Int64 // ident.Position in the own WAL: everything below is committed or void
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
	bytes := float64(b.queued.Load()+b.inLog()+extra) / float64(b.bytesMax)
	return max(bytes, float64(b.batches.Load())/float64(b.batchesMax))
}

// refuses reports whether that many bytes more are too many.
func (b *budget) refuses(extra int64) bool { return b.used(extra) >= refuseAt }

// inLog returns how many bytes the log holds that are not in the bucket, with its sealed tails.
func (b *budget) inLog() int64 {
	trimmed := b.trimmedTo.Load() // read first: no durable end that is read after it lies below
	return b.durable.Load() - trimmed + b.tailBytes.Load()
}

// placed counts what was handed to the WAL.
func (b *budget) placed(bytes int64, batches int) {
	b.queued.Add(bytes)
	b.batches.Add(int64(batches))
}

// persisted counts what the WAL has made durable, which ends at end now.
func (b *budget) persisted(bytes int64, end ident.Position) {
	b.queued.Add(-bytes)
	b.durable.Store(int64(end))
}

// trimmed notes where the lowest batch of the own WAL lies that is neither committed nor void, and
// how much of what lies above it is there only because partitions are stuck.
func (b *budget) trimmed(to ident.Position, stuck int64) {
	b.trimmedTo.Store(int64(to))
	b.stuck.Store(stuck)
}

// count counts a batch that a start found uncommitted.
func (b *budget) count(found *batch) {
	found.source.uncommitted.Add(1)
	b.batches.Add(1)
}

// uncount notes that one batch is not uncommitted any more.
func (b *budget) uncount(gone *batch) {
	b.batches.Add(-1)
	if gone.source != nil && gone.source.sealed != nil {
		gone.source.uncommitted.Add(-1)
	}
}

// throttle returns for how long a producer should be held back after an answer to that many bytes
// (KIP-219).
func (b *budget) throttle(bytes int64) time.Duration {
	u := b.used(0)
	if u >= throttleHardAt {
		return throttleHard
	}
	waiting := float64(b.inLog() - b.stuck.Load()) // what is stuck waits for nothing
	perMiB := float64(slowEarlyPerMiB)*b.slowEarly.at(waiting) + float64(slowLatePerMiB-slowEarlyPerMiB)*b.slowLate.at(waiting)
	slow := perMiB * float64(bytes) / (1 << 20)
	soft := max(0, u-throttleAt) / (throttleHardAt - throttleAt) * float64(throttleSoft)
	return min(time.Duration(max(slow, soft)), throttleHard)
}

// Throttle returns for how long the broker should stop reading from a producer
// whose requests of that many bytes it has just answered; 0 while there is room.
func (e *Engine) Throttle(bytes int64) time.Duration { return e.budget.throttle(bytes) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
