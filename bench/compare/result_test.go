package compare

import (
	"math"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{2}, Spread{2, 2, 2, 1}},
		{[]float64{9, 1, 5}, Spread{1, 5, 9, 3}},
		{[]float64{4, 1, 3, 2}, Spread{1, 2.5, 4, 4}},
	} {
		if got := spread(c.values); got != c.want {
			t.Errorf("spread(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// sample is a result with the given runs: cell, system and figure, with the values by round.
func sample(started time.Time, values map[[3]string][]float64) *Result {
	r := &Result{Format: resultFormat, Started: started, Version: "v0.1.0"}
	for key, rounds := range values {
		for round, v := range rounds {
			r.Runs = append(r.Runs, Run{Cell: key[0], System: key[1], Round: round, Figures: map[string]float64{key[2]: v}})
		}
	}
	return r
}

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestMarks(t *testing.T) {
	r := sample(day, map[[3]string][]float64{
		{"throughput-4", "null", "mib_per_second"}:   {1000, 1290, 1290},
		{"throughput-4", "wal", "mib_per_second"}:    {900, 1000, 1100},
		{"throughput-4", "sluice", "mib_per_second"}: {900, 992, 993},
	})
	for i := range r.Runs {
		if run := &r.Runs[i]; run.System == "sluice" {
			run.Figures["foreign_cores"] = []float64{0.1, 0.3, 0.31}[run.Round]
			run.Figures["duplicates"] = []float64{0, 1, 0}[run.Round]
		}
	}
	if got := r.marks("throughput-4", "sluice"); len(got) != 2 || got[0] != "disturbed 1 of 3" || got[1] != "errors in 1 of 3" {
		t.Errorf("marks of sluice: %v; the null broker is exactly 1.3 × as fast: want only the disturbed and the wrong one", got)
	}
	if got := r.marks("throughput-4", "wal"); len(got) != 1 || got[0] != "client-limited" {
		t.Errorf("marks of wal: %v, want client-limited", got)
	}
	if got := r.marks("throughput-4", "null"); got != nil {
		t.Errorf("marks of null: %v, want none", got)
	}
}

// A cell comes whole from the newest result that has figures for it, since a ratio across two runs
// would mean nothing.
func TestMerge_TakesCellsWhole(t *testing.T) {
	older := sample(day, map[[3]string][]float64{
		{"throughput-4", "wal", "mib_per_second"}:    {100},
		{"throughput-4", "sluice", "mib_per_second"}: {50},
		{"idle", "sluice-file", "rss_mib.broker"}:    {40},
	})
	newer := sample(day.Add(time.Hour), map[[3]string][]float64{
		{"throughput-4", "sluice", "mib_per_second"}: {99},
	})
	newer.Runs = append(newer.Runs, Run{Cell: "idle", System: "sluice-file", Error: "did not start"})
	for _, order := range [][]*Result{{older, newer}, {newer, older}} {
		picked := merge(order)
		if picked["throughput-4"] != newer || picked["idle"] != older {
			t.Errorf("throughput-4 from the newer: %t, idle from the older (the newer failed): %t; want both",
				picked["throughput-4"] == newer, picked["idle"] == older)
		}
		r := ratio("x", "throughput-4", "mib_per_second", "sluice", "wal", "minimal WAL", "")
		if got := r.evaluate(picked); got.Count != 0 {
			t.Errorf("a ratio whose other side is not in the same run: %v, want none", got)
		}
	}
}

func TestRows_Evaluate(t *testing.T) {
	s := source(merge([]*Result{sample(day, map[[3]string][]float64{
		{"latency-100", "sluice", "publish_p99_ms"}:    {2, 3, 8},
		{"latency-100", "wal", "publish_p99_ms"}:       {4, 5, 6},
		{"sync-1", "sluice", "ack_p50_ms"}:             {0.3},
		{"sync-1", "null", "ack_p50_ms"}:               {0.05},
		{"machine", "machine", "fdatasync_p50_ms"}:     {0.1},
		{"idle", "sluice-file", "rss_mib.broker"}:      {50, 60, 55},
		{"fetch-hot", "sluice", "mib_per_second"}:      {7},
		{"fetch-hot", "fetch", "cpu_s_per_gib.broker"}: {7},
	})}))
	for _, c := range []struct {
		name string
		row  row
		want Spread
	}{
		{"medians, and ratios of rounds", ratio("", "latency-100", "publish_p99_ms", "sluice", "wal", "", ""), Spread{0.5, 3.0 / 5, 8.0 / 6, 3}},
		{"maximum over rounds", row{of: of("latency-100", "sluice", "publish_p99_ms"), to: []term{{1, operand{"latency-100", "wal", "publish_p99_ms", true}}}}, Spread{0.5, 0.5, 0.5, 1}},
		{"a sum", row{of: of("sync-1", "sluice", "ack_p50_ms"), to: []term{{1, of("sync-1", "null", "ack_p50_ms")}, {1.5, of("machine", "machine", "fdatasync_p50_ms")}}}, Spread{1.5, 1.5, 1.5, 1}},
		{"a value", value("", "idle", "sluice-file", "rss_mib.broker", "MiB", ""), Spread{50, 55, 60, 3}},
		{"nothing to divide by", ratio("", "fetch-hot", "mib_per_second", "sluice", "fetch", "", ""), Spread{}},
	} {
		got := c.row.evaluate(s)
		if !near(got.Min, c.want.Min) || !near(got.Median, c.want.Median) || !near(got.Max, c.want.Max) || got.Count != c.want.Count {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.00123456: "0.00123", 0.5: "0.5", 1.5: "1.5", 12.345: "12.3", 123.4: "123", 1719: "1,719", 1234567.8: "1,234,568",
		-1500: "-1,500", -150: "-150", 100: "100", 1000: "1,000"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestResult_SavedAndLoaded(t *testing.T) {
	dir := t.TempDir()
	r := sample(day, map[[3]string][]float64{{"throughput-4", "wal", "mib_per_second"}: {100}})
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := loadResult(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Started.Equal(day) || got.spread("throughput-4", "wal", "mib_per_second").Median != 100 {
		t.Errorf("loaded %+v", got)
	}
	r.Format = resultFormat + 1
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := loadResult(dir); err == nil {
		t.Error("a result of a later format was taken")
	}
}
