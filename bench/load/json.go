package load

import (
	"encoding/json"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ombSeries are the endings of OMB's names, with their quantiles.
var ombSeries = [...]struct {
	name string
	q    float64
}{{"50pct", 50}, {"75pct", 75}, {"95pct", 95}, {"99pct", 99}, {"999pct", 99.9}, {"9999pct", 99.99}, {"Max", 100}}

// ombMeasures are OMB's three latencies, and those that OMB does not have under names of our own.
var ombMeasures = []struct {
	name    string
	measure int
}{
	{"PublishLatency", ack}, {"PublishDelayLatency", delay}, {"EndToEndLatency", endToEnd},
	{"CoFreePublishLatency", publish}, {"ReceiveAfterAckLatency", afterAck},
}

// MarshalJSON writes the result in the form of OpenMessaging Benchmark: a series per period for
// each quantile, aggregated values and whole distributions. Latencies are in milliseconds and
// publish delays in microseconds, as there. Its publishLatency counts from when a record was handed
// to the client; coFreePublishLatency counts from when the record was due.
func (r *Result) MarshalJSON() ([]byte, error) {
	doc := map[string]any{
		"workload": r.Workload, "driver": "Kafka", "messageSize": r.Shape.RecordBytes, "topics": r.Shape.Topics, "partitions": r.Shape.Partitions,
		"producersPerTopic": r.perProducer, "consumersPerTopic": r.Shape.Consumers, "subscriptionsPerTopic": r.Shape.Subscriptions,
		"beginTime": r.Begin.UTC().Format(time.RFC3339), "endTime": r.End.UTC().Format(time.RFC3339),
		"figures": r.Figures,
	}
	if err := r.Verdict(); err != nil {
		doc["verdict"] = err.Error()
	}
	if r.Shape.Producers > 0 {
		r.rates(doc)
		for _, m := range ombMeasures {
			r.series(doc, m.name, m.measure)
		}
	}
	return json.Marshal(doc)
}

func (r *Result) rates(doc map[string]any) {
	column := func(of func(*Period) float64) []float64 {
		c := make([]float64, len(r.Periods))
		for i := range r.Periods {
			c[i] = of(&r.Periods[i])
		}
		return c
	}
	doc["publishRate"] = column(func(p *Period) float64 { return p.PublishRate })
	doc["publishErrorRate"] = column(func(p *Period) float64 { return p.ErrorRate })
	doc["consumeRate"] = column(func(p *Period) float64 { return p.ConsumeRate })
	doc["backlog"] = column(func(p *Period) float64 { return float64(p.BacklogCount) })
}

func (r *Result) series(doc map[string]any, name string, measure int) {
	unit := float64(microsPerMilli)
	if measure == delay {
		unit = 1
	}
	lower := string(name[0]|0x20) + name[1:]
	for n, s := range ombSeries {
		values := make([]float64, len(r.Periods))
		for i := range r.Periods {
			values[i] = r.Periods[i].latencies[measure].quantiles[n] / unit
		}
		doc[lower+s.name] = values
		doc["aggregated"+name+s.name] = atQuantile(r.latencies[measure], s.q) / unit
	}
	means := make([]float64, len(r.Periods))
	for i := range r.Periods {
		means[i] = r.Periods[i].latencies[measure].mean / unit
	}
	doc[lower+"Avg"] = means
	doc["aggregated"+name+"Avg"] = mean(r.latencies[measure]) / unit
	doc["aggregated"+name+"Quantiles"] = distribution(r.latencies[measure], unit)
}

func atQuantile(h *hdrhistogram.Histogram, q float64) float64 {
	if h == nil || h.TotalCount() == 0 {
		return 0
	}
	return float64(h.ValueAtQuantile(q))
}

func mean(h *hdrhistogram.Histogram) float64 {
	if h == nil || h.TotalCount() == 0 {
		return 0
	}
	return h.Mean()
}

// distribution is OMB's map from percentile to value.
func distribution(h *hdrhistogram.Histogram, unit float64) map[string]float64 {
	d := make(map[string]float64)
	if h == nil || h.TotalCount() == 0 {
		return d
	}
	for _, b := range h.CumulativeDistribution() {
		d[formatPercentile(b.Quantile)] = float64(b.ValueAt) / unit
	}
	return d
}

func formatPercentile(q float64) string {
	b, _ := json.Marshal(math.Round(q*1e6) / 1e6) // never fails for a number
	return string(b)
}
