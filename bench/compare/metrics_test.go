package compare

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
)

const metricsText = `# HELP sluice_unflushed_bytes What is not in the bucket yet.
sluice_unflushed_bytes_total 7
sluice_unflushed_bytes 1.048576e+08
go_gc_duration_seconds{quantile="0.5"} 0.0001
go_gc_duration_seconds{quantile="1"} 0.002
go_gc_duration_seconds_count 12
sluice_bucket_requests_total{op="create",result="ok"} 150
sluice_bucket_requests_total{op="create",result="unavailable"} 10
sluice_bucket_requests_total{op="delete",result="ok"} 20
sluice_bucket_requests_total{op="list",result="ok"} 1
sluice_bucket_requests_total{op="read",result="ok"} 3
sluice_bucket_bytes_total{op="create"} 2.147483648e+09
`

func TestMetrics_LagAndPauses(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(metricsText)) }))
	defer s.Close()
	figures := make(map[string]float64)
	l := &lag{ctx: t.Context(), url: s.URL}
	l.note(figures)
	if len(figures) != 0 {
		t.Errorf("a lag that nobody looked at: %v", figures)
	}
	l.look()
	l.note(figures)
	gcFigures([]byte(metricsText), figures)
	for name, want := range map[string]float64{"lag_mib": 100, "lag_max_mib": 100, "gc_pause_p50_ms": 0.1, "gc_pause_max_ms": 2, "gc_cycles": 12} {
		if !near(figures[name], want) {
			t.Errorf("%s %v, want %v", name, figures[name], want)
		}
	}
}

func TestMetrics_CountsOfTheBucket(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"puts":160,"gets":3,"deletes":20,"lists":1,"put_bytes":2147483648}`))
	}))
	figures := make(map[string]float64)
	if err := countFigures(t.Context(), s.URL, figures); err != nil {
		t.Fatal(err)
	}
	if figures["put_per_gib"] != 80 || figures["delete_per_gib"] != 10 || figures["put_mib"] != 2048 {
		t.Errorf("figures %v, want 80 PUTs and 10 DELETEs per GiB of 2,048 MiB", figures)
	}
	asked := make(map[string]float64)
	askedFigures([]byte(metricsText), asked)
	if !maps.Equal(asked, figures) {
		t.Errorf("what the broker asked for: %v; what the bucket was asked for: %v", asked, figures)
	}
	s.Close()
	if err := countFigures(t.Context(), s.URL, figures); err == nil {
		t.Error("a bucket that is gone was counted")
	}
}
