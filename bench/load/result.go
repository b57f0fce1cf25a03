package load

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what came of a workload. Its JSON has the names of OpenMessaging Benchmark's result
// files (json.go), and the figures.
type Result struct {
	Workload    string
	Shape       Workload // as it ran
	Begin, End  time.Time
	Periods     []Period
	NotReached  string   // why the rate was not sustained; empty if it was
	Reasons     []string // the first errors of clients
	Figures     map[string]float64
	latencies   histograms
	perProducer int
}

// Period is an interval of the time that counts.
type Period struct {
	PublishRate, ErrorRate, ConsumeRate float64 // records/s
	// BacklogCount is the number of records that are acknowledged and not yet read, over all
	// subscriptions.
	BacklogCount int64
	RSSBytes     map[string]int64
	latencies    [measureCount]summary
}

// quantiles are those of the figures.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 50}, {"p75", 75}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}, {"max", 100}}

const microsPerMilli = 1000

// latencyFigures adds publish_p50_ms and so on.
func latencyFigures(prefix string, h *hdrhistogram.Histogram, into map[string]float64) {
	if h == nil || h.TotalCount() == 0 {
		return
	}
	for _, q := range quantiles {
		into[prefix+"_"+q.name+"_ms"] = float64(h.ValueAtQuantile(q.q)) / microsPerMilli
	}
}

// Verdict returns nil if the result can be believed and the requested load was reached. Otherwise
// it returns the worst that applies of ErrUntrue, ErrFailed and ErrNotSustained.
func (r *Result) Verdict() error {
	f := r.Figures
	if n := f["lost"] + f["duplicates"] + f["reordered"] + f["damaged"]; n > 0 {
		return fmt.Errorf("%w: %.0f lost, %.0f twice, %.0f reordered, %.0f damaged", ErrUntrue, f["lost"], f["duplicates"], f["reordered"], f["damaged"])
	}
	if f["errors"] > 0 {
		return fmt.Errorf("%w: %.0f errors%s", ErrFailed, f["errors"], firstOf(r.Reasons))
	}
	if r.NotReached != "" {
		return fmt.Errorf("%w: %s", ErrNotSustained, r.NotReached)
	}
	return nil
}

func firstOf(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return ", the first: " + reasons[0]
}

func (r *Result) because(err error) {
	if err != nil && len(r.Reasons) < 8 {
		r.Reasons = append(r.Reasons, err.Error())
	}
}

func joined(problems []string) string { return strings.Join(problems, "; ") }

// closing joins the error of end to *err.
func closing(err *error, end func() error) { *err = errors.Join(*err, end()) }
