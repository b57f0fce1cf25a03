package main

import (
	"flag"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/cmd/sluice/config"
	"github.com/sluicemq/sluice/node"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// used is everything that a configuration changes in a broker, besides what DescribeConfigs shows.
type used struct {
	Settings settings
	Node     node.Config
}

func usedOf(t *testing.T, set ...string) used {
	t.Helper()
	c, err := (&sources{set: set}).read()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSettings(c)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := s.nodeConfig(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Broker.Settings = nil
	s.config = nil
	return used{*s, cfg}
}

// otherValues are legal values by type, which no key has as its default.
var otherValues = map[config.Type][]string{
	config.Boolean: {"true", "false"}, config.Int: {"2", "7000000"}, config.Short: {"2"}, config.Long: {"2", "7000000"}, config.Double: {"0.25"},
	config.Size: {"512KiB", "700MiB"}, config.Duration: {"77s"}, config.String: {"x", "LogAppendTime", "zstd", "127.0.0.1:1"}, config.List: {"compact"},
}

// Every key that claims to act changes something: none is read and forgotten.
func TestEveryActingKeyActs(t *testing.T) {
	special := map[string]string{
		"listeners": "PLAINTEXT://127.0.0.1:1", "advertised.listeners": "PLAINTEXT://h:1", "log.dirs": "/x", "sluice.bucket": "file:///x",
		"group.min.session.timeout.ms": "5", "sluice.memory.only": "true",
	}
	// These only say which listeners count, which config's tests check, and which kind of process
	// this is not.
	elsewhere := []string{"listener.security.protocol.map", "controller.listener.names", "process.roles"}
	before, count := usedOf(t), 0
	for _, k := range config.Keys() {
		if k.Meaning != config.Acts || strings.Contains(strings.Join(elsewhere, " "), k.Name) {
			continue
		}
		values := otherValues[k.Type]
		if v, ok := special[k.Name]; ok {
			values = []string{v}
		}
		acted := false
		for _, v := range values {
			if _, err := (&sources{set: []string{k.Name + "=" + v}}).read(); err == nil && v != k.Default {
				acted = acted || !reflect.DeepEqual(before, usedOf(t, k.Name+"="+v))
			}
		}
		if !acted {
			t.Errorf("%s changes nothing (tried %q)", k.Name, values)
		}
		count++
	}
	t.Logf("%d keys act", count)
}

// Without any configuration, serve uses the defaults that the parts have themselves.
func TestDefaultsOfTheParts(t *testing.T) {
	got := usedOf(t).Node
	if got.NodeID != 1 || got.Storage.FlushBytes != 16<<20 || got.Broker.Groups.InitialRebalanceDelay.Milliseconds() != 3000 || got.Broker.AutoCreateOff {
		t.Errorf("%+v", got)
	}
	if d := usedOf(t, "group.initial.rebalance.delay.ms=0").Node.Broker.Groups.InitialRebalanceDelay; d >= 0 {
		t.Errorf("no delay is %v, which the coordinator takes for its default", d)
	}
	if err := got.Broker.Validate(); err != nil {
		t.Error(err)
	}
}

// dev is a configuration of serve: what dev prints makes the same broker.
func TestDevIsAConfiguration(t *testing.T) {
	for name, args := range map[string][]string{
		"dev.yaml":        {"dev"},
		"dev-memory.yaml": {"dev", "--memory"},
		"dev-all.yaml": {"dev", "--dir", "/var/lib/sluice", "--listen", "127.0.0.1:19092", "--bucket", "s3://b/p?region=r", "--set", "num.partitions=3",
			"--set", "sluice.flush.interval=2s"},
	} {
		text := must(t, append(args, "--print-config")...)
		golden(t, name, text)
		again := must(t, "serve", "--config", filepath.Join("testdata", name), "--print-config")
		if again != text {
			t.Errorf("serve made of %s\n%s", text, again)
		}
	}
}

// The help is for people. This test shows every change of it.
func TestHelp(t *testing.T) {
	for _, path := range []string{"", "dev", "serve", "version", "restore", "object", "object ls", "object inspect", "wal", "wal inspect", "bench", "bench ls"} {
		name := "help-" + strings.ReplaceAll(path, " ", "-") + ".txt"
		if path == "" {
			name = "help.txt"
		}
		golden(t, name, must(t, append(strings.Fields(path), "--help")...))
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := must(t, "completion", shell); !strings.Contains(out, "sluice") {
			t.Errorf("completion %s: %.100s", shell, out)
		}
	}
	if out := must(t, "__complete", "serve", "--set", "num.p"); !strings.Contains(out, "num.partitions=\t") {
		t.Errorf("completion of --set: %.300s", out)
	}
}

func TestHello(t *testing.T) { golden(t, "hello.txt", hello("bin/sluice", "127.0.0.1:9092")) }

func TestVersionCommand(t *testing.T) {
	if out := must(t, "version"); out != "sluice "+version+"\n" {
		t.Errorf("%q", out)
	}
	out := must(t, "version", "-o", "json")
	for _, want := range []string{`"version": "` + version + `"`, `"go": "go1.`, `"platform": "`, `"kafka": "4.3"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
}

// A port that nobody has asked for may be replaced by the next free one. A port that somebody has
// named may not.
func TestNextFreePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log := slog.New(slog.DiscardHandler)
	l, err := listenAt(taken.Addr().String(), "listeners", devPlace, true, log)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, first := l.Addr().(*net.TCPAddr).Port, taken.Addr().(*net.TCPAddr).Port; got <= first || got > first+portsTried {
		t.Errorf("port %d after %d", got, first)
	}
	if l, err := listenAt(taken.Addr().String(), "listeners", "--listen", false, log); err == nil {
		l.Close()
		t.Error("a port that was named has moved")
	}
	for _, c := range []struct {
		args           []string
		environ        string
		clients, admin bool
	}{
		{nil, "", true, true},
		{[]string{"--listen", "127.0.0.1:9092"}, "", false, true},
		{[]string{"--set", "listeners=PLAINTEXT://127.0.0.1:9092"}, "", false, true},
		{nil, "SLUICE_ADMIN_LISTENER=127.0.0.1:9644", true, false},
		{nil, "KAFKA_LISTENERS=PLAINTEXT://127.0.0.1:9092", false, true},
	} {
		// They are restored when the test ends.
		for _, name := range []string{"SLUICE_ADMIN_LISTENER", "KAFKA_LISTENERS"} {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
		if name, value, ok := strings.Cut(c.environ, "="); ok {
			t.Setenv(name, value)
		}
		cmd := new(cobra.Command)
		f := addDevFlags(cmd)
		addConfigFlags(cmd, &f.src)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		s, err := f.settings(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if s.clientsMayMove != c.clients || s.adminMayMove != c.admin {
			t.Errorf("%q %s: clients may move %v, admin %v", c.args, c.environ, s.clientsMayMove, s.adminMayMove)
		}
	}
}
