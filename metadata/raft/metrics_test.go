package raft

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluicemq/sluice/metadata"
)

// Proposals are counted by their outcome, and the gauges of the state show what was decided.
func TestMetrics(t *testing.T) {
	n := openNode(t, t.TempDir(), testDeps(t))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(n.Metrics()...)
	inc := begin(t, n) // three commands
	do(t, n, metadata.NewCreateTopic(topicSpec(1, 2)))
	if res, err := n.Propose(t.Context(), metadata.NewCreateTopic(topicSpec(1, 2))); err != nil || res.Err == nil {
		t.Fatalf("a topic was created twice: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(gone, metadata.NewReserveObjects(inc, 3, time.Now().Add(time.Hour))); err == nil {
		t.Log("decided before the caller's end was noticed")
	}
	if err := n.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"sluice_metadata_proposals_total refused": 1, "sluice_metadata_proposal_seconds": 6,
		"sluice_topics": 1, "sluice_objects prepared": 3, "sluice_objects live": 0,
	}
	for series, w := range want {
		if got[series] != w {
			t.Errorf("%s is %v, want %v", series, got[series], w)
		}
	}
	if a, u := got["sluice_metadata_proposals_total accepted"], got["sluice_metadata_proposals_total unknown"]; a+u != 5 || a < 4 {
		t.Errorf("%v accepted and %v unknown, want 4 and 1, or 5 and 0", a, u)
	}
	if applied, last := got["sluice_raft_applied_index"], got["sluice_raft_last_index"]; applied < 6 || last < applied {
		t.Errorf("applied %v of %v", applied, last)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}
