package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/bench/load"
	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// benched is a broker in this process.
func benched(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), node.Config{Dir: t.TempDir(), NodeID: 1, BucketWait: time.Minute, StopTimeout: time.Minute, SnapshotInterval: time.Hour, SnapshotSoon: time.Hour}, node.Deps{
		Bucket: mem.New(), Listeners: []node.Listener{{Listener: l, Name: "PLAINTEXT"}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestBench(t *testing.T) {
	addr := benched(t)
	args := []string{"bench", "omb-latency", "-b", addr, "--rate", "1000", "--warmup", "-1s", "--duration", "300ms", "--interval", "100ms",
		"--partitions", "2", "--direct", "--pid", "broker=" + strconv.Itoa(os.Getpid())}
	out, progress, err := sluice(t, args...)
	if err != nil && !strings.Contains(err.Error(), "not sustained") { // the machine may be busy
		t.Fatal(err)
	}
	for _, want := range []string{"LATENCY (ms)", "publish  ", "end_to_end  ", "mib_per_second ", "cpu_s_per_gib.broker ", "lost "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(progress, "measure") {
		t.Errorf("progress: %q", progress)
	}
	out, progress, err = sluice(t, append(args, "-o", "json", "-q")...)
	if err != nil && !strings.Contains(err.Error(), "not sustained") {
		t.Fatal(err)
	}
	var doc struct {
		Workload string
		Figures  map[string]float64
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Workload != "omb-latency" || doc.Figures["publish_p50_ms"] <= 0 || progress != "" {
		t.Errorf("%v %+v, told %q", err, doc, progress)
	}
}

// What a run shows decides the exit code. Here that is a rate that nobody can reach.
func TestBenchNotSustained(t *testing.T) {
	_, _, err := sluice(t, "bench", "omb-throughput", "-b", benched(t), "--rate", "100GiB", "--warmup", "-1s", "--duration", "200ms", "--partitions", "1", "--subscriptions", "0", "-q")
	if err == nil || exitCode(err) != 1 || !strings.Contains(err.Error(), "not sustained") {
		t.Errorf("exit %d: %v", exitCode(err), err)
	}
}

func TestBenchUsage(t *testing.T) {
	for line, says := range map[string]string{
		"bench":                                "accepts 1 arg",
		"bench nothing":                        `workload "nothing"`,
		"bench omb-max --pid 12":               "NAME=PID",
		"bench omb-max --rate fast":            "records per second",
		"bench omb-max -o yaml":                "table or json",
		"bench omb-max --scale 0":              "above 0",
		"bench omb-max --record-bytes 10":      "at least 48",
		"bench omb-max --codec rar":            "codec",
		"bench omb-max --batch-bytes x":        "--batch-bytes",
		"bench omb-max --topic-config nothing": "KEY=VALUE",
	} {
		_, _, err := sluice(t, strings.Fields(line)...)
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: exit %d, %v, want %q", line, exitCode(err), err, says)
		}
	}
}

func TestBenchFlagsChangeTheWorkload(t *testing.T) {
	cmd := benchCommand()
	f := new(benchFlags)
	cmd.ResetFlags()
	f.add(cmd)
	if err := cmd.ParseFlags(strings.Fields("--scale 0.5 --rate 10MiB --record-bytes 100 --acks leader --linger 0s --retention-bytes 1GiB --topic-config flush.messages=1")); err != nil {
		t.Fatal(err)
	}
	w, _ := load.Named("omb-latency")
	if err := f.change(cmd.Flags(), &w); err != nil {
		t.Fatal(err)
	}
	if w.Rate*0.5 != float64(10<<20)/100 || w.RecordBytes != 100 || w.Idempotent || w.Linger != 0 || w.RetentionBytes != 1<<30 ||
		w.TopicConfigs["flush.messages"] != "1" || w.Partitions != 100 {
		t.Errorf("%+v", w)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 3.14159: "3.14", 31.4159: "31.4", 3141.59: "3142", 7: "7", 1e7: "10000000"} {
		if got := figure(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
