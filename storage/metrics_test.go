package storage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// checkCounts runs at the end of every process of every test.
func (r *rig) checkCounts(p *process) {
	if err := p.engine.CheckUnflushed(); err != nil {
		r.t.Errorf("at the end of a process: %v", err)
	}
}

// scrape returns every series of the engine, by name and label values.
func (r *rig) scrape(partitionsMax int) map[string]float64 {
	r.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.engine().Metrics()...)
	reg.MustRegister(r.engine().PartitionMetrics(partitionsMax))
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		r.t.Errorf("lint: %v, %v", problems, err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := strings.TrimPrefix(f.GetName(), "sluice_")
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// want compares some of the series.
func (r *rig) want(when string, got, want map[string]float64) {
	r.t.Helper()
	for series, w := range want {
		if g, ok := got[series]; !ok || g != w {
			r.t.Errorf("%s: %s is %v (%t), want %v", when, series, g, ok, w)
		}
	}
}

// The bytes that are not in the bucket are one number, with an age. The number grows while the
// bucket is down and over a restart, and is 0 when everything has arrived.
func TestUnflushedIsTheTruth(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = 10 * time.Second; c.FlushBytes = 1 << 20 })
		tp := r.mustCreate("t", 2, nil)[1]
		r.want("empty", r.scrape(0), map[string]float64{"unflushed_bytes": 0, "flush_lag_seconds": 0, "partitions": 2, "partitions_loading": 0})
		r.bucket.Away(fault.Refused)
		first, second := r.plain(tp, 1), r.plain(tp, 3)
		r.mustSend(first)
		time.Sleep(30 * time.Second)
		r.mustSend(second)
		size := float64(len(r.encode(first).Batch) + len(r.encode(second).Batch))
		got := r.scrape(0)
		r.want("away", got, map[string]float64{
			"unflushed_bytes": size, "unflushed_batches": 2, "flush_lag_seconds": 30, "partition_unflushed_bytes 1 t": size,
			"partition_unflushed_bytes 0 t": 0, "partition_high_watermark_offset 1 t": 4, "partition_committed_end_offset 1 t": 0,
			"partition_flush_lag_seconds 1 t": 30, "storage_persisted_batches_total": 2, "storage_persisted_bytes_total": size,
			"flush_bundles_total": 0, "partition_metrics_shown": 1,
		})
		if got["storage_task_failures_total upload bundle"] == 0 {
			t.Error("no failed upload was counted")
		}
		time.Sleep(time.Minute)
		r.restart()
		got = r.scrape(0)
		r.want("after a restart", got, map[string]float64{"unflushed_bytes": size, "unflushed_batches": 2})
		if lag := got["flush_lag_seconds"]; lag < 90 || lag > 100 {
			t.Errorf("after a restart the oldest is %v s old, want 90 to 100", lag)
		}
		r.bucket.Heal()
		r.mustFlush()
		r.want("flushed", r.scrape(0), map[string]float64{
			"unflushed_bytes": 0, "unflushed_batches": 0, "flush_lag_seconds": 0, "partition_committed_end_offset 1 t": 4,
			"partition_flush_lag_seconds 1 t": 0, "wal_tail_bytes": 0,
		})
		if n := r.engine().Unflushed(); n != 0 {
			t.Errorf("Unflushed is %d after a flush", n)
		}
	})
}

// Above the bound no partition is shown, and the metrics say so. Without a bound all are shown.
func TestPartitionMetricsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.mustCreate("t", 5, nil)
		for bound, shown := range map[int]int{0: 5, 5: 5, 4: 0} {
			got, n := r.scrape(bound), 0
			for series := range got {
				if strings.HasPrefix(series, "partition_log_start_offset") {
					n++
				}
			}
			if n != shown || got["partition_metrics_shown"] != float64(min(shown, 1)) {
				t.Errorf("bound %d: %d partitions shown (%v), want %d", bound, n, got["partition_metrics_shown"], shown)
			}
		}
	})
}

// Reads are counted by where the batches lay.
func TestReadBytesBySource(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.HotBytes = 1; c.FlushInterval = time.Hour })
		tp := r.mustCreate("t", 1, nil)[0]
		b := r.plain(tp, 1)
		r.mustSend(b)
		size := float64(len(r.encode(b).Batch))
		r.fetch(tp, 0, 1<<20)
		r.mustFlush()
		r.fetch(tp, 0, 1<<20)
		r.want("read twice", r.scrape(0), map[string]float64{
			"storage_read_bytes_total memory": 0, "storage_read_bytes_total wal": size, "storage_read_bytes_total object": size, "cache_misses_total": 1,
		})
	})
}

// Lag tells in records and time how far behind a reader is: exactly for what this process has seen,
// by timestamps for what is older, and never more than there is.
func TestLag(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.FlushInterval = time.Hour; c.HotBytes = 1 })
		tp := r.mustCreate("t", 1, nil)[0]
		check := func(when string, offset ident.Offset, records int64, low, high time.Duration) {
			t.Helper()
			n, age, ok := r.engine().Lag(tp, offset)
			if !ok || n != records || age < low || age > high {
				t.Errorf("%s: at %d: %d records, %v, %t; want %d, %v to %v", when, offset, n, age, ok, records, low, high)
			}
		}
		check("empty", 0, 0, 0, 0)
		for range 3 {
			r.mustSend(r.plain(tp, 2))
			time.Sleep(time.Minute)
		}
		check("begin", 0, 6, 3*time.Minute, 3*time.Minute)
		check("inside a batch", 3, 3, 2*time.Minute, 2*time.Minute)
		check("last batch", 4, 2, time.Minute, time.Minute)
		check("end", 6, 0, 0, 0)
		check("beyond the end", 9, 0, 0, 0)
		if _, _, ok := r.engine().Lag(ident.TopicPartition{}, 0); ok {
			t.Error("a partition that is not there has a lag")
		}
		r.restart()
		check("begin, from the tail", 0, 6, 3*time.Minute, 4*time.Minute)
		check("last batch, from the tail", 4, 2, time.Minute, 2*time.Minute)
		r.mustFlush()
		r.restart()
		time.Sleep(time.Minute)
		check("begin, from the bucket", 0, 6, 2*time.Minute, 5*time.Minute)
		r.mustSend(r.plain(tp, 1))
		check("the new one", 6, 1, 0, 0)
		r.advance(tp, 6)
		check("begin, which is deleted", 0, 1, 0, 0)
	})
}

// Requests that are refused as a whole are counted by reason.
func TestRefusalsAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, 1, func(c *storage.Config) { c.UnflushedBatchesMax = 4; c.FlushInterval = time.Hour })
		tp := r.mustCreate("t", 1, nil)[0]
		r.bucket.Away(fault.Refused)
		for range 4 {
			r.mustSend(r.plain(tp, 1))
		}
		refused := r.plain(tp, 1)
		r.start(refused)
		r.wait(refused)
		r.want("full", r.scrape(0), map[string]float64{"storage_refusals_total throttled": 1, "storage_refusals_total failed": 0, "throttle_current_seconds": 1})
		r.bucket.Heal()
	})
}
