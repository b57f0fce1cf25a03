package broker

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/protocol"
)

// requestSecondsBuckets reach from an answer out of memory to a fetch that waits and a group that
// rebalances.
var requestSecondsBuckets = []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

// meter holds the broker's own counts, for metrics. A request costs a handful of atomic additions.
type meter struct {
	apis []*apiMeter // by key; nil if the API is not served

	requests, bytesIn, bytesOut *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec

	connections               *prometheus.GaugeVec
	accepted, refused, failed prometheus.Counter
	throttles, throttleTime   prometheus.Counter
}

// apiMeter holds the counts of one API.
type apiMeter struct {
	requests, bytesIn, bytesOut prometheus.Counter
	seconds                     prometheus.Observer
}

func newMeter() *meter {
	perAPI := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"api"})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &meter{
		requests: perAPI("sluice_requests_total", "Requests that were read, answered or not."),
		bytesIn:  perAPI("sluice_request_bytes_total", "Bytes of requests, without the four of their length."),
		bytesOut: perAPI("sluice_response_bytes_total", "Bytes of answers."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_request_seconds", Buckets: requestSecondsBuckets,
			Help: "From the last byte of a request to the last byte of its answer, what it waits for included: durability (Produce), records (Fetch), the other members (JoinGroup).",
		}, []string{"api"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_connections", Help: "Open connections by listener.",
		}, []string{"listener"}),
		accepted:     counter("sluice_connections_accepted_total", "Connections that were accepted."),
		refused:      counter("sluice_connections_refused_total", "Connections that were closed at once, because there were too many."),
		failed:       counter("sluice_connections_failed_total", "Connections that ended otherwise than by the client's leaving or the broker's stop: bad or unserved requests, stalls, idleness, resets."),
		throttles:    counter("sluice_throttles_total", "Answers to Produce after which the connection was not read for a while."),
		throttleTime: counter("sluice_throttle_seconds_total", "For how long connections were not read after answers to Produce, together."),
	}
	for key, a := range apis {
		for len(m.apis) <= int(key) {
			m.apis = append(m.apis, nil)
		}
		m.apis[key] = &apiMeter{
			m.requests.WithLabelValues(a.name), m.bytesIn.WithLabelValues(a.name), m.bytesOut.WithLabelValues(a.name), m.seconds.WithLabelValues(a.name),
		}
	}
	return m
}

// came counts a request that was read.
func (m *meter) came(f *frame) {
	a := m.apis[f.row.key]
	a.requests.Inc()
	a.bytesIn.Add(float64(len(f.bytes)))
}

// answered counts a request that is over. bytes is 0 if no answer is due.
func (m *meter) answered(c *call, bytes int) {
	a := m.apis[c.row.key]
	a.bytesOut.Add(float64(bytes))
	a.seconds.Observe(time.Since(c.began).Seconds())
}

func (m *meter) throttled(d time.Duration) {
	m.throttles.Inc()
	m.throttleTime.Add(d.Seconds())
}

// Metrics returns the collectors of the broker for Prometheus.
func (b *Broker) Metrics() []prometheus.Collector {
	m := b.meter
	out := []prometheus.Collector{
		m.requests, m.bytesIn, m.bytesOut, m.seconds, m.connections, m.accepted, m.refused, m.failed, m.throttles, m.throttleTime, errorCodes{},
	}
	for name, budget := range b.namedBudgets() {
		label := prometheus.Labels{"budget": name}
		out = append(out,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "sluice_request_memory_used_bytes", ConstLabels: label,
				Help: "Memory of requests and answers, by budget: produce, fetch and other are frames that are being read or not answered, rebuilt the batches that were compressed anew, produce_decoded, fetch_decoded and decoded what large requests take decoded, fetch_answers the records of answers to Fetch that are being read or written, fetch_behind those among them for consumers whose records lie in the bucket only, answers large answers of other APIs that are being built or written. At the bound connections are not read, or answers are smaller.",
			}, func() float64 { return float64(budget.bytes - budget.available()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "sluice_request_memory_limit_bytes", ConstLabels: label, Help: "The bounds of that memory.",
			}, func() float64 { return float64(budget.bytes) }),
		)
	}
	return append(out, b.groupMemory()...)
}

// groupMemory shows the memory that the groups take. It shows nothing until the log is open.
func (b *Broker) groupMemory() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_groups_memory_used_bytes",
			Help: "Memory of consumer groups' members, assignments and committed offsets. From seven eighths of the limit on, new members are told to try again.",
		}, func() float64 {
			select {
			case <-b.opened:
				return float64(b.groups.MemoryUsed())
			default:
				return 0
			}
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_groups_memory_limit_bytes", Help: "The bound of that memory."},
			func() float64 { return float64(b.cfg.Groups.WithDefaults().MemoryBytesMax) }),
	}
}

func (b *Broker) namedBudgets() map[string]*budget {
	return map[string]*budget{
		"produce": b.memory, "produce_decoded": b.producedDecoded, "rebuilt": b.rebuilt, "fetch": b.fetches.frames, "fetch_decoded": b.fetches.decoded, "fetch_answers": b.answers, "fetch_behind": b.behind, "answers": b.replies,
		"other": b.others.frames, "decoded": b.others.decoded,
	}
}

// errorCounts counts answered codes, from code -1 on. It belongs to the process, since codeOf has
// no broker.
var errorCounts [256]atomic.Int64

func countError(code protocol.Code) {
	if i := int(code) + 1; 0 <= i && i < len(errorCounts) {
		errorCounts[i].Add(1)
	}
}

var errorCodesDesc = prometheus.NewDesc("sluice_request_errors_total",
	"Errors that requests, or partitions and groups in them, were answered with, by Kafka's name; a few APIs give a more general code in their place.", []string{"code"}, nil)

// errorCodes shows the codes that were given at least once.
type errorCodes struct{}

func (errorCodes) Describe(c chan<- *prometheus.Desc) { c <- errorCodesDesc }

func (errorCodes) Collect(c chan<- prometheus.Metric) {
	for i := range errorCounts {
		if n := errorCounts[i].Load(); n > 0 {
			c <- prometheus.MustNewConstMetric(errorCodesDesc, prometheus.CounterValue, float64(n), protocol.Code(i-1).String())
		}
	}
}
