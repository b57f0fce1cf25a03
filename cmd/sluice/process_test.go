package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asSluice makes the test's binary behave as sluice itself, so that the processes that are started,
// killed and limited are real.
const asSluice = "TEST_AS_SLUICE"

func TestMain(m *testing.M) {
	if os.Getenv(asSluice) != "" {
		os.Exit(execute(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// patience is how long anything may take that must happen.
const patience = 60 * time.Second

// process is a running sluice.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  printed
	errs printed
	over chan struct{} // closed when it has ended
}

// printed is what a process prints, line by line.
type printed struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // capacity 1
	ended chan struct{}
}

func (p *printed) read(r io.Reader) {
	defer close(p.ended)
	for s := bufio.NewScanner(r); s.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// line returns the first line that contains a text, or "".
func (p *printed) line(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.lines, func(l string) bool { return strings.Contains(l, text) }); i >= 0 {
		return p.lines[i]
	}
	return ""
}

// cleanEnviron is the environment of this process without variables that configure a broker.
func cleanEnviron() []string {
	list := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "SLUICE_") || strings.HasPrefix(s, "KAFKA_") || strings.HasPrefix(s, "AWS_")
	})
	return append(list, asSluice+"=1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}

// launch starts a sluice with additional variables. The test kills it at its end if it still runs.
func launch(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	return launchCommand(t, environ, exec.Command("/proc/self/exe", args...))
}

func launchCommand(t *testing.T, environ []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, over: make(chan struct{})}
	p.cmd.Env = append(cleanEnviron(), environ...)
	for into, pipe := range map[*printed]func() (io.ReadCloser, error){&p.out: p.cmd.StdoutPipe, &p.errs: p.cmd.StderrPipe} {
		into.more, into.ended = make(chan struct{}, 1), make(chan struct{})
		r, err := pipe()
		if err != nil {
			t.Fatal(err)
		}
		go into.read(r)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-p.out.ended
		<-p.errs.ended
		_ = p.cmd.Wait() // its state says how it ended
		close(p.over)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.over
		if t.Failed() {
			t.Logf("sluice %s printed:\n%s\n%s", strings.Join(args(cmd), " "), &p.out, &p.errs)
		}
	})
	return p
}

func args(cmd *exec.Cmd) []string { return cmd.Args[1:] }

// await returns the line of the log that contains a text, once it is there.
func (p *process) await(text string) string {
	p.t.Helper()
	limit := time.After(patience)
	for {
		if line := p.errs.line(text); line != "" {
			return line
		}
		select {
		case <-p.errs.more:
		case <-p.over:
			if line := p.errs.line(text); line != "" {
				return line
			}
			p.t.Fatalf("it ended (%v) and never said %q:\n%s", p.cmd.ProcessState, text, &p.errs)
		case <-limit:
			p.t.Fatalf("it has not said %q:\n%s", text, &p.errs)
		}
	}
}

// code waits for the process's end.
func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.over:
	case <-time.After(patience):
		p.t.Fatalf("it does not end:\n%s", &p.errs)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop sends SIGTERM. The exit code must be 0.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if code := p.code(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM:\n%s", code, &p.errs)
	}
}

// field returns the value of a key in a log line.
func field(t *testing.T, line, key string) string {
	t.Helper()
	_, rest, ok := strings.Cut(line, " "+key+"=")
	if !ok {
		t.Fatalf("%q has no %s", line, key)
	}
	if quoted, ok := strings.CutPrefix(rest, `"`); ok {
		value, _, _ := strings.Cut(quoted, `"`)
		return value
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// devArgs are the arguments of a dev on free ports.
func devArgs(dir string, more ...string) []string {
	return append([]string{"dev", "--dir", dir, "--listen", "127.0.0.1:0", "--set", "sluice.admin.listener=127.0.0.1:0"}, more...)
}

// dev starts a broker and waits until it serves.
func dev(t *testing.T, dir string, environ []string, more ...string) (p *process, address string) {
	t.Helper()
	p = launch(t, environ, devArgs(dir, more...)...)
	return p, field(t, p.await("msg=listening"), "address")
}

// ends runs a sluice that must end with the given code, and returns what it printed to standard
// error.
func ends(t *testing.T, want int, environ []string, args ...string) string {
	t.Helper()
	p := launch(t, environ, args...)
	if code := p.code(); code != want {
		t.Errorf("sluice %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, &p.errs)
	}
	return p.errs.String()
}

// says checks that the lines with "sluice: ", which are for a person, contain all of the texts.
func says(t *testing.T, what, printed string, texts ...string) {
	t.Helper()
	var told []string
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "sluice: ") {
			told = append(told, strings.TrimSpace(line))
		}
	}
	all := strings.Join(told, "\n")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%s: %q is not in\n%s", what, text, printed)
		}
	}
	if len(told) == 0 {
		t.Error(errors.New(fmt.Sprint(what, ": nothing is told:\n", printed)))
	}
}
