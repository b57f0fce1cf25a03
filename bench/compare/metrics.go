package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metricsTimeout bounds one request for a broker's metrics or a bucket's counts.
const metricsTimeout = 5 * time.Second

func get(ctx context.Context, url string, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// metric finds one series in Prometheus' text format, by its name with labels as they are written.
func metric(text []byte, series string) (float64, bool) {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v, err == nil
		}
	}
	return 0, false
}

// metricSum adds up all series that begin with prefix.
func metricSum(text []byte, prefix string) float64 {
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			v, _ := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
			sum += v
		}
	}
	return sum
}

// lag watches what a Sluice broker has not uploaded, while it is under load. At the end of the run
// its topics are gone.
type lag struct {
	ctx       context.Context
	url       string
	last, max float64 // MiB
	seen      bool
}

func (l *lag) look() {
	text, err := get(l.ctx, l.url, metricsTimeout)
	if err != nil {
		return // if a broker is too busy to answer, its figures show that
	}
	if v, ok := metric(text, "sluice_unflushed_bytes"); ok {
		l.seen, l.last = true, v/(1<<20)
		l.max = max(l.max, l.last)
	}
}

func (l *lag) note(figures map[string]float64) {
	if l.seen {
		figures["lag_mib"], figures["lag_max_mib"] = l.last, l.max
	}
}

// gcFigures are the pauses of the garbage collector since the broker's start.
func gcFigures(text []byte, figures map[string]float64) {
	for series, name := range map[string]string{
		`go_gc_duration_seconds{quantile="0.5"}`: "gc_pause_p50_ms", `go_gc_duration_seconds{quantile="1"}`: "gc_pause_max_ms"} {
		if v, ok := metric(text, series); ok {
			figures[name] = v * 1000
		}
	}
	if v, ok := metric(text, "go_gc_duration_seconds_count"); ok {
		figures["gc_cycles"] = v
	}
}

// countFigures are the requests to the null bucket. They include the warm-up and metadata, so they
// are a ratio of sums.
func countFigures(ctx context.Context, url string, figures map[string]float64) error {
	b, err := get(ctx, url, metricsTimeout)
	if err != nil {
		return err
	}
	var counts map[string]float64
	if err := json.Unmarshal(b, &counts); err != nil {
		return fmt.Errorf("counts of the null bucket: %w", err)
	}
	requestFigures(counts, figures)
	return nil
}

// askedFigures are the same for a bucket that does not count: the requests that the broker has
// made, including retries.
func askedFigures(text []byte, figures map[string]float64) {
	counts := make(map[string]float64)
	for kind, op := range map[string]string{"puts": "create", "gets": "read", "deletes": "delete", "lists": "list"} {
		counts[kind] = metricSum(text, fmt.Sprintf(`sluice_bucket_requests_total{op=%q,`, op))
	}
	counts["put_bytes"], _ = metric(text, `sluice_bucket_bytes_total{op="create"}`)
	requestFigures(counts, figures)
}

func requestFigures(counts, figures map[string]float64) {
	for _, kind := range []string{"puts", "gets", "deletes", "lists"} {
		figures[kind] = counts[kind]
	}
	if put := counts["put_bytes"]; put > 0 {
		figures["put_mib"] = put / (1 << 20)
		figures["put_per_gib"] = counts["puts"] / (put / (1 << 30))
		figures["delete_per_gib"] = counts["deletes"] / (put / (1 << 30))
	}
}
