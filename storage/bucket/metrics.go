package bucket

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meter measures every attempt of every request, retries included: what the store is asked, and how
// it answers.
type meter struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	results  [OpCount]map[string]prometheus.Counter
	times    [OpCount]prometheus.Observer
}

// requestSecondsBuckets range from a local folder to a store that is about to time out.
var requestSecondsBuckets = []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}

func newMeter() *meter {
	m := &meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_bucket_requests_total",
			Help: "Requests to the object store by result, each retry counted; a listing is one however many pages it has, an object created in parts one. At a start the store is probed: one create each is refused as existing and as corrupt.",
		}, []string{"op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sluice_bucket_request_seconds",
			Help:    "Duration of requests to the object store, whatever their result; of a listing until its last key was taken.",
			Buckets: requestSecondsBuckets,
		}, []string{"op"}),
	}
	for op := range m.times {
		name := Op(op).String()
		m.times[op] = m.seconds.WithLabelValues(name)
		m.results[op] = map[string]prometheus.Counter{}
		for _, result := range results {
			m.results[op][result.name] = m.requests.WithLabelValues(name, result.name)
		}
	}
	return m
}

func (m *meter) observe(op Op, began time.Time, err error) {
	m.times[op].Observe(time.Since(began).Seconds())
	m.results[op][resultOf(err)].Inc()
}

// results are the ways in which a request ends, in the order in which they are tested. A caller
// that gave up is not the store's fault, and an outcome in doubt is in doubt whatever else the
// error says.
var results = []struct {
	name string
	err  error
}{
	{"ok", nil},
	{"canceled", context.Canceled},
	{"unknown", ErrUnknown},
	{"exists", ErrExists},
	{"not_found", ErrNotFound},
	{"short", ErrShort},
	{"denied", ErrDenied},
	{"corrupt", ErrCorrupt},
	{"unavailable", ErrUnavailable},
	{"other", nil},
}

func resultOf(err error) string {
	if err == nil {
		return "ok"
	}
	for _, r := range results {
		if r.err != nil && errors.Is(err, r.err) {
			return r.name
		}
	}
	return "other"
}

// Metrics returns the collectors that Prometheus may register.
func (r *Retrying) Metrics() []prometheus.Collector {
	out := []prometheus.Collector{r.meter.requests, r.meter.seconds}
	for op := range r.counters {
		c, label := &r.counters[op], prometheus.Labels{"op": Op(op).String()}
		out = append(out,
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "sluice_bucket_retries_total", ConstLabels: label,
				Help: "Requests to the object store that repeated one which failed for a passing reason.",
			}, func() float64 { return float64(c.retries.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "sluice_bucket_bytes_total", ConstLabels: label,
				Help: "Bytes of objects that were stored, or read, by requests that succeeded.",
			}, func() float64 { return float64(c.bytes.Load()) }),
		)
	}
	return out
}
