package wal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// syncSecondsBuckets range from a disk with a power-safe write cache to a disk that is about to
// fail.
var syncSecondsBuckets = []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5}

// meter holds the histograms. They are observed once per group.
type meter struct {
	syncSeconds prometheus.Histogram
	groupBytes  prometheus.Histogram
	entries     prometheus.Histogram
}

func newMeter() meter {
	return meter{
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_wal_sync_seconds", Buckets: syncSecondsBuckets,
			Help: "Duration of the fdatasync that makes a group durable; the latency of every acknowledgement of class local includes one.",
		}),
		groupBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_wal_group_bytes", Buckets: prometheus.ExponentialBuckets(4<<10, 4, 8),
			Help: "Bytes that one write and one fdatasync made durable, headers and padding included.",
		}),
		entries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_wal_group_entries", Buckets: prometheus.ExponentialBuckets(1, 4, 8),
			Help: "Batches and state records in one group: what gathered while the one before was synced.",
		}),
	}
}

func (m *meter) observe(g *Group, sync time.Duration) {
	m.syncSeconds.Observe(sync.Seconds())
	m.groupBytes.Observe(float64(padded(g.bytes)))
	m.entries.Observe(float64(g.entries))
}

// Metrics returns the collectors that Prometheus may register.
func (w *Writer) Metrics() []prometheus.Collector {
	counter := func(name, help string, count func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(count()) })
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	s := &w.stats
	return []prometheus.Collector{
		w.meter.syncSeconds, w.meter.groupBytes, w.meter.entries,
		counter("sluice_wal_overlapped_groups_total", "Groups that were written while the one before was synced.", s.overlapped.Load),
		counter("sluice_wal_segment_allocations_total", "New segment files that were only allocated, because the log went through them too fast to fill them.", s.allocated.Load),
		counter("sluice_wal_segment_fills_total", "New segment files that were filled with zeros.", s.fills.Load),
		counter("sluice_wal_segment_recycles_total", "Trimmed segment files that were used again.", s.recycled.Load),
		gauge("sluice_wal_segments", "Segment files that hold groups of the current incarnation.", func() float64 { return float64(w.segs.count()) }),
		gauge("sluice_wal_disk_bytes", "Bytes of the current incarnation's files, spare and trimmed ones included; sealed tails come on top.",
			func() float64 { return float64(w.DiskBytes()) }),
		gauge("sluice_wal_queued_bytes", "Bytes that wait for the next group.", func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return float64(w.queuedBytes)
		}),
		gauge("sluice_wal_failed", "1 once the disk has failed under the write-ahead log: nothing is acknowledged any more.",
			w.flag(func() bool { return w.poison != nil })),
		gauge("sluice_wal_full", "1 while the disk has no space for the next segment.",
			w.flag(func() bool { return w.noSpace && w.spare == nil })),
	}
}

// flag makes a gauge of 0 or 1 from a state that is guarded by w.mu.
func (w *Writer) flag(isSetLocked func() bool) func() float64 {
	return func() float64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		if isSetLocked() {
			return 1
		}
		return 0
	}
}
