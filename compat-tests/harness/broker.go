package harness

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startLimit is how long any broker may take to serve. It is generous: the start benchmark measures
// how long a start should take.
const startLimit = 60 * time.Second

// Config describes a broker under test.
type Config struct {
	Dir    string            // data directory
	Bucket string            // URL; "" for the default inside Dir
	Env    map[string]string // SLUICE_… budgets and intervals, and credentials

	Properties map[string]string // further lines of server.properties; for Apache Kafka only
}

// Broker is one broker of a test: a directory, a port, and the process that serves them at the
// moment.
type Broker struct {
	Config
	Addr string

	t        testing.TB
	command  func(*Broker) *exec.Cmd
	ready    string
	stopCode int
	process  *Process
	starts   int
}

// Sluice prepares a broker of the binary under test. Start starts it.
func Sluice(t testing.TB, c Config) *Broker {
	t.Helper()
	b := &Broker{Config: c, Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), t: t, ready: "listening"}
	bin := Binary(t)
	b.command = func(b *Broker) *exec.Cmd {
		args := []string{"dev", "--dir", b.Dir, "--listen", b.Addr, "--set", "sluice.admin.listener=127.0.0.1:0"}
		if b.Bucket != "" {
			args = append(args, "--bucket", b.Bucket)
		}
		return exec.Command(bin, args...)
	}
	t.Cleanup(b.cleanup)
	return b
}

// Binary returns the program under test: $SLUICE_BIN, or bin/sluice of this tree.
func Binary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("SLUICE_BIN")
	if bin == "" {
		bin = filepath.Join(root(t), "bin", "sluice")
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("the broker's binary is missing (run make build, or set SLUICE_BIN): %v", err)
	}
	return bin
}

// root returns the folder above the compat-tests module.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "compat-tests" {
			return filepath.Dir(dir)
		}
	}
	t.Fatal("not inside the compat-tests module")
	return ""
}

// Launch starts the process without waiting for it to serve.
func (b *Broker) Launch() error {
	cmd := b.command(b)
	cmd.Env = environ(b.Env)
	b.starts++
	p, err := launch(fmt.Sprintf("broker %s (start %d)", b.Addr, b.starts), cmd, b.ready)
	if err != nil {
		return err
	}
	p.stopCode = b.stopCode
	b.process = p
	return nil
}

// TryStart starts the process and waits until it serves.
func (b *Broker) TryStart() error {
	if err := b.Launch(); err != nil {
		return err
	}
	return b.AwaitReady()
}

// AwaitReady waits until a launched process serves.
func (b *Broker) AwaitReady() error { return b.process.awaitReady(startLimit) }

// Start is TryStart, but a failure ends the test.
func (b *Broker) Start() {
	b.t.Helper()
	if err := b.TryStart(); err != nil {
		b.t.Fatal(err)
	}
}

// Kill is kill -9.
func (b *Broker) Kill() { b.process.Kill() }

// Stop sends SIGTERM. The broker must end within the limit, with the exit code of a clean stop.
func (b *Broker) Stop(limit time.Duration) time.Duration {
	b.t.Helper()
	took, err := b.process.Stop(limit)
	if err != nil {
		b.t.Fatal(err)
	}
	return took
}

// Process returns the current process.
func (b *Broker) Process() *Process { return b.process }

// cleanup ends the process if it still runs. For a failed test it shows the end of the output.
func (b *Broker) cleanup() {
	if b.process == nil {
		return
	}
	b.process.Kill()
	if b.t.Failed() {
		b.t.Logf("the last of %d processes printed:\n%s", b.starts, b.process.Tail())
	}
}

// environ is the environment of this process without any SLUICE_ setting, plus env.
func environ(env map[string]string) []string {
	list := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "SLUICE_") })
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// Run runs the binary under test to its end with other arguments, for example `sluice restore`, and
// returns what it printed.
func Run(t testing.TB, env map[string]string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = environ(env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
