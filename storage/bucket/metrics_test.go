package bucket_test

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
)

// Every attempt is counted under its own result, however the call as a whole ended.
func TestMetricsCountTries(t *testing.T) {
	r, faulty, _ := harness(t, bucket.RetryConfig{DelayMax: 1})
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.Metrics()...)
	ctx := t.Context()
	want := func(err, sentinel error) {
		t.Helper()
		if !errors.Is(err, sentinel) {
			t.Fatalf("%v, want %v", err, sentinel)
		}
	}
	want(r.Create(ctx, "a", bucket.NewBody([]byte("four"))), nil)
	want(r.Create(ctx, "a", bucket.NewBody([]byte("four"))), bucket.ErrExists)
	faulty.Script(bucket.OpReadAt, fault.Busy, fault.Busy)
	want(r.ReadAt(ctx, "a", make([]byte, 3), 0), nil)
	want(r.ReadAt(ctx, "a", make([]byte, 9), 0), bucket.ErrShort)
	_, err := r.Stat(ctx, "b")
	want(err, bucket.ErrNotFound)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	want(r.Delete(gone, "a"), bucket.ErrUnavailable)

	values := gather(t, reg)
	for series, want := range map[string]float64{
		`requests_total create ok`: 1, `requests_total create exists`: 1,
		`requests_total read ok`: 1, `requests_total read unavailable`: 2, `requests_total read short`: 1,
		`requests_total stat not_found`: 1, `requests_total delete canceled`: 1, `requests_total list ok`: 0,
		`retries_total read`: 2, `bytes_total create`: 4, `bytes_total read`: 3, `request_seconds read`: 4,
	} {
		if got, ok := values[series]; !ok || got != want {
			t.Errorf("%s is %v (%t), want %v", series, got, ok, want)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// gather returns the value of every series, or a histogram's count, under its name without prefix
// and its labels.
func gather(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()[len("sluice_bucket_"):]
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
