package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // for --admin
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluicemq/sluice/bench/compare"
	"github.com/sluicemq/sluice/bench/limits"
)

const usage = `Usage:

  go run ./bench compare [flags]        measure Sluice, Kafka and the machine's limits side by side
  go run ./bench report [-out DIR] DIR… make the page and the chart again; of several results, each cell from the newest
  go run ./bench limit KIND [flags]     be a limit: null, wal, wal-overlapped, wal-upload, wal-twice, fetch, bucket

Each command has -help.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	}
	switch args[0] {
	case "compare":
		return runCompare(ctx, args[1:])
	case "report":
		return runReport(args[1:])
	case "limit":
		return runLimit(ctx, args[1:], os.Stdout)
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("unknown command %q", args[0])
}

func runCompare(ctx context.Context, args []string) error {
	o := compare.Options{Say: func(s string) { fmt.Println(s) }}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.StringVar(&o.Only, "only", "", "only these `cells`: parts of names or patterns, separated by commas; cell/system for some systems")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds")
	f.BoolVar(&o.Full, "full", false, "long rounds: a minute of warm-up and five minutes that count")
	f.DurationVar(&o.Warmup, "warmup", 10*time.Second, "time before counting, per cell and round; some cells have their own")
	f.DurationVar(&o.Duration, "duration", 20*time.Second, "time that counts, likewise")
	f.DurationVar(&o.Within, "within", 0, "leave out what would end later than this after the start; 0: nothing")
	f.BoolVar(&o.PlanOnly, "plan", false, "print the plan and its time, and end")
	f.BoolVar(&o.Profile, "profile", false, "take a CPU profile of Sluice and of the limits in the first round, while each cell counts (costs about a hundredth)")
	f.BoolVar(&o.Verbose, "v", false, "print what the load says each second")
	f.StringVar(&o.Tools.Sluice, "sluice", "bin/sluice", "the broker's `binary`")
	f.StringVar(&o.Tools.Kafka, "kafka", "bench/kafka/run", "the `script` that starts Apache Kafka")
	f.StringVar(&o.Out, "out", "bench/results", "`folder` of results")
	f.StringVar(&o.Dir, "dir", "", "`folder` for the systems' data: it decides which disk is measured; default the temporary one")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if err := findTools(&o.Tools); err != nil {
		return err
	}
	out, err := compare.Compare(ctx, o)
	if out != "" {
		fmt.Println("results in", out)
	}
	return err
}

// findTools makes paths absolute and finds optional tools.
func findTools(t *compare.Tools) (err error) {
	if t.Self, err = os.Executable(); err != nil {
		return err
	}
	for _, p := range []*string{&t.Sluice, &t.Kafka} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if _, err := os.Stat(*p); err != nil {
			return err
		}
	}
	tools := os.Getenv("SLUICE_TOOLS")
	if home, err := os.UserHomeDir(); err == nil && tools == "" {
		tools = filepath.Join(home, ".cache", "sluice-tools")
	}
	if t.MinIO, err = exec.LookPath(filepath.Join(tools, "bin", "minio")); err != nil {
		t.MinIO, _ = exec.LookPath("minio")
	}
	return nil
}

func runReport(args []string) error {
	f := flag.NewFlagSet("report", flag.ContinueOnError)
	out := f.String("out", "", "`folder` for index.html and chart.svg; default the last of those named")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if f.NArg() == 0 {
		return errors.New("report: name one folder of results or more")
	}
	if *out == "" {
		*out = f.Arg(f.NArg() - 1)
	}
	if err := compare.Report(f.Args(), *out); err != nil {
		return err
	}
	fmt.Println(filepath.Join(*out, "index.html"))
	return nil
}

// runLimit serves until it is killed. It prints one line on standard output when it listens.
func runLimit(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("limit: name one of %v", limits.Kinds())
	}
	var c limits.Config
	f := flag.NewFlagSet("limit "+args[0], flag.ContinueOnError)
	f.StringVar(&c.Listen, "listen", "127.0.0.1:0", "`host:port`; port 0 is a free one")
	f.StringVar(&c.Dir, "dir", "", "`folder` for the ring of the WAL and the files of wal-twice")
	f.StringVar(&c.BucketURL, "bucket", "", "`URL` of the bucket that wal-upload puts to")
	admin := f.String("admin", "", "`host:port` for /debug/pprof/; none by default")
	if err := f.Parse(args[1:]); err != nil {
		return flag.ErrHelp
	}
	if *admin != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", *admin)
		if err != nil {
			return err
		}
		go func() { _ = http.Serve(l, nil) }() // until the process ends
	}
	return limits.Serve(ctx, limits.Kind(args[0]), c, func(a net.Addr) { fmt.Fprintln(out, "listening", a) })
}
