package storage

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// flushSecondsBuckets reach from a flush of a few small objects on a local disk to one that waited
// out an outage.
var flushSecondsBuckets = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}

// meter counts what the engine does, at the cost of a few atomic additions per WAL group, per
// partition read and per flush. No decision depends on it.
type meter struct {
	batches, bytes                prometheus.Counter
	throttles, walFails, closes   prometheus.Counter
	readMemory, readWAL           prometheus.Counter
	readObject                    prometheus.Counter
	bundles, bundleBytes          prometheus.Counter
	flushSeconds                  prometheus.Histogram
	logStartMoves                 prometheus.Counter
	carried                       prometheus.Counter
	refusals, reads, taskFailures *prometheus.CounterVec
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newMeter() *meter {
	m := &meter{
		batches: counter("sluice_storage_persisted_batches_total", "Batches that became durable in the write-ahead log."),
		bytes:   counter("sluice_storage_persisted_bytes_total", "Bytes of batches that became durable in the write-ahead log."),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_storage_refusals_total",
			Help: "Produce requests refused as a whole: throttled (the write-ahead log's budget or disk is full), failed (its disk failed), closed (stopping).",
		}, []string{"reason"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_storage_read_bytes_total",
			Help: "Bytes of batches given to fetches, by where they lay: memory, wal (a file of the write-ahead log), object (the bucket or its cache).",
		}, []string{"source"}),
		bundles:     counter("sluice_flush_bundles_total", "Objects with the batches of many partitions that were stored in the bucket."),
		bundleBytes: counter("sluice_flush_bytes_total", "Bytes of those objects."),
		flushSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_flush_seconds", Buckets: flushSecondsBuckets,
			Help: "Duration of a pass of the flush that succeeded, from its first upload to its last commit; what waits for a bucket that is away counts.",
		}),
		carried:       counter("sluice_stuck_carried_bytes_total", "Bytes of stuck partitions' batches that were written to the log again, so that the log can be trimmed."),
		logStartMoves: counter("sluice_retention_log_start_moves_total", "Log starts that retention has moved."),
		taskFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_storage_task_failures_total",
			Help: "Attempts of background work that failed and are repeated.",
		}, []string{"task"}),
	}
	m.throttles, m.walFails, m.closes = m.refusals.WithLabelValues("throttled"), m.refusals.WithLabelValues("failed"), m.refusals.WithLabelValues("closed")
	m.readMemory, m.readWAL, m.readObject = m.reads.WithLabelValues("memory"), m.reads.WithLabelValues("wal"), m.reads.WithLabelValues("object")
	for _, task := range []string{"flush", "flush of class object", "upload bundle", "commit", "load partition state"} {
		m.taskFailures.WithLabelValues(task)
	}
	return m
}

func (m *meter) persisted(batches int, bytes int64) {
	m.batches.Add(float64(batches))
	m.bytes.Add(float64(bytes))
}

func (m *meter) refused(err error) {
	switch {
	case errors.Is(err, ErrThrottled):
		m.throttles.Inc()
	case errors.Is(err, ErrClosed):
		m.closes.Inc()
	default:
		m.walFails.Inc()
	}
}

// read counts what a fetch returns, once for all of its partitions: one addition for each took a
// twentieth of a read of a hundred partitions (BenchmarkReadHot).
func (m *meter) read(f *Fetch) {
	var fromMemory, fromWAL, fromObject int
	for i := range f.Partitions {
		q := &f.Partitions[i]
		if q.cold != nil {
			fromObject += q.Bytes
			continue
		}
		files := min(q.fromWAL, q.Bytes) // fewer bytes may be returned than were read
		fromWAL += files
		fromMemory += q.Bytes - files
	}
	addTo(m.readMemory, fromMemory)
	addTo(m.readWAL, fromWAL)
	addTo(m.readObject, fromObject)
}

func addTo(c prometheus.Counter, n int) {
	if n > 0 {
		c.Add(float64(n))
	}
}

func (m *meter) uploaded(bytes int64) {
	m.bundles.Inc()
	m.bundleBytes.Add(float64(bytes))
}

func (m *meter) flushed(began time.Time, err error) {
	if err == nil {
		m.flushSeconds.Observe(time.Since(began).Seconds())
	}
}

func (m *meter) failed(task string) { m.taskFailures.WithLabelValues(task).Inc() }

// Metrics returns the collectors for Prometheus, those of the write-ahead log and the block cache
// included. A scrape visits every partition.
func (e *Engine) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m, b := e.meter, &e.budget
	return slices.Concat([]prometheus.Collector{
		m.batches, m.bytes, m.refusals, m.reads, m.bundles, m.bundleBytes, m.flushSeconds, m.logStartMoves, m.carried, m.taskFailures,
		totalsCollector{e},
		gauge("sluice_wal_budget_used_bytes", "Bytes of the write-ahead log that are in use: queued, in its files and not yet in the bucket, in sealed tails.",
			func() float64 { return float64(b.queued.Load() + b.inLog()) }),
		gauge("sluice_wal_budget_limit_bytes", "Bytes that the write-ahead log may use: at 70 % of them producers are slowed, at 95 % refused.",
			func() float64 { return float64(b.bytesMax) }),
		gauge("sluice_wal_tail_bytes", "Bytes in sealed tails: logs of earlier starts that are not wholly in the bucket.",
			func() float64 { return float64(b.tailBytes.Load()) }),
		gauge("sluice_unflushed_batches", "Batches that are not in the bucket yet.", func() float64 { return float64(b.batches.Load()) }),
		gauge("sluice_unflushed_limit_batches", "Batches that may be outside of the bucket; producers are slowed and refused as for bytes.",
			func() float64 { return float64(b.batchesMax) }),
		gauge("sluice_throttle_current_seconds", "For how long a connection is not read after an answer to Produce of a MiB now, because the write-ahead log fills up; 0 if all is well.", func() float64 { return b.throttle(1 << 20).Seconds() }),
		gauge("sluice_hot_bytes", "Memory that the batches kept for readers that follow take, with the frames that they came in.", func() float64 { return float64(e.hot.held()) }),
		gauge("sluice_hot_limit_bytes", "Memory that these batches may take.", func() float64 { return float64(e.hot.bytesMax) }),
	}, e.wal.Metrics(), e.cold.blocks.Metrics())
}

func (h *hotTail) held() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

var (
	partitionsDesc   = prometheus.NewDesc("sluice_partitions", "Partitions that this broker leads.", nil, nil)
	loadingDesc      = prometheus.NewDesc("sluice_partitions_loading", "Of these, partitions whose state is still being read from the bucket.", nil, nil)
	stuckDesc        = prometheus.NewDesc("sluice_partitions_stuck", "Partitions of which nothing can go to the bucket, for a reason that is theirs alone: Produce to them is refused. The admin address tells the way out at /stuck.", nil, nil)
	unflushedDesc    = prometheus.NewDesc("sluice_unflushed_bytes", "What is not in the bucket yet: lost if this disk is.", nil, nil)
	unflushedAgeDesc = prometheus.NewDesc("sluice_flush_lag_seconds", "Age of the oldest batch that is not in the bucket, from when it became durable; 0 if all is. "+
		"Of what an earlier process wrote, by when it arrived. Beyond some minutes it may be a third too high.", nil, nil)
)

// totalsCollector sums up all partitions in one pass.
type totalsCollector struct{ e *Engine }

func (totalsCollector) Describe(c chan<- *prometheus.Desc) {
	c <- partitionsDesc
	c <- loadingDesc
	c <- stuckDesc
	c <- unflushedDesc
	c <- unflushedAgeDesc
}

func (t totalsCollector) Collect(c chan<- prometheus.Metric) {
	totals := t.e.Totals()
	gauge := func(d *prometheus.Desc, v float64) { c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(partitionsDesc, float64(totals.Partitions))
	gauge(loadingDesc, float64(totals.Loading))
	gauge(stuckDesc, float64(totals.Stuck))
	gauge(unflushedDesc, float64(totals.UnflushedBytes))
	gauge(unflushedAgeDesc, totals.UnflushedAge.Seconds())
}

// PartitionMetrics returns the figures of each partition, as long as there are at most
// partitionsMax partitions; 0 means no bound.
func (e *Engine) PartitionMetrics(partitionsMax int) prometheus.Collector {
	return partitionCollector{e, partitionsMax}
}

type partitionCollector struct {
	e             *Engine
	partitionsMax int
}

func partitionDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"topic", "partition"}, nil)
}

var (
	logStartDesc           = partitionDesc("sluice_partition_log_start_offset", "First offset that can be read.")
	highWatermarkDesc      = partitionDesc("sluice_partition_high_watermark_offset", "End of what consumers see.")
	committedDesc          = partitionDesc("sluice_partition_committed_end_offset", "End of what is in the bucket.")
	partitionUnflushedDesc = partitionDesc("sluice_partition_unflushed_bytes", "What is not in the bucket yet.")
	partitionAgeDesc       = partitionDesc("sluice_partition_flush_lag_seconds", "Age of the first batch that is not in the bucket, as sluice_flush_lag_seconds.")
	partitionStuckDesc     = partitionDesc("sluice_partition_stuck", "1 if nothing of the partition can go to the bucket and Produce to it is refused.")
	shownDesc              = prometheus.NewDesc("sluice_partition_metrics_shown", "1 if there are series of each partition here; 0 if there are too many partitions: ask for /metrics?partitions=all.", nil, nil)
)

func (partitionCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{logStartDesc, highWatermarkDesc, committedDesc, partitionUnflushedDesc, partitionAgeDesc, partitionStuckDesc, shownDesc} {
		c <- d
	}
}

func (p partitionCollector) Collect(c chan<- prometheus.Metric) {
	if p.partitionsMax > 0 && p.e.partitions.count() > p.partitionsMax {
		c <- prometheus.MustNewConstMetric(shownDesc, prometheus.GaugeValue, 0)
		return
	}
	c <- prometheus.MustNewConstMetric(shownDesc, prometheus.GaugeValue, 1)
	for s := range p.e.Partitions() {
		labels := prometheus.MakeLabelPairs(logStartDesc, []string{s.Topic, strconv.Itoa(int(s.Partition.Index))})
		gauges := [...]partitionGauge{
			{logStartDesc, labels, float64(s.LogStart)},
			{highWatermarkDesc, labels, float64(s.HighWatermark)},
			{committedDesc, labels, float64(s.CommittedEnd)},
			{partitionUnflushedDesc, labels, float64(s.UnflushedBytes)},
			{partitionAgeDesc, labels, s.UnflushedAge.Seconds()},
			{partitionStuckDesc, labels, oneIf(s.Stuck)},
		}
		for i := range gauges {
			c <- &gauges[i]
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// partitionGauge is one figure of a partition. All gauges of a partition share their labels: a
// scrape of ready-made gauges allocated two and a half times as often (BenchmarkScrape in package
// node).
type partitionGauge struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	value  float64
}

// Desc implements prometheus.Metric.
func (g *partitionGauge) Desc() *prometheus.Desc { return g.desc }

// Write implements prometheus.Metric.
func (g *partitionGauge) Write(m *dto.Metric) error {
	m.Label, m.Gauge = g.labels, &dto.Gauge{Value: &g.value}
	return nil
}
