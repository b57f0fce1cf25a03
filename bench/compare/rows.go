package compare

import (
	"fmt"
	"math"
	"strings"
)

// row is one comparison in the table at the top of the report: a value or a ratio, and its aim.
// Nothing here says whether the aim is met.
type row struct {
	Measure string // what is compared
	Than    string // "÷ minimal WAL"; "" for a value without a ratio
	of      operand
	to      []term // of is divided by their sum
	Aim     string
	Unit    string // of a value
}

// operand is a figure of a system in a cell: the median of its spread, unless max is set.
type operand struct {
	cell, system, figure string
	max                  bool
}

// term is an operand in a sum, with a factor.
type term struct {
	factor float64
	operand
}

func of(cell, system, figure string) operand {
	return operand{cell: cell, system: system, figure: figure}
}

func over(o operand) []term { return []term{{1, o}} }

// ratio is a row of one cell: the figure of system divided by that of other.
func ratio(measure, cell, figure, system, other, than, aim string) row {
	return row{Measure: measure, Than: "÷ " + than, of: of(cell, system, figure), to: over(of(cell, other, figure)), Aim: aim}
}

func value(measure, cell, system, figure, unit, aim string) row {
	return row{Measure: measure, of: of(cell, system, figure), Unit: unit, Aim: aim}
}

// rows are Sluice's aims, each beside what it is compared with.
var rows = buildRows()

func buildRows() []row {
	const mibs, cpu, p50, p99 = "mib_per_second", "cpu_s_per_gib.broker", "publish_p50_ms", "publish_p99_ms"
	rs := startedRows()
	rs = append(rs,
		ratio("throughput, 4 producers", "throughput-4", mibs, "sluice", "wal", "minimal WAL", "≥ 0.9"),
		ratio("throughput, 4 producers", "throughput-4", mibs, "sluice", "kafka", "Kafka", "≥ 1.3"),
		ratio("throughput, 1 producer", "throughput-1", mibs, "sluice", "wal", "minimal WAL", "≥ 0.9"),
		ratio("throughput, 1 producer", "throughput-1", mibs, "sluice", "kafka", "Kafka", "≥ 2"),
		ratio("broker CPU per GiB, 100 B records", "small-100B", cpu, "sluice", "kafka", "Kafka", "≤ 0.5"),
		ratio("broker CPU per GiB, lz4", "lz4", cpu, "sluice", "kafka", "Kafka", "≤ 0.5"),
		ratio("broker CPU per GiB, Kafka's tool, 1 KiB", "java-1KiB", cpu, "sluice", "kafka", "Kafka", "≤ 0.5"),
		ratio("broker CPU per GiB, Kafka's tool, 100 B, lz4", "java-100B-lz4", cpu, "sluice", "kafka", "Kafka", "≤ 0.5"),
		ratio("throughput while uploading to the null bucket", "upload", mibs, "sluice-upload", "wal-upload", "minimal WAL + PUTs", "≥ 0.9"),
		value("PUTs per GiB", "upload", "sluice-upload", "put_per_gib", "", "≤ 80"),
		ratio("broker CPU per GiB at maximum, produce", "throughput-4", cpu, "sluice", "wal", "minimal WAL", "≤ 1.15"),
		ratio("broker CPU per GiB at maximum, produce", "throughput-4", cpu, "sluice", "kafka", "Kafka", "≤ 1/3"),
		ratio("broker CPU per GiB at maximum, + upload", "upload", cpu, "sluice-upload", "wal-upload", "minimal WAL + PUTs", "≤ 1.15"),
		ratio("broker CPU per GiB at maximum, hot fetch", "fetch-hot", cpu, "sluice", "fetch", "fetch from memory", "≤ 1.25"),
	)
	for _, rate := range []string{"20", "100"} {
		cell, what := "latency-"+rate, "broker CPU per GiB at "+rate+" MiB/s"
		rs = append(rs, ratio(what, cell, cpu, "sluice", "wal", "minimal WAL", "≤ 1"),
			ratio(what, cell, cpu, "sluice", "kafka", "Kafka", "≤ 0.7"),
			ratio(what, cell, cpu, "sluice", "kafka-fsync", "Kafka with fsync", "≤ 0.35"))
	}
	for _, rate := range []string{"20", "100", "200"} {
		cell := "latency-" + rate
		rs = append(rs, ratio("publish p50 at "+rate+" MiB/s", cell, p50, "sluice", "wal", "minimal WAL", "≤ 1.15"),
			row{Measure: "publish p99 at " + rate + " MiB/s", Than: "÷ minimal WAL's maximum", of: of(cell, "sluice", p99),
				to: []term{{1, operand{cell, "wal", p99, true}}}, Aim: "≤ 1"})
	}
	rs = append(rs,
		ratio("publish p50 at 100 MiB/s", "latency-100", p50, "sluice", "kafka-fsync", "Kafka with fsync", "≤ 0.5"),
		ratio("publish p99 at 100 MiB/s", "latency-100", p99, "sluice", "kafka-fsync", "Kafka with fsync", "≤ 0.3"),
		ratio("publish p50 at 100 MiB/s", "latency-100", p50, "sluice", "kafka", "Kafka (acknowledges from memory)", ""),
		ratio("publish p99 at 100 MiB/s", "latency-100", p99, "sluice", "kafka", "Kafka (acknowledges from memory)", ""),
		row{Measure: "one record at a time, p50", Than: "÷ (null broker + 1.5 × fdatasync)", of: of("sync-1", "sluice", "ack_p50_ms"),
			to: []term{{1, of("sync-1", "null", "ack_p50_ms")}, {1.5, of("machine", "machine", "fdatasync_p50_ms")}}, Aim: "≤ 1"},
		row{Measure: "requests of 100 partitions, p50", Than: "÷ one partition of equal bytes", of: of("parts-request-100", "sluice", "ack_p50_ms"),
			to: over(of("parts-request-100", "sluice", "one_partition_ack_p50_ms")), Aim: "≤ 1.3"},
		row{Measure: "1,000 partitions in use, p50", Than: "÷ one partition of equal bytes", of: of("parts-used-1000", "sluice", "ack_p50_ms"),
			to: over(of("parts-used-1000", "sluice", "one_partition_ack_p50_ms")), Aim: "≤ 1.3"},
		row{Measure: "p99 at 20,000 records/s, 100 partitions", Than: "÷ one partition", of: of("parts-rate-100", "sluice", p99),
			to: over(of("parts-rate-1", "sluice", p99)), Aim: "≤ 1.3"},
		value("receive − ack p50 at 20 MiB/s", "end-to-end-20", "sluice", "receive_after_ack_p50_ms", "ms", "≤ 0.5 ms"),
		value("receive − ack p99 at 20 MiB/s", "end-to-end-20", "sluice", "receive_after_ack_p99_ms", "ms", "≤ 2 ms"),
		value("receive − ack p50 at 100 MiB/s", "end-to-end-100", "sluice", "receive_after_ack_p50_ms", "ms", "≤ 0.5 ms"),
		value("receive − ack p99 at 100 MiB/s", "end-to-end-100", "sluice", "receive_after_ack_p99_ms", "ms", "≤ 2 ms"),
		row{Measure: "publish p50 with three consumers", Than: "÷ with one", of: of("end-to-end-100-3", "sluice", p50),
			to: over(of("end-to-end-100", "sluice", p50)), Aim: "≤ 1.1"},
		ratio("hot fetch", "fetch-hot", mibs, "sluice", "fetch", "fetch from memory", "≥ 0.85"),
		ratio("hot fetch", "fetch-hot", mibs, "sluice", "kafka", "Kafka", "≥ 1.5"),
		ratio("cold fetch", "fetch-cold", mibs, "sluice-file", "kafka", "Kafka", "≥ 1.2"),
		ratio("replay from MinIO", "replay-minio", mibs, "sluice-minio", "raw-get", "raw GETs", ""),
		value("start to first answer", "cold-start", "sluice-file", "clean_first_answer_ms", "ms", "≤ 300 ms"),
		value("RSS, idle", "idle", "sluice-file", "rss_mib.broker", "MiB", "≤ 60 MiB"),
		value("CPU, idle", "idle", "sluice-file", "idle_cpu_percent.broker", "% of a core", "≤ 0.3 %"),
		value("RSS per idle connection", "idle-connections", "sluice-file", "rss_kib_per_connection.broker", "KiB", "≤ 10 KiB"),
		value("RSS per idle partition, never written", "idle-partitions", "sluice-file", "rss_kib_per_partition_never_written.broker", "KiB", "≤ 4 KiB"),
		value("RSS per idle partition, written once", "idle-partitions", "sluice-file", "rss_kib_per_partition_written_once.broker", "KiB", "≤ 4 KiB"),
	)
	for _, f := range []struct{ figure, what string }{{"create", "time per partition, create"}, {"first_produce", "time per partition, first record"},
		{"clean_restart_to_all", "time per partition, restart to a record in all"}} {
		figure := f.figure + "_us_per_partition"
		rs = append(rs, row{Measure: f.what, Than: "10,000 ÷ 1,000", of: of("many-partitions-10k", "sluice-file", figure),
			to: over(of("many-partitions-1k", "sluice-file", figure)), Aim: "flat"})
	}
	return rs
}

// startedRows are about brokers as they are started.
func startedRows() (rs []row) {
	beside := func(what, cell, figure, aim string) {
		rs = append(rs, ratio(what, cell, figure, "sluice-file", "kafka", "Kafka", aim))
	}
	const full, cpu = "started-max", "cpu_s_per_gib.broker"
	beside("throughput at full speed", full, "mib_per_second", "≥ 1.3, or")
	rs = append(rs, ratio("throughput at full speed", full, "mib_per_second", "sluice-file", "wal-twice", "minimal WAL, bytes twice", "≥ 0.9"))
	beside("publish p99 at full speed", full, "publish_p99_ms", "≤ 1")
	beside("longest publish at full speed", full, "publish_max_ms", "≤ 2")
	beside("broker CPU per GiB at full speed", full, cpu, "≤ 0.6")
	rs = append(rs, value("RSS at full speed", full, "sluice-file", "rss_mib.broker", "MiB", "≤ 1,024 MiB"))
	beside("publish p50 at 200 MiB/s", "started-200", "publish_p50_ms", "≤ 1")
	for _, rate := range []string{"200", "100"} {
		beside("publish p99 at "+rate+" MiB/s", "started-"+rate, "publish_p99_ms", "≤ 0.7")
		beside("broker CPU per GiB at "+rate+" MiB/s", "started-"+rate, cpu, "≤ 0.6")
	}
	return rs
}

// rowGroup is a part of the table of rows. It says what its system is.
type rowGroup struct {
	Title, Help string
	Rows        []rowView
}

// rowGroups returns the parts in their order. What a user gets comes first.
func rowGroups() []rowGroup {
	return []rowGroup{
		{Title: "As started", Help: "Sluice and Kafka with nothing set: what a user gets. Sluice's bucket is a folder of the disk that its log is on."},
		{Title: "Produce only", Help: "Limits of single paths: uploads are put off for an hour and retention runs four times a second, so that nothing but the path in question is seen."},
		{Title: "Everything else", Help: "Uploads, reads of the bucket, starts, memory: each as its cell says."},
	}
}

// group returns the index of the row's part in rowGroups.
func (r *row) group() int {
	switch {
	case cellNamed(r.of.cell).settled:
		return 0
	case r.of.system == "sluice":
		return 1
	}
	return 2
}

// source finds the result from which a cell is taken.
type source map[string]*Result

func (s source) spread(o operand) Spread {
	if r := s[o.cell]; r != nil {
		return r.spread(o.cell, o.system, o.figure)
	}
	return Spread{}
}

func (s source) center(o operand) (float64, bool) {
	sp := s.spread(o)
	if o.max {
		return sp.Max, sp.Count > 0
	}
	return sp.Median, sp.Count > 0
}

// evaluate returns the value, or the ratio of medians, with the smallest and the largest ratio of
// the rounds.
func (r *row) evaluate(s source) Spread {
	if len(r.to) == 0 {
		return s.spread(r.of)
	}
	top, ok := s.center(r.of)
	bottom := 0.0
	for _, t := range r.to {
		v, there := s.center(t.operand)
		ok, bottom = ok && there, bottom+t.factor*v
	}
	if !ok || bottom == 0 {
		return Spread{}
	}
	out := Spread{Min: top / bottom, Median: top / bottom, Max: top / bottom, Count: 1}
	if rounds := r.byRound(s); len(rounds) > 0 {
		sp := spread(rounds)
		out.Min, out.Max, out.Count = min(sp.Min, out.Min), max(sp.Max, out.Max), sp.Count
	}
	return out
}

// byRound returns the ratios of the rounds that have both sides. Rounds can be paired only within
// one cell and with one divisor.
func (r *row) byRound(s source) []float64 {
	if len(r.to) != 1 || r.to[0].cell != r.of.cell || r.to[0].max {
		return nil
	}
	from := s[r.of.cell]
	other := from.values(r.to[0].cell, r.to[0].system, r.to[0].figure)
	var out []float64
	for round, v := range from.values(r.of.cell, r.of.system, r.of.figure) {
		if o := other[round]; o != 0 {
			out = append(out, v/o)
		}
	}
	return out
}

// number prints three significant digits, but all digits before the point.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	s := fmt.Sprintf("%.*f", min(digits, 6), v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return thousands(s)
}

// thousands puts commas into the digits before the point.
func thousands(s string) string {
	whole, fraction, _ := strings.Cut(s, ".")
	start := len(whole) - 3
	for start > 0 && whole[start-1] != '-' {
		whole = whole[:start] + "," + whole[start:]
		start -= 3
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
