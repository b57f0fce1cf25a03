package load

import (
	"encoding/json"
	"testing"
	"time"
)

// A result has the names of OpenMessaging Benchmark, so that its scripts for charts can read it.
func TestResultIsOpenMessagingBenchmarks(t *testing.T) {
	r := &Result{Workload: "omb-latency", Shape: Workload{RecordBytes: 1024, Topics: 1, Partitions: 16, Producers: 4, Consumers: 4},
		Begin: time.Unix(0, 0), End: time.Unix(20, 0), perProducer: 4, Figures: map[string]float64{"mib_per_second": 97.7}}
	var h histograms
	for n := range int64(1000) {
		h.record(ack, n*1000)
		h.record(publish, n*2000)
		h.record(delay, n*100)
		h.record(endToEnd, n*3000)
	}
	r.latencies = h
	r.Periods = []Period{{PublishRate: 100, ConsumeRate: 99, BacklogCount: 1, latencies: h.summaries()}, {PublishRate: 101}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"messageSize": 1024, "topics": 1, "partitions": 16, "producersPerTopic": 4, "consumersPerTopic": 4,
		"aggregatedPublishLatency50pct": 0.499, "aggregatedPublishLatencyMax": 0.999, "aggregatedEndToEndLatency99pct": 2.967,
		"aggregatedPublishDelayLatencyMax": 99, "aggregatedCoFreePublishLatency50pct": 0.998,
	} {
		if got, ok := doc[name].(float64); !ok || got < want*0.998 || got > want*1.002 {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	for _, name := range []string{"publishRate", "publishErrorRate", "consumeRate", "backlog", "publishLatencyAvg", "publishLatency50pct", "publishLatency75pct",
		"publishLatency95pct", "publishLatency99pct", "publishLatency999pct", "publishLatency9999pct", "publishLatencyMax", "publishDelayLatency99pct", "endToEndLatency99pct"} {
		if series, ok := doc[name].([]any); !ok || len(series) != 2 {
			t.Errorf("%s is %v, want a value per period", name, doc[name])
		}
	}
	if q, ok := doc["aggregatedPublishLatencyQuantiles"].(map[string]any); !ok || q["100"] == nil {
		t.Errorf("quantiles are %v", doc["aggregatedPublishLatencyQuantiles"])
	}
}

func TestProcIsRead(t *testing.T) {
	s, ok := parseProcessStat([]byte("4711 (a) b) S 1 4711 4711 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 2"))
	if !ok || s != 3 {
		t.Errorf("process: %v %v, want 3 s", s, ok)
	}
	s, ok = parseMachineStat([]byte("cpu  100 10 20 9999 8888 3 7 500 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"))
	if !ok || s != 1.4 {
		t.Errorf("machine: %v %v, want 1.4 s", s, ok)
	}
	for _, broken := range []string{"", "4711 (sluice", "cpu 1 2", "cpu a b c d e f g h"} {
		_, ok1 := parseProcessStat([]byte(broken))
		_, ok2 := parseMachineStat([]byte(broken))
		if ok1 || ok2 {
			t.Errorf("%q is read", broken)
		}
	}
}

// The CPU time of others is what neither the client nor a watched process has used.
func TestForeignCores(t *testing.T) {
	before := usage{process: map[string]float64{"broker": 10}, client: 5, machine: 100, ok: true}
	after := usage{process: map[string]float64{"broker": 14, "late": 3}, client: 8, machine: 112, ok: true}
	f := make(map[string]float64)
	after.figures(&before, 10, 2, 1000, f)
	for name, want := range map[string]float64{"cpu_cores.broker": 0.4, "cpu_s_per_gib.broker": 2, "cpu_us_per_request.broker": 4000, "cpu_s_per_gib.client": 1.5, "foreign_cores": 0.5} {
		if got := f[name]; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	var r recorder
	s := r.shard(0)
	for b.Loop() {
		s.mu.Lock()
		s.intoLocked(0).record(publish, 1_234_567)
		s.mu.Unlock()
	}
}
