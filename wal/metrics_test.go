package wal_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/sluicemq/sluice/vfs/crashfs"
	"github.com/sluicemq/sluice/wal"
)

// The metrics match what the writer did, and the flags follow the disk.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(t, 1)
		c := &client{}
		w, err := wal.Create(small, c.deps(disk), inc)
		must(t, err)
		c.w = w
		reg := prometheus.NewRegistry()
		reg.MustRegister(w.Metrics()...)
		for range 3 {
			c.append() // appends of 1, 2 and 3 entries
			synctest.Wait()
		}
		m := gather(t, reg)
		if n := m["sluice_wal_sync_seconds"].GetHistogram().GetSampleCount(); n != 3 {
			t.Errorf("%d syncs measured, want 3", n)
		}
		entries, bytes := m["sluice_wal_group_entries"].GetHistogram(), m["sluice_wal_group_bytes"].GetHistogram()
		if entries.GetSampleSum() != 6 || int64(bytes.GetSampleSum()) != w.Stats().GroupBytes {
			t.Errorf("%v entries in %v bytes, want 6 in %d", entries.GetSampleSum(), bytes.GetSampleSum(), w.Stats().GroupBytes)
		}
		if got := m["sluice_wal_disk_bytes"].GetGauge().GetValue(); int64(got) != w.DiskBytes() || got == 0 {
			t.Errorf("disk bytes %v, want %d", got, w.DiskBytes())
		}
		if got := m["sluice_wal_failed"].GetGauge().GetValue(); got != 0 {
			t.Errorf("failed is %v on a good disk", got)
		}
		disk.SetHook(func(crashfs.Call) error { return errors.New("broken") })
		c.append()
		synctest.Wait()
		if got := gather(t, reg)["sluice_wal_failed"].GetGauge().GetValue(); got != 1 {
			t.Errorf("failed is %v after the disk has failed", got)
		}
		_ = w.Close() // the error says that the log is poisoned
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

// gather returns each family's only series.
func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.Metric {
	t.Helper()
	families, err := g.Gather()
	must(t, err)
	m := map[string]*dto.Metric{}
	for _, f := range families {
		m[f.GetName()] = f.GetMetric()[0]
	}
	return m
}
