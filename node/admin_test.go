package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// startAdmin is start with an admin listener. It also returns the listener's address.
func startAdmin(t testing.TB, dir string, b bucket.Bucket, change ...func(*Config)) (*rig, string) {
	t.Helper()
	l := listen(t)
	r := &rig{t: t, dir: dir, bucket: b, logs: newLogs(), served: make(chan error, 1)}
	cfg := testConfig(dir)
	for _, c := range change {
		c(&cfg)
	}
	deps := Deps{Bucket: b, Listeners: []Listener{{Listener: listen(t)}}, Admin: l, Log: slog.New(r.logs)}
	var err error
	if r.Node, err = Open(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !r.over {
			r.end()
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.served <- r.Serve(ctx) }()
	r.connect()
	r.logs.await(t, "bucket probed")
	return r, "http://" + l.Addr().String()
}

// get returns the code and body of an answer.
func get(t testing.TB, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// state reads an answer of /healthz or /readyz.
func state(t testing.TB, url string) (code int, status string, reasons []string) {
	t.Helper()
	code, body := get(t, url)
	var answer struct {
		Status  string
		Reasons []string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%s: %v in %q", url, err, body)
	}
	return code, answer.Status, answer.Reasons
}

func TestAdminAnswers(t *testing.T) {
	_, url := startAdmin(t, t.TempDir(), mem.New())
	if code, status, reasons := state(t, url+"/healthz"); code != 200 || status != "ok" || reasons != nil {
		t.Errorf("/healthz: %d %s %v", code, status, reasons)
	}
	if code, status, reasons := state(t, url+"/readyz"); code != 200 || status != "ready" || reasons != nil {
		t.Errorf("/readyz: %d %s %v", code, status, reasons)
	}
	for path, want := range map[string]string{
		"/": "/healthz", "/metrics": "go_goroutines ", "/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline": "node.test",
	} {
		if code, body := get(t, url+path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q: %.200s", path, code, want, body)
		}
	}
	for path, want := range map[string]int{
		"/nothing": 404, "/metrics?partitions=some": 400, "/debug/pprof/profile?seconds=86400": 400,
	} {
		if code, body := get(t, url+path); code != want {
			t.Errorf("%s: %d, want %d: %.200s", path, code, want, body)
		}
	}
}

// The disk fails. From then on /healthz and /readyz fail and say why, until the process has ended.
func TestHealthTurnsBadWithTheWAL(t *testing.T) {
	dir := t.TempDir()
	r, url := startAdmin(t, dir, mem.New())
	r.create("t", 1, nil)
	r.produce("t", 0, "a")
	breakFiles(t, filepath.Join(dir, "wal"))
	acked := make(chan error, 1)
	r.client.Produce(within(t), &kgo.Record{Topic: "t", Value: []byte("lost")}, func(_ *kgo.Record, err error) { acked <- err })
	if err := r.servedWith(); err == nil {
		t.Error("Serve ended without an error")
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		code, status, reasons := state(t, url+path)
		if code != 503 || status == "ok" || len(reasons) == 0 || !strings.Contains(reasons[0], "write-ahead log") {
			t.Errorf("%s: %d %s %v", path, code, status, reasons)
		}
	}
	r.client.Close()
	if <-acked == nil {
		t.Error("a record was acknowledged although the disk failed")
	}
	r.over = true
	_ = r.Close() // fails, since the files are broken
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("the admin port is still open after Close")
	}
}

// While the log is not open yet, and while it is being closed, the process is healthy and not
// ready.
func TestReadiness(t *testing.T) {
	n := newNode(t.Context(), Config{}, Deps{Log: slog.New(newLogs())})
	l := listen(t)
	n.admin.serve(l)
	url := "http://" + l.Addr().String()
	if code, _, _ := state(t, url+"/healthz"); code != 200 {
		t.Errorf("/healthz while starting: %d", code)
	}
	if code, _, reasons := state(t, url+"/readyz"); code != 503 || len(reasons) != 1 || !strings.HasPrefix(reasons[0], "starting") {
		t.Errorf("/readyz while starting: %d %v", code, reasons)
	}
	n.setPhase("stopping")
	if code, _, reasons := state(t, url+"/readyz"); code != 503 || !slices.Equal(reasons, []string{"stopping"}) {
		t.Errorf("/readyz while stopping: %d %v", code, reasons)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// Connections beyond the bound wait until one is closed. A connection on which nothing is sent is
// closed.
func TestAdminConnectionsAreBounded(t *testing.T) {
	n := newNode(t.Context(), Config{}, Deps{Log: slog.New(newLogs())})
	n.admin.server.ReadHeaderTimeout = 100 * time.Millisecond
	n.admin.server.ReadTimeout = 100 * time.Millisecond
	l := listen(t)
	n.admin.serve(l)
	var conns []net.Conn
	for range adminConnectionsMax + 1 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	last := conns[len(conns)-1]
	if _, err := fmt.Fprint(last, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := last.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// Answered once the silent connections are closed.
	line, err := bufio.NewReader(last).ReadString('\n')
	if err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// A profile of a minute, and a client that does not read, do not hold up a stop.
func TestCloseEndsAProfile(t *testing.T) {
	n := newNode(t.Context(), Config{}, Deps{Log: slog.New(newLogs())})
	l := listen(t)
	n.admin.serve(l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for n.admin.answering.TryLock() { // until the profile is running
		n.admin.answering.Unlock()
		runtime.Gosched()
	}
	began := time.Now()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("Close took %v", took)
	}
	if err := n.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
