package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicemq/sluice/bench/load"
	"github.com/sluicemq/sluice/cmd/sluice/config"
)

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench WORKLOAD",
		Short: "Put load on a cluster and check every record",
		Long: `Run a workload against any Kafka cluster and print what came of it. sluice bench ls lists the
workloads; those called omb-… are OpenMessaging Benchmark's.

Records are due at fixed times, whatever became of those before them, and latency counts from
when a record was due (publish), so that a broker that stalls cannot hide it; ack counts from when
the record was handed to the client, which is what OpenMessaging Benchmark prints. Every record is
numbered and has a checksum: what is lost, comes twice, out of order or damaged is counted. Topics are made
for the run and deleted at its end.

--pid names processes of this machine whose CPU time and memory are to stand beside the load.

Exit codes: 0 all is well; 1 records were lost, repeated, reordered or damaged, requests failed,
the rate was not sustained (less than 99 % of it), or nothing could be measured; 2 wrong usage.`,
		Example: `  sluice bench omb-latency --scale 0.1 --pid broker=$(pgrep -x sluice)
  sluice bench omb-throughput --partitions 16 --subscriptions 0 --retention-bytes 256MiB
  sluice bench omb-throughput --rate 100MiB --duration 1m --record-bytes 100 --codec lz4
  sluice bench omb-max -b kafka-1:9092 -o json > max.json
  sluice bench omb-throughput --rate 300MiB --duration 30m --retention-bytes 1GiB --interval 10s
  sluice bench fetch-cold --topic mine --keep        # then restart the broker, and:
  sluice bench fetch-cold --topic mine --reuse`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, w := range load.Workloads() {
				names = append(names, w.Name+"\t"+w.Help)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := new(benchFlags)
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) }
	cmd.AddCommand(benchLsCommand())
	return cmd
}

func benchLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the workloads", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "WORKLOAD\tWHAT IT DOES")
			for _, w := range load.Workloads() {
				fmt.Fprintf(t, "%s\t%s\n", w.Name, w.Help)
			}
			return t.Flush()
		},
	}
}

// benchFlags are changes to a workload. If a flag is not given, the workload keeps its own value.
type benchFlags struct {
	w       load.Workload
	o       load.Options
	brokers []string
	pids    []string
	configs []string
	exec    string
	output  string
	quiet   bool

	rate                                        string
	batch, retention, fill, backlog, recordSize string
}

// brokersEnv is the variable that the commands of package client read, too.
const brokersEnv = "SLUICE_BROKERS"

func (f *benchFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringSliceVarP(&f.brokers, "brokers", "b", nil, "`HOST:PORT` of one or more brokers (default $"+brokersEnv+", else 127.0.0.1:9092)")
	s.DurationVar(&f.o.Duration, "duration", 0, "how `LONG` is measured (default the workload's, mostly 20s)")
	s.DurationVar(&f.o.Warmup, "warmup", 0, "how `LONG` before nothing counts, -1s: not at all (default the workload's, mostly 10s)")
	s.Float64Var(&f.o.Scale, "scale", 1, "multiply the workload's rate and bytes, for machines smaller than its")
	s.DurationVar(&f.o.Interval, "interval", time.Second, "print a line each `TIME`")
	s.StringVar(&f.rate, "rate", "", "records per second, or bytes as in 100MiB; 0: as fast as it goes (default the workload's; not scaled)")
	s.StringVar(&f.recordSize, "record-bytes", "", "`SIZE` of a record's value, at least "+strconv.Itoa(load.EnvelopeBytes))
	s.Float64Var(&f.w.RandomRatio, "random-ratio", 0, "share of a value that is random and cannot be compressed (default 0.5)")
	s.IntVar(&f.w.Topics, "topics", 0, "how many topics")
	s.IntVar(&f.w.Partitions, "partitions", 0, "how many partitions each")
	s.IntVar(&f.w.Replication, "replication", 0, "replicas of a partition (default the cluster's)")
	s.StringVar(&f.retention, "retention-bytes", "", "`SIZE` that the cluster keeps of a partition, so that long runs fit a disk (default the cluster's)")
	s.StringArrayVar(&f.configs, "topic-config", nil, "`KEY=VALUE` of the topics' configuration, such as flush.messages=1; may be repeated")
	s.IntVar(&f.w.Producers, "producers", 0, "how many producing clients")
	s.StringVar(&f.w.Codec, "codec", "", "none, gzip, snappy, lz4 or zstd (default none)")
	s.DurationVar(&f.w.Linger, "linger", 0, "how `LONG` producers wait for a batch to grow")
	s.StringVar(&f.batch, "batch-bytes", "", "largest `SIZE` of a batch")
	s.IntVar(&f.w.InFlight, "in-flight", 0, "requests of a producer that wait for an answer (default kgo's: 5)")
	s.StringVar(&f.w.Acks, "acks", "", "all, leader or none; the last two without idempotence (default all)")
	s.IntVar(&f.w.Subscriptions, "subscriptions", 0, "how many times everything is read; 0: only produce")
	s.IntVar(&f.w.Consumers, "consumers", 0, "consuming clients of each subscription")
	s.BoolVar(&f.w.Direct, "direct", false, "consumers without groups: partitions are assigned by hand")
	s.StringVar(&f.backlog, "backlog-bytes", "", "`SIZE` that piles up before it is read (omb-backlog; not scaled)")
	s.StringVar(&f.fill, "fill-bytes", "", "`SIZE` that is written before it is read (fetch-hot, fetch-cold; not scaled)")
	s.StringVar(&f.w.TopicPrefix, "topic", "", "`PREFIX` of the topics' names; they end in -0, -1 and so on (default a new name)")
	s.BoolVar(&f.w.Keep, "keep", false, "do not delete the topics")
	s.BoolVar(&f.w.Reuse, "reuse", false, "take topics that are there, and read what is in them (fetch-hot, fetch-cold)")
	s.StringArrayVar(&f.pids, "pid", nil, "`NAME=PID` of a process to watch; may be repeated")
	s.StringVar(&f.exec, "exec", "", "`COMMAND` that starts the broker, for workloads that start and stop it themselves")
	s.StringVarP(&f.output, "output", "o", "table", "table or json (OpenMessaging Benchmark's names)")
	s.BoolVarP(&f.quiet, "quiet", "q", false, "no lines of progress")
}

func (f *benchFlags) run(cmd *cobra.Command, name string) error {
	w, ok := load.Named(name)
	if !ok {
		return usage(fmt.Errorf("workload %q: there is none of this name (sluice bench ls lists them)", name))
	}
	t, err := f.target()
	if err != nil {
		return usage(err)
	}
	if f.output != "table" && f.output != "json" {
		return usage(fmt.Errorf("--output %q: want table or json", f.output))
	}
	if err := f.change(cmd.Flags(), &w); err != nil {
		return usage(err)
	}
	if !f.quiet {
		f.o.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	}
	r, err := load.Run(cmd.Context(), t, w, f.o)
	switch {
	case errors.Is(err, load.ErrWorkload):
		return usage(err)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case err != nil:
		return err
	}
	if err := printBench(cmd.OutOrStdout(), r, f.output); err != nil {
		return err
	}
	return r.Verdict()
}

// target returns the brokers to use and the processes to watch.
func (f *benchFlags) target() (load.Target, error) {
	t := load.Target{Seeds: f.brokers}
	if len(t.Seeds) == 0 {
		t.Seeds = strings.Split(cmp.Or(os.Getenv(brokersEnv), "127.0.0.1:9092"), ",")
	}
	for _, p := range f.pids {
		name, number, ok := strings.Cut(p, "=")
		pid, err := strconv.Atoi(number)
		if !ok || name == "" || err != nil || pid <= 0 {
			return t, fmt.Errorf("--pid %q: want NAME=PID, as in broker=4711", p)
		}
		t.Processes = append(t.Processes, load.Process{Name: name, PID: pid})
	}
	if f.exec != "" {
		t.Restart = load.RestartCommand("sh", "-c", "exec "+f.exec)
	}
	return t, nil
}

// change applies the given flags to the workload. Rates and sizes that are given are used as they
// are; --scale is for the workload's own.
func (f *benchFlags) change(s *pflag.FlagSet, w *load.Workload) error {
	if f.o.Scale <= 0 {
		return fmt.Errorf("--scale %v: want a number above 0", f.o.Scale)
	}
	if f.o.Interval <= 0 {
		return fmt.Errorf("--interval %v: want a time above 0", f.o.Interval)
	}
	f.changeNumbers(s, w)
	var problems []error
	size := func(flag, text string, set func(int64)) {
		if !s.Changed(flag) {
			return
		}
		n, err := config.ParseSize(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", flag, err))
			return
		}
		set(n)
	}
	unscaled := func(n int64) int64 { return int64(float64(n) / f.o.Scale) }
	size("record-bytes", f.recordSize, func(n int64) { w.RecordBytes = int(n) })
	size("batch-bytes", f.batch, func(n int64) { w.BatchBytes = int32(n) })
	size("retention-bytes", f.retention, func(n int64) { w.RetentionBytes = n })
	size("backlog-bytes", f.backlog, func(n int64) { w.BacklogBytes = unscaled(n) })
	size("fill-bytes", f.fill, func(n int64) { w.FillBytes = unscaled(n) })
	if s.Changed("rate") {
		rate, err := parseRate(f.rate, w.RecordBytes)
		if err != nil {
			problems = append(problems, err)
		}
		w.Rate = rate / f.o.Scale
	}
	for _, c := range f.configs {
		key, value, ok := strings.Cut(c, "=")
		if !ok {
			problems = append(problems, fmt.Errorf("--topic-config %q: want KEY=VALUE", c))
			continue
		}
		if w.TopicConfigs == nil {
			w.TopicConfigs = make(map[string]string)
		}
		w.TopicConfigs[key] = value
	}
	return errors.Join(problems...)
}

func (f *benchFlags) changeNumbers(s *pflag.FlagSet, w *load.Workload) {
	for flag, set := range map[string]func(){
		"random-ratio":  func() { w.RandomRatio = f.w.RandomRatio },
		"topics":        func() { w.Topics = f.w.Topics },
		"partitions":    func() { w.Partitions = f.w.Partitions },
		"replication":   func() { w.Replication = f.w.Replication },
		"producers":     func() { w.Producers = f.w.Producers },
		"codec":         func() { w.Codec = f.w.Codec },
		"linger":        func() { w.Linger = f.w.Linger },
		"in-flight":     func() { w.InFlight = f.w.InFlight },
		"acks":          func() { w.Acks, w.Idempotent = f.w.Acks, f.w.Acks == "all" },
		"subscriptions": func() { w.Subscriptions = f.w.Subscriptions },
		"consumers":     func() { w.Consumers = f.w.Consumers },
		"direct":        func() { w.Direct = f.w.Direct },
		"topic":         func() { w.TopicPrefix = f.w.TopicPrefix },
		"keep":          func() { w.Keep = f.w.Keep },
		"reuse":         func() { w.Reuse = f.w.Reuse },
	} {
		if s.Changed(flag) {
			set()
		}
	}
}

// parseRate reads records per second, or bytes per second with a unit.
func parseRate(text string, recordBytes int) (float64, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 {
		return n, nil
	}
	n, err := config.ParseSize(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("--rate %q: want records per second, or bytes as in 100MiB", text)
	}
	return float64(n) / float64(max(1, recordBytes)), nil
}

func printBench(out io.Writer, r *load.Result, format string) error {
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	rest := printLatencies(t, r.Figures)
	if len(rest) < len(r.Figures) {
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "FIGURE\tVALUE")
	for _, name := range rest {
		fmt.Fprintf(t, "%s\t%s\n", name, figure(r.Figures[name]))
	}
	return t.Flush()
}

// latencyColumns are the quantiles in the order of a table.
var latencyColumns = []string{"p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"}

// printLatencies prints figures of the form X_p99_ms as a table of their own, and returns the other
// names.
func printLatencies(out io.Writer, figures map[string]float64) (rest []string) {
	rows := make(map[string]map[string]float64)
	for name, v := range figures {
		prefix, column := latencyName(name)
		if column == "" {
			rest = append(rest, name)
			continue
		}
		if rows[prefix] == nil {
			rows[prefix] = make(map[string]float64)
		}
		rows[prefix][column] = v
	}
	slices.Sort(rest)
	if len(rows) == 0 {
		return rest
	}
	fmt.Fprintf(out, "LATENCY (ms)\t%s\n", strings.ToUpper(strings.Join(latencyColumns, "\t")))
	for _, prefix := range slices.Sorted(maps.Keys(rows)) {
		line := []string{prefix}
		for _, c := range latencyColumns {
			cell := "-"
			if v, ok := rows[prefix][c]; ok {
				cell = figure(v)
			}
			line = append(line, cell)
		}
		fmt.Fprintln(out, strings.Join(line, "\t"))
	}
	return rest
}

// latencyName splits a name such as publish_p99_ms.
func latencyName(name string) (prefix, column string) {
	stem, ok := strings.CutSuffix(name, "_ms")
	if !ok {
		return "", ""
	}
	for _, c := range latencyColumns {
		if p, ok := strings.CutSuffix(stem, "_"+c); ok {
			return p, c
		}
	}
	return "", ""
}

// figure prints three significant digits, without an exponent.
func figure(v float64) string {
	digits := 0
	switch {
	case v != 0 && v < 1 && v > -1:
		digits = 4
	case v != float64(int64(v)) && v < 10:
		digits = 2
	case v != float64(int64(v)) && v < 1000:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
