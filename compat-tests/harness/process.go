package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test has started. It dies with the test, even if the test is killed.
type Process struct {
	Name string

	stopCode int // exit code of a clean stop
	cmd      *exec.Cmd
	out      *output
	exited   chan struct{} // closed when it has ended; err is set then
	err      error
}

// output keeps what a process has printed and signals the line for which somebody waits.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wait  string
	ready chan struct{} // closed when the line was seen
	seen  bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if !o.seen && o.wait != "" && bytes.Contains(o.text.Bytes(), []byte(o.wait)) {
		o.seen = true
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts a program. ready is a part of the line that it prints when it serves, or "" if it
// prints none.
func launch(name string, cmd *exec.Cmd, ready string) (*Process, error) {
	p := &Process{Name: name, cmd: cmd, out: &output{wait: ready, ready: make(chan struct{})}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = io.Writer(p.out), p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// awaitReady waits for the ready line.
func (p *Process) awaitReady(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.out.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("%s ended before it served: %v\n%s", p.Name, p.err, p.Tail())
	case <-timer.C:
		return fmt.Errorf("%s does not serve after %v\n%s", p.Name, limit, p.Tail())
	}
}

// awaitPort waits until something accepts connections at the address.
func (p *Process) awaitPort(addr string, limit time.Duration) error {
	return Until(limit, func() error {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it served: %v\n%s", p.Name, p.err, p.Tail())
		default:
		}
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return fmt.Errorf("%s does not serve on %s: %w\n%s", p.Name, addr, err, p.Tail())
		}
		return c.Close()
	})
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.exited
}

// Stop sends SIGTERM and waits. The error tells about a bad exit code, or about a limit that was
// exceeded.
func (p *Process) Stop(limit time.Duration) (time.Duration, error) {
	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	err := p.Wait(limit)
	return time.Since(start), err
}

// Wait waits for the end and requires the exit code of a clean stop.
func (p *Process) Wait(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		if code := p.cmd.ProcessState.ExitCode(); code != p.stopCode {
			return fmt.Errorf("%s: exit code %d, want %d (%v)\n%s", p.Name, code, p.stopCode, p.err, p.Tail())
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s has not stopped after %v\n%s", p.Name, limit, p.Tail())
	}
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v", p.Name, s, err)
	}
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited returns a channel that is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode waits for the end and returns the exit code.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Output returns everything that the process has printed.
func (p *Process) Output() string { return p.out.String() }

// Tail returns the end of what the process has printed.
func (p *Process) Tail() string {
	s := p.Output()
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > 30 {
		lines = lines[len(lines)-30:]
	}
	return strings.Join(lines, "\n")
}

// Until asks again every few milliseconds until there is no error. When the limit is over it
// returns the last error.
func Until(limit time.Duration, ask func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

// FreePort finds a free port on loopback. It lies outside of the range that outgoing connections
// use, so that a broker that is down does not lose its port to one of them.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := nextPort()
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return 0
}

var ports struct {
	sync.Mutex
	next int
}

// nextPort counts up from a number that depends on the process, so that test binaries that run side
// by side rarely ask for the same port.
func nextPort() int {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 12000 + os.Getpid()%1900*10
	}
	ports.next++
	return ports.next
}

// Tool finds a program that `make tools` installs. In CI it must be there; elsewhere the test is
// skipped without it.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dirs := []string{filepath.Join(toolsDir(), "bin")}
	for _, dir := range append(dirs, filepath.SplitList(os.Getenv("PATH"))...) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	Missing(t, name)
	return ""
}

// Missing skips the test, or fails it in CI, because a tool is missing.
func Missing(t testing.TB, name string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run make tools", name)
	}
	t.Skipf("%s is missing: run make tools", name)
}

func toolsDir() string {
	if dir := os.Getenv("SLUICE_TOOLS"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "sluice-tools")
}
