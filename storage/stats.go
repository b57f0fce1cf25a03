package storage

import (
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Unflushed returns the bytes of batches that are not in the bucket yet.
func (e *Engine) Unflushed() int64 { return e.Totals().UnflushedBytes }

// Totals sums up what all partitions hold.
type Totals struct {
	Partitions     int
	Loading        int           // of these: their state is still in the bucket, answers are retriable
	Stuck          int           // of these: nothing of them can go to the bucket (Engine.Stuck)
	UnflushedBytes int64         // what is not in the bucket yet
	UnflushedAge   time.Duration // of the oldest of it
}

// Totals looks at every partition for a moment, at one after another.
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

// PartitionStats is what is measured of one partition.
type PartitionStats struct {
	Topic          string
	Partition      ident.TopicPartition
	Loading        bool
	Stuck          bool // nothing of it can go to the bucket
	LogStart       ident.Offset
	HighWatermark  ident.Offset // end of what consumers see
	CommittedEnd   ident.Offset // end of what is in the bucket
	UnflushedBytes int64
	UnflushedAge   time.Duration // of the first batch that is not in the bucket; 0 if all is
}

// Partitions yields every partition's figures, in no order.
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

// statsOf returns a partition's figures; false: its life here has ended.
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

// Lag says how far a reader that goes on at offset is behind: in records, and in time since the first of
// them became durable. What is older than this process is judged by when its batch arrived, or by
// the largest timestamp of its range in the bucket. (0, 0) at the end; false if the partition is not here.
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
	offset = max(offset, p.logStart) // what is deleted is nobody's arrears
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

// ageLocked returns for how long the batch that holds offset has been durable, at the most; or, if it was there
// before this process, at the least.
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

// timestampInBucket returns the largest timestamp of the range that holds offset, as far as the quorum knows it; else now.
// It reads nothing from the bucket: a scrape asks for every lagging partition.
func (e *Engine) timestampInBucket(tp ident.TopicPartition, offset ident.Offset, now time.Time) time.Time {
	head, ok := e.deps.Catalog.Head(tp)
	if !ok {
		return now
	}
	for i := range head.Ranges {
		// What the manifest holds is older than the first of these.
		if r := &head.Ranges[i]; offset < r.End && r.MaxTimestamp >= 0 {
			return time.UnixMilli(r.MaxTimestamp)
		}
	}
	return now
}
