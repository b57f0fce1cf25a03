package storage

import (
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// These are fractions of the WAL budget (docs/operations.md). The part above refuseAt is reserved
// for state records, which are what lets the WAL shrink.
const (
	throttleAt     = 0.70
	throttleHardAt = 0.85
	refuseAt       = 0.95

	throttleSoft = 100 * time.Millisecond // at the upper end of the first band
	throttleHard = time.Second
)

// budget compares what is not in the bucket yet with what the operator allows.
type budget struct {
	bytesMax   int64
	batchesMax int64

	slowEarly, slowLate ramp // of the bytes that wait for the bucket

	queued  atomic.Int64 // bytes handed to the WAL that are not durable yet
	batches atomic.Int64 // in the index and uncommitted
	durable atomic.Int64 // an ident.Position: end of the own WAL on this disk
	// trimmedTo is an ident.Position in the own WAL. Everything below it is committed or void.
	trimmedTo atomic.Int64
	tailBytes atomic.Int64 // bytes of sealed tails
	stuck     atomic.Int64 // a span of bytes: what stuck partitions alone hold back (carry.go)
}

// Bytes that wait for the bucket slow producers in proportion to what they send, from two flushes'
// worth of waiting bytes on. At first the delay grows fast: four connections that send more than
// the bucket takes are held to the bucket's pace while the waiting bytes still fit the hot tail
// (four flushes' worth), because a flush that has to read its batches from the log again falls
// behind for good. Later the delay grows slowly, so that the log goes on taking records while the
// bucket is down. A small request is hardly slowed at all.
const (
	slowEarlyPerMiB = 12 * time.Millisecond // at four flushes' worth
	slowLatePerMiB  = 60 * time.Millisecond // at throttleAt
)

func (b *budget) open(c *Config) {
	b.bytesMax, b.batchesMax = c.WALBudgetBytes, c.UnflushedBatchesMax
	// The floor keeps a small hot tail from slowing producers.
	flush := max(float64(c.flushAt()), float64(c.WALBudgetBytes)/64)
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

// used returns how full the fuller of the two budgets would be with extra more bytes: from 0 to 1,
// and above.
func (b *budget) used(extra int64) float64 {
	bytes := float64(b.queued.Load()+b.inLog()+extra) / float64(b.bytesMax)
	return max(bytes, float64(b.batches.Load())/float64(b.batchesMax))
}

// refuses reports whether that many more bytes are too many.
func (b *budget) refuses(extra int64) bool { return b.used(extra) >= refuseAt }

// inLog returns how many bytes the log and its sealed tails hold that are not in the bucket.
func (b *budget) inLog() int64 {
	trimmed := b.trimmedTo.Load() // read first, so that no durable end read after it lies below
	return b.durable.Load() - trimmed + b.tailBytes.Load()
}

// placed counts bytes and batches that were handed to the WAL.
func (b *budget) placed(bytes int64, batches int) {
	b.queued.Add(bytes)
	b.batches.Add(int64(batches))
}

// persisted counts bytes that the WAL has made durable. end is where the WAL ends now.
func (b *budget) persisted(bytes int64, end ident.Position) {
	b.queued.Add(-bytes)
	b.durable.Store(int64(end))
}

// trimmed notes where the lowest batch of the own WAL lies that is neither committed nor void, and
// how many of the bytes above it are there only because partitions are stuck.
func (b *budget) trimmed(to ident.Position, stuck int64) {
	b.trimmedTo.Store(int64(to))
	b.stuck.Store(stuck)
}

// count counts a batch that a start found uncommitted.
func (b *budget) count(found *batch) {
	found.source.uncommitted.Add(1)
	b.batches.Add(1)
}

// uncount notes that one batch is no longer uncommitted.
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
	waiting := float64(b.inLog() - b.stuck.Load()) // stuck bytes do not wait for the bucket
	perMiB := float64(slowEarlyPerMiB)*b.slowEarly.at(waiting) + float64(slowLatePerMiB-slowEarlyPerMiB)*b.slowLate.at(waiting)
	slow := perMiB * float64(bytes) / (1 << 20)
	soft := max(0, u-throttleAt) / (throttleHardAt - throttleAt) * float64(throttleSoft)
	return min(time.Duration(max(slow, soft)), throttleHard)
}

// Throttle returns for how long the broker should stop reading from a producer after it has
// answered requests of that many bytes. It is 0 while there is room.
func (e *Engine) Throttle(bytes int64) time.Duration { return e.budget.throttle(bytes) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
