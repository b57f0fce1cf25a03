package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// patience bounds every wait of these tests. Nothing takes nearly that long.
const patience = 20 * time.Second

// broker is Sluice in this process, as `sluice dev --memory` runs it.
type broker struct {
	addr string
	stop func() // ends it as SIGTERM does; may be called twice
}

func startBroker(t testing.TB) broker {
	t.Helper()
	return startNamed(t, "", 0)
}

// startNamed starts a broker that tells clients this address.
func startNamed(t testing.TB, host string, port int32) broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := node.Config{Dir: t.TempDir(), NodeID: 1, BucketWait: patience, StopTimeout: patience, SnapshotInterval: time.Hour, SnapshotSoon: time.Hour}
	cfg.Storage.WALSegmentBytes = 1 << 20
	cfg.Broker.PartitionsDefault = 2
	cfg.Broker.Groups.InitialRebalanceDelay = -1 // none, as in dev
	n, err := node.Open(t.Context(), cfg, node.Deps{
		Bucket: mem.New(), Listeners: []node.Listener{{Listener: l, Name: "PLAINTEXT", Host: host, Port: port}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return broker{l.Addr().String(), stop}
}

// run runs a command as the binary does, and returns what it printed and its exit code.
func run(ctx context.Context, stdin io.Reader, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = runInto(ctx, stdin, &out, &errs, args...)
	return out.String(), errs.String(), code
}

func runInto(ctx context.Context, stdin io.Reader, out, errs io.Writer, args ...string) (code int) {
	root := &cobra.Command{Use: "sluice", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(Commands()...)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(errs, "sluice:", err)
	}
	return ExitCode(err)
}

// must runs a command that must succeed.
func must(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, errs, code := run(within(t), strings.NewReader(stdin), args...)
	if code != 0 {
		t.Fatalf("sluice %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// within bounds a test's own waiting.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
