package storage

import (
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Unflushed returns the bytes of batches that are not in the bucket yet.
func (e *Engine) Unflushed() int64 { return e.Totals().UnflushedBytes }

// Totals sums up what all partitions hold.
type Totals struct {
	Partitions int
	// Loading counts partitions whose state is still in the bucket; their answers are retriable.
	Loading        int
	Stuck          int           // partitions whose batches cannot go to the bucket (Engine.Stuck)
	UnflushedBytes int64         // bytes of the batches that are not in the bucket yet
	UnflushedAge   time.Duration // age of the oldest of those batches
}

// Totals sums up all partitions, visiting one after another briefly.
func (e *Engine) Totals() Totals {
	var t Totals
	for s := range e.Partitions() {
		t.Partitions++
		if s.Loading {
			t.Loading++
		}
		if s.Stuck {
			t.Stuck++
		}
		t.UnflushedBytes += s.UnflushedBytes
		t.UnflushedAge = max(t.UnflushedAge, s.UnflushedAge)
	}
	return t
}

// PartitionStats are the figures of one partition.
type PartitionStats struct {
	Topic          string
	Partition      ident.TopicPartition
	Loading        bool
	Stuck          bool // its batches cannot go to the bucket
	LogStart       ident.Offset
	HighWatermark  ident.Offset // end of what consumers see
	CommittedEnd   ident.Offset // end of what is in the bucket
	UnflushedBytes int64
	UnflushedAge   time.Duration // age of the first batch that is not in the bucket; 0 if all are
}

// Partitions yields every partition's figures, in no particular order.
func (e *Engine) Partitions() func(yield func(PartitionStats) bool) {
	return func(yield func(PartitionStats) bool) {
		now := e.deps.Now()
		for _, p := range e.partitions.all() {
			if s, ok := e.statsOf(p, now); ok && !yield(s) {
				return
			}
		}
	}
}

// statsOf returns a partition's figures, or false if the partition's life here has ended.
func (e *Engine) statsOf(p *partition, now time.Time) (PartitionStats, bool) {
	s := PartitionStats{Topic: p.facts.Load().topic.Name, Partition: p.id}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Stuck = p.stuck && !p.status.ended()
	s.Loading = p.status == opening
	s.LogStart, s.HighWatermark, s.CommittedEnd = p.logStart, p.hw, p.committed
	s.UnflushedBytes = p.unflushed
	if s.UnflushedBytes > 0 {
		s.UnflushedAge, _ = e.ageLocked(p, p.committed, now)
	}
	return s, !p.status.ended()
}

// Lag says how far behind a reader is that goes on at offset: in records, and in time since the
// first of them became durable. The age of a batch older than this process is taken from when it
// arrived, or from the largest timestamp of its range in the bucket. Lag returns (0, 0) at the
// log's end, and false if the partition is not here.
func (e *Engine) Lag(tp ident.TopicPartition, offset ident.Offset) (records int64, age time.Duration, ok bool) {
	p := e.partitions.get(tp)
	if p == nil {
		return 0, 0, false
	}
	now := e.deps.Now()
	p.mu.Lock()
	if p.status.ended() {
		p.mu.Unlock()
		return 0, 0, false
	}
	offset = max(offset, p.logStart) // deleted records do not count as lag
	records = int64(p.hw - offset)
	if records <= 0 {
		p.mu.Unlock()
		return 0, 0, true
	}
	age, exact := e.ageLocked(p, offset, now)
	p.mu.Unlock()
	if !exact {
		age = max(age, now.Sub(e.timestampInBucket(tp, offset, now)))
	}
	return records, age, true
}

// ageLocked returns for how long the batch that holds offset has been durable: at most, or, if the
// batch was there before this process, at least.
func (e *Engine) ageLocked(p *partition, offset ident.Offset, now time.Time) (age time.Duration, exact bool) {
	age = now.Sub(e.openedAt)
	if at, ok := p.published.at(offset); ok {
		return age - at, true
	}
	if len(p.published.samples) > 0 {
		age -= p.published.samples[0].at
	}
	if i := p.log.search(offset); i < p.log.len() && p.log.at(i).start <= offset {
		return max(age, now.Sub(time.Unix(int64(p.log.at(i).arrived), 0))), true
	}
	return age, false
}

// timestampInBucket returns the largest timestamp of the range that holds offset, if the quorum
// knows it, and now otherwise. It reads nothing from the bucket, because a scrape asks for every
// lagging partition.
func (e *Engine) timestampInBucket(tp ident.TopicPartition, offset ident.Offset, now time.Time) time.Time {
	head, ok := e.deps.Catalog.Head(tp)
	if !ok {
		return now
	}
	for i := range head.Ranges {
		// The ranges in the manifest are older than the first of these.
		if r := &head.Ranges[i]; offset < r.End && r.MaxTimestamp >= 0 {
			return time.UnixMilli(r.MaxTimestamp)
		}
	}
	return now
}
