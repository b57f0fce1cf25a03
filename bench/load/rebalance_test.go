package load

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// If a group gets another member in the middle of a run, its members read nothing twice and nothing
// out of order. So what a run counts as a fault is the cluster's fault. The test takes the seconds
// until members hear of each other.
func TestRebalanceRepeatsNothing(t *testing.T) {
	if os.Getenv("SLUICE_LONG") == "" {
		t.Skip("takes 10 s: SLUICE_LONG=1 runs it")
	}
	b := startRawBroker(t)
	w := small(t, "omb-latency", func(w *Workload) { w.Consumers = 1 })
	o := Options{Warmup: -1, Duration: 8 * time.Second, Interval: 500 * time.Millisecond}.withDefaults(&w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var f *flow
	var late *consumer
	o.Progress = func(string) { // called on the goroutine that owns the flow
		if late != nil {
			return
		}
		s := f.subscriptions[0]
		if err := s.add(f.prefix+"-0", f.names, 0); err != nil {
			t.Error(err)
		}
		late = s.consumers[1]
		f.reading.Go(func() { late.run(ctx) })
	}
	f = newFlow(b.target(), w, o)
	if err := f.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newMeasurement(f)
	err := errors.Join(m.phases(t.Context()), f.finish(t.Context(), m))
	had := late.wire.fetched.Load()
	cancel()
	r := m.result()
	if err := errors.Join(err, f.close()); err != nil {
		t.Fatal(err)
	}
	if had == 0 {
		t.Error("the late member read nothing: there was no rebalance")
	}
	if err := r.Verdict(); err != nil && !errors.Is(err, ErrNotSustained) {
		t.Error(err)
	}
}
