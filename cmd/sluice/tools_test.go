package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

// sluice runs a command as main does and returns what it printed.
func sluice(t *testing.T, args ...string) (out, progress string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := rootCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// must runs a command that must succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, progress, err := sluice(t, args...)
	if err != nil {
		t.Fatalf("sluice %s: %v\n%s%s", strings.Join(args, " "), err, out, progress)
	}
	return out
}

// broke runs a broker that takes ten records of topic "t", and stops it. The bucket is outside of
// its directory.
func broke(t *testing.T) (dir, url string) {
	t.Helper()
	dir, url = filepath.Join(t.TempDir(), "data"), "file://"+filepath.Join(t.TempDir(), "bucket")
	produce(t, dir, url, 10)
	return dir, url
}

// produce runs a broker, sends it records one by one, and stops it.
func produce(t *testing.T, dir, url string, count int) {
	t.Helper()
	src := sources{set: []string{"log.dirs=" + dir, "sluice.bucket=" + url, "sluice.wal.segment.bytes=1MiB"}}
	c, err := src.read()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSettings(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := open.Open(t.Context(), url, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listeners := []node.Listener{{Listener: l}}
	cfg, err := s.nodeConfig(listeners, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(t.Context(), cfg, node.Deps{Bucket: b, Listeners: listeners, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Addr().String()), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	limited, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range count {
		if err := client.ProduceSync(limited, kgo.StringRecord("value")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreCommand(t *testing.T) {
	dir, url := broke(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	out := must(t, "restore", "--bucket", url, "--dir", restored)
	for _, want := range []string{"went back to snapshot 1 of ", "generation 1, stored as snapshot 2", "1 with 1 partitions", "sluice dev --dir '" + restored + "' --bucket '" + url + "'"} {
		if !strings.Contains(out, want) {
			t.Errorf("restore does not say %q:\n%s", want, out)
		}
	}
	if _, _, err := sluice(t, "restore", "--bucket", url, "--dir", restored); err == nil || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("restore into a directory that is not empty: %v", err)
	}
	produce(t, restored, url, 1)

	out, progress, err := sluice(t, "restore", "--bucket", url, "--dir", filepath.Join(t.TempDir(), "again"), "--json")
	if err != nil {
		t.Fatal(err)
	}
	var report node.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if report.Generation != 2 || report.Topics != 1 || report.Snapshot.Generation != 1 || !strings.Contains(progress, "going back to snapshot") {
		t.Errorf("report %s\nprogress %s", out, progress)
	}
}

func TestRestoreCommandRefuses(t *testing.T) {
	mistyped := filepath.Join(t.TempDir(), "mistyped")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "needs --bucket URL and --dir DIR"},
		{[]string{"--bucket", "file://" + mistyped, "--dir", filepath.Join(t.TempDir(), "d")}, "no such"},
		{[]string{"--bucket", "file://" + t.TempDir(), "--dir", filepath.Join(t.TempDir(), "d")}, "is this the right bucket and prefix?"},
		{[]string{"--bucket", "mem://", "--dir", filepath.Join(t.TempDir(), "d")}, "mem://"},
	} {
		if _, _, err := sluice(t, append([]string{"restore"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("restore %q: %v, want %q", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(mistyped); err == nil {
		t.Errorf("a restore from a mistyped folder has made it")
	}
}

func TestObjectCommands(t *testing.T) {
	dir, url := broke(t)
	before := tree(t, dir)
	var kinds []string
	for line := range strings.Lines(must(t, "object", "ls", "--bucket", url, "--json")) {
		var l listedObject
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		kinds = append(kinds, l.Kind)
		want := map[string]string{
			"bundle": "t-0 [", "snapshot": "topic t: id ", "cluster": `"clusterId"`, "probe": "a probe of the store",
		}[l.Kind]
		out := must(t, "object", "inspect", l.Key, "--bucket", url, "--batches")
		if want == "" || !strings.Contains(out, want) {
			t.Errorf("inspect %s does not say %q:\n%s", l.Key, want, out)
		}
		if l.Kind == "cluster" || l.Kind == "probe" { // a stop may leave a probe
			continue
		}
		var document map[string]any
		if err := json.Unmarshal([]byte(must(t, "object", "inspect", l.Key, "--bucket", url, "--json")), &document); err != nil || document["kind"] == nil {
			t.Errorf("inspect %s --json: %v", l.Key, err)
		}
	}
	for _, kind := range []string{"bundle", "snapshot", "cluster"} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("object ls shows no %s: %q", kind, kinds)
		}
	}
	if out := must(t, "object", "ls", "snap/", "--bucket", url); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "snapshot") {
		t.Errorf("object ls snap/:\n%s", out)
	}
	if !slices.Equal(before, tree(t, dir)) {
		t.Error("looking at the bucket has changed the data directory")
	}
}

// Damage in any seventh byte of any object makes inspect fail, also for a copy in a file.
func TestObjectInspectFindsDamage(t *testing.T) {
	_, url := broke(t)
	root := strings.TrimPrefix(url, "file://")
	for _, name := range tree(t, root) {
		if strings.HasPrefix(name, probePrefix) {
			continue
		}
		whole, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy")
		inspect := func(b []byte) error {
			if err := os.WriteFile(copied, b, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := sluice(t, "object", "inspect", copied)
			return err
		}
		if err := inspect(whole); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "cluster.json" {
			continue // it has no checksum
		}
		for at := 0; at < len(whole); at += 7 {
			broken := slices.Clone(whole)
			broken[at] ^= 0x10
			if inspect(broken) == nil {
				t.Fatalf("%s with a wrong byte at %d of %d passes", name, at, len(whole))
			}
		}
		if inspect(whole[:len(whole)-1]) == nil || inspect(nil) == nil {
			t.Errorf("%s cut off passes", name)
		}
	}
}

func TestWALInspectCommand(t *testing.T) {
	dir, _ := broke(t)
	before := tree(t, dir)
	out := must(t, "wal", "inspect", "--dir", dir, "--entries")
	if strings.Count(out, "batch") < 10 {
		t.Errorf("ten batches are in the log:\n%s", out)
	}
	for line := range strings.Lines(must(t, "wal", "inspect", "--dir", dir, "--json")) {
		var document map[string]any
		if err := json.Unmarshal([]byte(line), &document); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
	}
	if !slices.Equal(before, tree(t, dir)) {
		t.Error("looking at the log has changed the data directory")
	}
	if _, _, err := sluice(t, "wal", "inspect", "--dir", t.TempDir()); err == nil || !strings.Contains(err.Error(), "is --dir right?") {
		t.Errorf("inspect of a folder without a log: %v", err)
	}
}

// tree lists the files below a folder.
func tree(t *testing.T, root string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
