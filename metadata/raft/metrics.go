package raft

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/metadata"
)

// proposeSecondsBuckets range from one fsync of a good disk to the timeout of Raft's queue.
var proposeSecondsBuckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 10}

// meter counts what is proposed.
type meter struct {
	proposals                   *prometheus.CounterVec
	accepted, refused, unknown  prometheus.Counter
	seconds                     prometheus.Histogram
	snapshots, snapshotFailures prometheus.Counter
}

func newMeter() *meter {
	m := &meter{
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_metadata_proposals_total",
			Help: "Commands that were proposed to the metadata quorum: accepted, refused by its state, or of unknown outcome.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_metadata_proposal_seconds", Buckets: proposeSecondsBuckets,
			Help: "From the proposal of a command to its answer.",
		}),
		snapshots: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_metadata_snapshots_total", Help: "Snapshots of the metadata that were written to the local disk.",
		}),
		snapshotFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_metadata_snapshot_failures_total", Help: "Local snapshots that failed; the log stays, so nothing is lost.",
		}),
	}
	m.accepted, m.refused, m.unknown = m.proposals.WithLabelValues("accepted"), m.proposals.WithLabelValues("refused"), m.proposals.WithLabelValues("unknown")
	return m
}

func (m *meter) proposed(began time.Time, res metadata.Result, err error) {
	m.seconds.Observe(time.Since(began).Seconds())
	switch {
	case err != nil:
		m.unknown.Inc()
	case res.Err != nil:
		m.refused.Inc()
	default:
		m.accepted.Inc()
	}
}

func (m *meter) snapshot(err error) {
	if err != nil {
		m.snapshotFailures.Inc()
		return
	}
	m.snapshots.Inc()
}

// Metrics returns the collectors that Prometheus may register.
func (n *Node) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		n.meter.proposals, n.meter.seconds, n.meter.snapshots, n.meter.snapshotFailures, stateCollector{n},
		gauge("sluice_raft_applied_index", "Index of the last entry of the metadata's log that is applied here.", func() float64 { return float64(n.raft.AppliedIndex()) }),
		gauge("sluice_raft_last_index", "Index of the last entry of the metadata's log that is on this disk.", func() float64 { return float64(n.raft.LastIndex()) }),
	}
}

var (
	topicsDesc  = prometheus.NewDesc("sluice_topics", "Topics of the cluster.", nil, nil)
	objectsDesc = prometheus.NewDesc("sluice_objects",
		"Objects that the metadata knows: prepared (perhaps being uploaded), live, unreferenced (to be deleted).", []string{"state"}, nil)
	storedDesc = prometheus.NewDesc("sluice_metadata_stored_index", "Index up to which the newest snapshot in the bucket holds the metadata: what a restore goes back to.", nil, nil)
)

// stateCollector counts what the state machine holds, in one view of it.
type stateCollector struct{ n *Node }

func (stateCollector) Describe(c chan<- *prometheus.Desc) {
	c <- topicsDesc
	c <- objectsDesc
	c <- storedDesc
}

func (s stateCollector) Collect(c chan<- prometheus.Metric) {
	var topics int
	var counts metadata.ObjectCounts
	var stored uint64
	s.n.View(func(state *metadata.State) { // takes a millisecond for 100,000 objects
		topics, counts, stored = len(state.Topics()), state.ObjectCounts(), state.Stored().Index
	})
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(topicsDesc, float64(topics))
	gauge(objectsDesc, float64(counts.Prepared), "prepared")
	gauge(objectsDesc, float64(counts.Live), "live")
	gauge(objectsDesc, float64(counts.Unreferenced), "unreferenced")
	gauge(storedDesc, float64(stored))
}
