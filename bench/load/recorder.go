package load

import (
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What is measured for a record. Times are those of the client's process.
const (
	publish  = iota // acknowledged − intended
	ack             // acknowledged − handed to the client: OMB's publishLatency
	delay           // handed to the client − intended: OMB's publishDelayLatency
	endToEnd        // received − intended
	afterAck        // received − acknowledged, 0 if received first
	measureCount
)

// measureNames are the figures' prefixes.
var measureNames = [measureCount]string{"publish", "ack", "delay", "end_to_end", "receive_after_ack"}

// Histograms count µs up to an hour, with three exact digits.
const (
	recordedMax    = 3_600_000_000
	recordedDigits = 3
)

// histograms has one histogram per measure, made when it is first needed.
type histograms [measureCount]*hdrhistogram.Histogram

func (h *histograms) record(measure int, ns int64) {
	if h[measure] == nil {
		h[measure] = hdrhistogram.New(1, recordedMax, recordedDigits)
	}
	// It fails only beyond its maximum.
	_ = h[measure].RecordValue(min(max(ns/1000, 0), recordedMax))
}

func (h *histograms) merge(from *histograms) {
	for m := range from {
		if from[m] == nil || from[m].TotalCount() == 0 {
			continue
		}
		if h[m] == nil {
			h[m] = hdrhistogram.New(1, recordedMax, recordedDigits)
		}
		h[m].Merge(from[m])
	}
}

func (h *histograms) reset() {
	for _, m := range h {
		if m != nil && m.TotalCount() > 0 {
			m.Reset()
		}
	}
}

// summary is what is kept of a period's histogram, since a run may have thousands of periods.
type summary struct {
	mean      float64
	quantiles [len(ombSeries)]float64 // µs
}

func (h *histograms) summaries() (s [measureCount]summary) {
	for m := range h {
		s[m].mean = mean(h[m])
		for i := range ombSeries {
			s[m].quantiles[i] = atQuantile(h[m], ombSeries[i].q)
		}
	}
	return s
}

// shardCount is how many histograms there are per measure. With more of them, recording rarely
// meets another goroutine's lock; each one takes 160 KiB.
const shardCount = 8

// recorder takes what happens to records. A record that was due during the warm-up is kept apart,
// however late it is acknowledged.
type recorder struct{ shards [shardCount]shard }

type shard struct {
	mu     sync.Mutex
	begin  int64 // the start of what counts, in ns since the run's start
	warm   histograms
	counts histograms
	spare  [2]histograms
	_      [64]byte // shards are used by different cores
}

// shard returns where a producer or consumer records.
func (r *recorder) shard(i int) *shard { return &r.shards[i%shardCount] }

// intoLocked returns where a record that was due at a given time is recorded.
func (s *shard) intoLocked(intended int64) *histograms {
	if intended < s.begin {
		return &s.warm
	}
	return &s.counts
}

// beginAt sets when the warm-up ends. It is called before anything is recorded; until then
// everything counts as warm-up.
func (r *recorder) beginAt(ns int64) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.begin = ns
		s.mu.Unlock()
	}
}

// take moves what was recorded since the last call: everything into period, and what counts also
// into total.
func (r *recorder) take(period, total *histograms) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		s.warm, s.spare[0] = s.spare[0], s.warm
		s.counts, s.spare[1] = s.spare[1], s.counts
		s.mu.Unlock()
		// Only this method touches the spares, on the run's goroutine.
		period.merge(&s.spare[0])
		period.merge(&s.spare[1])
		total.merge(&s.spare[1])
		s.spare[0].reset()
		s.spare[1].reset()
	}
}
