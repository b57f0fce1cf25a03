package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scrape returns the value of every series of the broker, by its name and its labels' values. The
// value of a histogram is its count.
func (h *harness) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(h.Metrics()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
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

// TestRequestsAreCounted: every request is counted once under its API, with its bytes both ways,
// its time and the codes of its answer. Every connection is counted with the way in which it ended.
func TestRequestsAreCounted(t *testing.T) {
	h := startTCP(t, Config{ConnectionsMax: 1})
	h.topics.create(t, "t", 1, nil)
	before := h.scrape(t)
	c := h.dial(t)
	produce := produceRequest("t", plainBatch(t, "a"))
	for range 3 {
		ask[*kmsg.ProduceResponse](c, produce, 9)
	}
	ask[*kmsg.ProduceResponse](c, produceRequest("nobody", plainBatch(t, "a")), 9)
	silent := produceRequest("t", plainBatch(t, "a"))
	silent.Acks = 0
	c.send(silent, 9)
	// When this is answered, all requests before it are over.
	ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9)

	got := h.scrape(t)
	delta := func(series string) float64 { return got[series] - before[series] }
	for series, want := range map[string]float64{
		"requests_total Produce": 5, "request_seconds Produce": 5, "requests_total Metadata": 1, "requests_total Fetch": 0,
		"request_errors_total UNKNOWN_TOPIC_OR_PARTITION": 1, "connections ": 1, "connections_accepted_total": 1, "connections_refused_total": 0,
		"throttles_total": 0, "request_memory_used_bytes produce": 0,
	} {
		if delta(series) != want {
			t.Errorf("%s rose by %v, want %v", series, delta(series), want)
		}
	}
	if in := delta("request_bytes_total Produce"); in < 5*100 || in > 5*300 {
		t.Errorf("%v bytes of 5 Produce requests", in)
	}
	if out := delta("response_bytes_total Produce"); out < 4*30 || out > 4*150 {
		t.Errorf("%v bytes of 4 answers", out)
	}

	second := h.dial(t)
	second.expectClosed() // one connection too many
	c.write([]byte{0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 0})
	c.expectClosed() // no API has this key
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	got = h.scrape(t)
	for series, want := range map[string]float64{"connections ": 0, "connections_accepted_total": 2, "connections_refused_total": 1, "connections_failed_total": 1} {
		if delta(series) != want {
			t.Errorf("at the end %s rose by %v, want %v", series, delta(series), want)
		}
	}
}

// TestThrottlesAreCounted: the metrics tell how often connections were held back, and for how long.
func TestThrottlesAreCounted(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.throttleFor(20 * time.Millisecond)
		dial().throttled(-1, 9, 20)
		dial().throttled(-1, 9, 20)
		got := h.scrape(t)
		if n, s := got["throttles_total"], got["throttle_seconds_total"]; n != 2 || s < 0.039 || s > 0.041 {
			t.Errorf("%v throttles of %v seconds, want 2 of 0.04", n, s)
		}
	})
}
