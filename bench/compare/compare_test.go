package compare

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/bench/limits"
)

// The test binary is its own limit, since compare starts os.Executable as `bench limit KIND …`.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "limit" {
		os.Exit(limitMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// limitMain takes the arguments that systems.go passes: KIND --listen ADDR --dir DIR.
func limitMain(args []string) int {
	err := limits.Serve(context.Background(), limits.Kind(args[0]), limits.Config{Listen: args[2], Dir: args[4]}, func(net.Addr) {})
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

func self(t *testing.T) Tools {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Tools{Self: path, Sluice: "/does/not/exist"}
}

// This is a small real comparison: two limits for a second, and a broker that cannot start, which
// must fail only its own runs.
func TestCompare_Real(t *testing.T) {
	dir := t.TempDir()
	var said []string
	o := Options{Only: "throughput-1/null,throughput-1/wal,throughput-1/sluice", Rounds: 1, Warmup: 100 * time.Millisecond, Duration: 400 * time.Millisecond,
		Tools: self(t), Out: filepath.Join(dir, "out"), Dir: dir, Say: func(s string) { said = append(said, s) }}
	out, err := Compare(t.Context(), o)
	if !errors.Is(err, ErrRuns) {
		t.Fatalf("error %v, want that runs failed: there is no sluice here", err)
	}
	r, err := loadResult(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"null", "wal"} {
		sp := r.spread("throughput-1", system, "mib_per_second")
		cpu := r.spread("throughput-1", system, "cpu_s_per_gib.broker")
		if sp.Count != 1 || sp.Min <= 0 || cpu.Count != 1 {
			t.Errorf("%s: throughput %v, CPU %v; want a round of each", system, sp, cpu)
		}
	}
	failed := 0
	for i := range r.Runs {
		if r.Runs[i].Error != "" && r.Runs[i].System == "sluice" {
			failed++
		}
	}
	if failed != 1 || len(r.Runs) != 3 {
		t.Errorf("%d of %d runs failed, want the one of sluice of 3", failed, len(r.Runs))
	}
	if !strings.Contains(strings.Join(said, "\n"), "3 runs in about") || !strings.Contains(strings.Join(said, "\n"), "3/3") {
		t.Errorf("said %q, want the plan and each run", said)
	}
	for _, name := range []string{"index.html", "result.json"} {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if host, _ := os.Hostname(); len(host) > 3 && strings.Contains(string(b), host) {
			t.Errorf("%s names the host", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "sluice-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("folders left behind: %v %v", left, err)
	}
}

// The last output of a process is in the error, and a process that is killed is waited for.
func TestProcess_EndsBeforeItIsReady(t *testing.T) {
	p, err := launch([]string{"sh", "-c", "echo no such bucket; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such bucket") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want its status and what it said", err)
	}
}

func TestProcess_Stop(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	for _, c := range []struct {
		script string
		ends   bool
	}{
		{"trap 'exit 0' TERM; touch " + ready + "; while :; do sleep 0.01; done", true},
		{"trap '' TERM; touch " + ready + "; while :; do sleep 0.01; done", false},
	} {
		_ = os.Remove(ready)
		p, err := launch([]string{"sh", "-c", c.script})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.await(t.Context(), func(context.Context) error { _, err := os.Stat(ready); return err }); err != nil {
			t.Fatal(err)
		}
		limit := 300 * time.Millisecond
		if c.ends {
			limit = 10 * time.Second
		}
		if err := p.stop(limit); (err == nil) != c.ends {
			t.Errorf("stop: %v; the process heeds it: %t", err, c.ends)
		}
		select {
		case <-p.done:
		default:
			t.Error("stop returned before the process had ended")
		}
	}
}

// An interrupted comparison keeps what it has, and leaves no process and no folder.
func TestCompare_Interrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := 0
	o := Options{Only: "throughput-1/null", Rounds: 3, Warmup: 50 * time.Millisecond, Duration: 100 * time.Millisecond, Tools: self(t),
		Out: filepath.Join(dir, "out"), Dir: dir, Say: func(s string) {
			if runs++; runs == 2 { // the plan, and then the first run
				cancel()
			}
		}}
	out, err := Compare(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that it was interrupted", err)
	}
	r, err := loadResult(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 1 {
		t.Errorf("%d runs kept, want the one that was done", len(r.Runs))
	}
	if _, err := os.Stat(filepath.Join(out, "index.html")); err != nil {
		t.Errorf("no page of what was done: %v", err)
	}
}

// What would end too late is left out, and that is reported.
func TestCompare_Within(t *testing.T) {
	dir := t.TempDir()
	var said []string
	o := Options{Only: "throughput-1/null", Rounds: 2, Warmup: 50 * time.Millisecond, Duration: 100 * time.Millisecond, Within: time.Millisecond,
		Tools: self(t), Out: filepath.Join(dir, "out"), Dir: dir, Say: func(s string) { said = append(said, s) }}
	if _, err := Compare(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if len(said) != 3 || !strings.Contains(said[1], "left out") || !strings.Contains(said[2], "left out") {
		t.Errorf("said %q, want the plan and two runs left out", said)
	}
}
