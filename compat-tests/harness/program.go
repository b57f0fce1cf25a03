package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program is a client that runs beside the test. It prints lines, may be sent lines, and ends with
// an exit code.
type Program struct {
	Name string

	send   func(line string) error // sends a line to its standard input
	end    func() error            // closes its standard input
	kill   func()
	signal func(os.Signal) error

	mu     sync.Mutex
	out    strings.Builder
	errs   strings.Builder
	exited chan struct{} // closed when it has ended; code is set then
	code   int
}

func newProgram(name string) *Program {
	return &Program{Name: name, exited: make(chan struct{}), kill: func() {}, signal: func(os.Signal) error { return errors.ErrUnsupported }}
}

// Exec starts a command as a program of the test. It dies with the test.
func Exec(t testing.TB, name string, cmd *exec.Cmd) *Program {
	t.Helper()
	p := newProgram(name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.send = func(line string) error {
		_, err := io.WriteString(in, line+"\n")
		return err
	}
	p.end = in.Close
	p.kill = func() {
		_ = cmd.Process.Kill() // it may have ended already
		<-p.exited
	}
	p.signal = func(s os.Signal) error { return cmd.Process.Signal(s) }
	cmd.Stdout, cmd.Stderr = p.writer(&p.out), p.writer(&p.errs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait() // the exit code is looked at instead
		p.finish(cmd.ProcessState.ExitCode())
	}()
	t.Cleanup(p.Kill)
	return p
}

// Go runs a function of the test as a program, so that a client library in Go is driven like the
// others.
func Go(t testing.TB, name string, work func(in io.Reader, out io.Writer) error) *Program {
	p := newProgram(name)
	in, feed := io.Pipe()
	p.send = func(line string) error {
		_, err := io.WriteString(feed, line+"\n")
		return err
	}
	p.end = feed.Close
	p.kill = func() {
		feed.Close()
		<-p.exited
	}
	go func() {
		code := 0
		if err := work(in, p.writer(&p.out)); err != nil {
			fmt.Fprintln(p.writer(&p.errs), err)
			code = 1
		}
		in.Close()
		p.finish(code)
	}()
	t.Cleanup(p.Kill)
	return p
}

// locked writes into one of a program's texts.
type locked struct {
	mu   *sync.Mutex
	text *strings.Builder
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (p *Program) writer(text *strings.Builder) io.Writer { return locked{&p.mu, text} }

func (p *Program) finish(code int) {
	p.code = code
	close(p.exited)
}

// Send sends the program a line of input.
func (p *Program) Send(t testing.TB, line string) {
	t.Helper()
	if err := p.send(line); err != nil {
		t.Fatalf("%s takes no input: %v\n%s", p.Name, err, p.Tail())
	}
}

// End closes the program's input.
func (p *Program) End() { _ = p.end() } // it may have ended

// Interrupt sends Ctrl-C to a program that is a process of its own.
func (p *Program) Interrupt(t testing.TB) {
	t.Helper()
	if err := p.signal(os.Interrupt); err != nil {
		t.Fatalf("%s: interrupt: %v", p.Name, err)
	}
}

// Kill is kill -9 for a process of its own. For a Go program it closes the input.
func (p *Program) Kill() { p.kill() }

// Lines returns the whole lines that the program has printed so far.
func (p *Program) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	s := bufio.NewScanner(strings.NewReader(p.out.String()))
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if !strings.HasSuffix(p.out.String(), "\n") && len(lines) > 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Text returns what the program has printed so far; Errors returns what it wrote to its standard
// error.
func (p *Program) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *Program) Errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errs.String()
}

// Tail returns the end of both, to explain a failure.
func (p *Program) Tail() string {
	return fmt.Sprintf("--- %s printed:\n%s\n--- and complained:\n%s", p.Name, lastLines(p.Text(), 30), lastLines(p.Errors(), 30))
}

func lastLines(s string, count int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

var errRunning = errors.New("still running")

// Await waits until ok accepts what the program has printed. If the program ends before, Await does
// not wait on.
func (p *Program) Await(t testing.TB, limit time.Duration, ok func(lines []string) error) {
	t.Helper()
	err := Until(limit, func() error {
		select {
		case <-p.exited:
			return nil
		default:
			return ok(p.Lines())
		}
	})
	if err == nil {
		err = ok(p.Lines())
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.Name, err, p.Tail())
	}
}

// Wait waits for the program's end and returns the exit code.
func (p *Program) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return p.code
	case <-timer.C:
		t.Fatalf("%s: %v after %v\n%s", p.Name, errRunning, limit, p.Tail())
		return -1
	}
}

// Done closes the input, waits, and requires exit code 0. It returns what was printed.
func (p *Program) Done(t testing.TB, limit time.Duration) string {
	t.Helper()
	p.End()
	if code := p.Wait(t, limit); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", p.Name, code, p.Tail())
	}
	return p.Text()
}
