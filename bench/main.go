package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// system is something that speaks Kafka and is started for a round.
type system struct {
	name string
	args func(self, sluice, dir string) []string
	env  []string
}

const benchAddr = "127.0.0.1:19392"

var systems = []system{
	{name: "null", args: func(self, _, _ string) []string { return []string{self, "-serve", "null"} }},
	{name: "minimal-wal", args: func(self, _, dir string) []string { return []string{self, "-serve", "wal", "-dir", dir} }},
	{name: "sluice", args: func(_, sluice, dir string) []string {
		return []string{sluice, "dev", "--dir", dir, "--listen", benchAddr}
	}, env: []string{"SLUICE_FLUSH_INTERVAL=1h", "SLUICE_FLUSH_BYTES=5GiB", "SLUICE_WAL_BUDGET_BYTES=64GiB"}},
	{name: "sluice+upload", args: func(_, sluice, dir string) []string {
		return []string{sluice, "dev", "--dir", dir, "--listen", benchAddr}
	}, env: []string{"SLUICE_RETENTION_CHECK_INTERVAL=2s", "SLUICE_DELETE_DELAY=2s", "SLUICE_SNAPSHOT_INTERVAL=2s"}},
}

type options struct {
	rounds           int
	warmup, duration time.Duration
	only             string
	sluice           string
	json             bool
}

func main() {
	var o options
	serve := flag.String("serve", "", "be a limit server: null or wal (used by bench itself)")
	dir := flag.String("dir", "", "folder of -serve wal")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.DurationVar(&o.warmup, "warmup", 2*time.Second, "time before counting, per cell")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "counted time per cell")
	flag.StringVar(&o.only, "only", "", "run only cells whose names contain this")
	flag.StringVar(&o.sluice, "sluice", "bin/sluice", "the broker to measure")
	flag.BoolVar(&o.json, "json", false, "print every round as a line of JSON")
	flag.Parse()
	var err error
	if *serve != "" {
		err = serveLimit(benchAddr, *dir)
	} else {
		err = compare(&o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// compare runs every cell on every system, systems in rotating order, and prints a table.
func compare(o *options, out io.Writer) error {
	results := make(map[string][]measured)
	for round := range o.rounds {
		for i := range systems {
			s := &systems[(i+round)%len(systems)]
			for _, c := range cells {
				if !strings.Contains(c.name, o.only) {
					continue
				}
				m, err := measure(o, s, c)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", c.name, s.name, err)
				}
				key := c.name + " " + s.name
				results[key] = append(results[key], m)
				if o.json {
					line, _ := json.Marshal(map[string]any{"cell": c.name, "system": s.name, "round": round, "measured": m})
					fmt.Fprintln(out, string(line))
				}
			}
		}
	}
	table(out, results)
	return nil
}

// measure starts a system on an empty folder, runs one cell and stops it.
func measure(o *options, s *system, c cell) (measured, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return measured{}, err
	}
	defer os.RemoveAll(dir)
	syscall.Sync() // nobody pays for another's write-back
	cmd, err := start(o, s, dir)
	if err != nil {
		return measured{}, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if strings.HasPrefix(s.name, "sluice") {
		if err := createTopic(context.Background(), benchAddr); err != nil {
			return measured{}, err
		}
	}
	var samples []cpuSample
	l := &load{cell: c}
	m, err := l.run(benchAddr, o.warmup, o.duration, func() { samples = append(samples, sampleCPU(cmd.Process.Pid)) })
	if err != nil {
		return m, err
	}
	used := samples[1].process - samples[0].process
	m.CPUPerGiB = used / (float64(m.RecordsCount) * recordBytes / (1 << 30))
	own := used + samples[1].self - samples[0].self
	m.ForeignCores = max(0, (samples[1].all-samples[0].all-own)/(float64(m.MeasuredNanos)/1e9))
	return m, nil
}

// start runs a system and waits until it says that it listens.
func start(o *options, s *system, dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := s.args(self, o.sluice, dir)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_ = w.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening") {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return cmd, nil
		}
	}
	return nil, fmt.Errorf("%s ended before it listened: %v", s.name, cmd.Wait())
}

// cpuSample is CPU seconds used so far.
type cpuSample struct{ process, self, all float64 }

const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go runs on

func sampleCPU(pid int) cpuSample {
	return cpuSample{process: processCPU(pid), self: processCPU(os.Getpid()), all: machineCPU()}
}

// processCPU reads user and system time from /proc/<pid>/stat.
func processCPU(pid int) float64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	return (number(fields[11]) + number(fields[12])) / ticksPerSecond
}

// machineCPU reads the time that all processors were not idle.
func machineCPU() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	return (number(fields[1]) + number(fields[2]) + number(fields[3])) / ticksPerSecond
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}

// table prints min/median/max of each cell and system.
func table(out io.Writer, results map[string][]measured) {
	fmt.Fprintf(out, "%-14s %-14s %-24s %-22s %-22s %-18s %s\n", "cell", "system", "MiB/s", "p50 ms", "p99 ms", "broker cpu s/GiB", "foreign cores (max)")
	for _, c := range cells {
		for _, s := range systems {
			ms := results[c.name+" "+s.name]
			if len(ms) == 0 {
				continue
			}
			fmt.Fprintf(out, "%-14s %-14s %-24s %-22s %-22s %-18s %.1f\n", c.name, s.name,
				spread(ms, func(m measured) float64 { return m.MiBPerSecond }), spread(ms, func(m measured) float64 { return m.P50Millis }),
				spread(ms, func(m measured) float64 { return m.P99Millis }), spread(ms, func(m measured) float64 { return m.CPUPerGiB }),
				slices.MaxFunc(ms, func(a, b measured) int { return int(100 * (a.ForeignCores - b.ForeignCores)) }).ForeignCores)
		}
	}
}

func spread(ms []measured, of func(measured) float64) string {
	v := make([]float64, len(ms))
	for i, m := range ms {
		v[i] = of(m)
	}
	slices.Sort(v)
	return fmt.Sprintf("%.4g / %.4g / %.4g", v[0], v[len(v)/2], v[len(v)-1])
}
