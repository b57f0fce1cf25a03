package node

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

const (
	// partitionsShown is how many series of each kind /metrics shows by default. There are five
	// kinds for each partition.
	partitionsShown = 2000
	// groupsWait bounds how long a scrape waits for the groups.
	groupsWait = 5 * time.Second
)

// measure registers the metrics of a part.
func (n *Node) measure(collectors []prometheus.Collector) {
	n.admin.registry.MustRegister(collectors...)
}

// measureBuild registers the program's version, and the metrics of what was opened before the node:
// the bucket, if it counts its requests.
func (n *Node) measureBuild() {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_build_info", Help: "Always 1; the label says which version runs.", ConstLabels: prometheus.Labels{"version": n.cfg.Version},
	})
	info.Set(1)
	ceiling := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_memory_ceiling_bytes", Help: "The most memory that this process takes by its configuration (docs/operations.md, Memory).",
	})
	ceiling.Set(float64(n.cfg.MemoryBytes()))
	n.measure([]prometheus.Collector{info, ceiling})
	if b, ok := n.deps.Bucket.(interface{ Metrics() []prometheus.Collector }); ok {
		n.measure(b.Metrics())
	}
}

// measureLog registers everything that the open log knows, and its users.
func (n *Node) measureLog() {
	seriesMax := n.cfg.MetricsPartitionsMax
	if seriesMax == 0 {
		seriesMax = partitionsShown
	}
	n.measure(n.engine.Metrics())
	n.measure([]prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_bucket_open", Help: "1 once the bucket has answered since the start, and its prefix was found to be this broker's; nothing is written to it before.",
	}, func() float64 {
		if n.gate.open.Load() && n.gate.barred() == nil {
			return 1
		}
		return 0
	})})
	stuck := n.engine.Stuck
	n.admin.stuck.Store(&stuck)
	n.admin.details.Store(&details{n.partitionRegistry(seriesMax), n.partitionRegistry(0)})
}

// partitionRegistry has the metrics whose number grows with partitions and groups. 0 means no
// bound.
func (n *Node) partitionRegistry(seriesMax int) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(n.engine.PartitionMetrics(seriesMax), &groupsCollector{
		groups: func() []coordinator.Status {
			ctx, cancel := context.WithTimeout(n.ctx, groupsWait)
			defer cancel()
			return n.broker.Groups(ctx)
		},
		lag: n.lag, seriesMax: seriesMax,
	})
	return r
}

// lag says how far a group is behind on a partition. It returns false if the partition is not on
// this broker.
func (n *Node) lag(topic string, partition int32, offset ident.Offset) (records int64, age time.Duration, ok bool) {
	t, ok := n.cat.TopicByName(topic)
	if !ok {
		return 0, 0, false
	}
	return n.engine.Lag(ident.TopicPartition{Topic: t.ID, Index: partition}, offset)
}

// groupsCollector shows how far consumer groups are behind. A scrape reads no records: see
// storage.Engine.Lag.
type groupsCollector struct {
	groups    func() []coordinator.Status
	lag       func(topic string, partition int32, offset ident.Offset) (records int64, age time.Duration, ok bool)
	seriesMax int // 0 for no bound
}

func groupDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"group"}, labels...), nil)
}

var (
	groupsDesc     = prometheus.NewDesc("sluice_groups", "Consumer groups that this broker coordinates and has loaded, by state.", []string{"state"}, nil)
	membersDesc    = groupDesc("sluice_group_members", "Members of a consumer group.")
	sumLagDesc     = groupDesc("sluice_group_sum_lag_records", "Records after a group's committed offsets, of all partitions that it has committed.")
	maxLagDesc     = groupDesc("sluice_group_max_lag_seconds", "The largest sluice_group_lag_seconds of a group.")
	lagRecordsDesc = groupDesc("sluice_group_lag_records", "Records between a group's committed offset and what consumers can see.", "topic", "partition")
	lagSecondsDesc = groupDesc("sluice_group_lag_seconds", "For how long the first record after a group's committed offset has been there; 0 at the end. "+
		"To a second for the last minute, then up to a third too high; of what an earlier process wrote, by the timestamps of its batch or of the newest record beside it in the bucket.",
		"topic", "partition")
	groupsShownDesc = prometheus.NewDesc("sluice_group_metrics_shown", "1 if there are series of each group's partitions here; 0 if there are too many (far too many: not even of each group): ask for /metrics?partitions=all.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*groupsCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{groupsDesc, membersDesc, sumLagDesc, maxLagDesc, lagRecordsDesc, lagSecondsDesc, groupsShownDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (g *groupsCollector) Collect(c chan<- prometheus.Metric) {
	all := g.groups()
	states, series := map[string]int{}, 0
	for i := range all {
		states[all[i].State.String()]++
		series += len(all[i].Offsets)
	}
	for state, n := range states {
		c <- prometheus.MustNewConstMetric(groupsDesc, prometheus.GaugeValue, float64(n), state)
	}
	partitions := g.seriesMax == 0 || series <= g.seriesMax
	shown := 0.0
	if partitions {
		shown = 1
	}
	c <- prometheus.MustNewConstMetric(groupsShownDesc, prometheus.GaugeValue, shown)
	if g.seriesMax > 0 && len(all) > g.seriesMax {
		return
	}
	for i := range all {
		g.collectGroup(c, &all[i], partitions)
	}
}

// collectGroup shows the sums of one group and, if requested, its partitions.
func (g *groupsCollector) collectGroup(c chan<- prometheus.Metric, s *coordinator.Status, partitions bool) {
	// Clients choose the name, and a label must be UTF-8.
	name := strings.ToValidUTF8(s.Group, "\uFFFD")
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{name}, labels...)...)
	}
	sum, oldest := int64(0), time.Duration(0)
	for _, o := range s.Offsets {
		records, age, ok := g.lag(o.Topic, o.Partition, o.Offset)
		if !ok {
			continue
		}
		sum, oldest = sum+records, max(oldest, age)
		if !partitions {
			continue
		}
		partition := strconv.Itoa(int(o.Partition))
		gauge(lagRecordsDesc, float64(records), o.Topic, partition)
		gauge(lagSecondsDesc, age.Seconds(), o.Topic, partition)
	}
	gauge(membersDesc, float64(s.Members))
	gauge(sumLagDesc, float64(sum))
	gauge(maxLagDesc, oldest.Seconds())
}

const (
	// flushWatchInterval is the time between two looks whether the bucket is behind.
	flushWatchInterval = time.Minute
	// flushBehind is the age of a batch outside of the bucket from which on the flush counts as
	// behind. It is at least three flush intervals.
	flushBehind = time.Minute
)

// flushWatch logs once a minute how much is not in the bucket, while that is more than it should
// be.
type flushWatch struct {
	totals func() storage.Totals
	isOpen func() bool // reports that the bucket has answered since the start
	behind time.Duration
	log    *slog.Logger
}

func (n *Node) newFlushWatch() *flushWatch {
	return &flushWatch{
		totals: n.engine.Totals, isOpen: n.gate.open.Load, behind: max(flushBehind, 3*n.cfg.Storage.FlushInterval), log: n.deps.Log,
	}
}

// run looks until ctx ends.
func (w *flushWatch) run(ctx context.Context) {
	for said := false; pause(ctx, flushWatchInterval); {
		t := w.totals()
		switch {
		case t.UnflushedBytes > 0 && (t.UnflushedAge >= w.behind || !w.isOpen()):
			said = true
			w.log.Warn("not in the bucket yet; it is in the write-ahead log of this disk only", "bytes", t.UnflushedBytes, "oldest", t.UnflushedAge.Round(time.Second))
		case said:
			said = false
			w.log.Info("the bucket has caught up", "bytes", t.UnflushedBytes)
		}
	}
}
