package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Restart starts and ends the broker, for workloads that measure that.
type Restart struct {
	// Start starts the broker's process and returns at once, before the broker answers. How long
	// that takes is what is measured.
	Start func() (pid int, err error)
	// Stop ends the process that Start started last, and returns when it is gone. kill means
	// SIGKILL instead of SIGTERM. Stop does nothing if there is no such process.
	Stop func(kill bool) error
}

// RestartCommand starts the broker with a command line whose process is the broker itself (not a
// script that forks).
func RestartCommand(args ...string) *Restart {
	r := &commandRestart{args: args}
	return &Restart{Start: r.start, Stop: r.stop}
}

type commandRestart struct {
	args []string
	cmd  *exec.Cmd
	said *lastWords
}

func (r *commandRestart) start() (int, error) {
	cmd := exec.Command(r.args[0], r.args[1:]...)
	said := new(lastWords)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	r.cmd, r.said = cmd, said
	return cmd.Process.Pid, nil
}

func (r *commandRestart) stop(kill bool) error {
	if r.cmd == nil {
		return nil
	}
	cmd := r.cmd
	r.cmd = nil
	if ended(cmd.Process.Pid) {
		_ = cmd.Wait() // its state is reported
		return fmt.Errorf("%s ended by itself (%s): %s", r.args[0], cmd.ProcessState, r.said)
	}
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	if err := cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("end %s: %w", r.args[0], err)
	}
	_ = cmd.Wait() // the exit status does not matter: a JVM that is told to end exits with 143
	return nil
}

// lastWords keeps the end of a process's output.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

const lastWordsBytes = 4 << 10

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-lastWordsBytes):]
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// begun is a broker that was just started, as a client sees it.
type begun struct {
	pid         int
	at          time.Time     // before the process existed
	firstAnswer time.Duration // the time from then to the answer to ApiVersions
}

// startPatience bounds a start. Recovery of a large log may take long.
const startPatience = 5 * time.Minute

// begin starts the broker and waits for its first answer.
func (t Target) begin(ctx context.Context) (begun, error) {
	if t.Restart == nil {
		return begun{}, errors.New("this workload starts the broker itself: it must be told how (--exec)")
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if t.answers(ctx) {
		return begun{}, fmt.Errorf("somebody answers at %v already: end it first", t.Seeds)
	}
	start := time.Now()
	pid, err := t.Restart.Start()
	if err != nil {
		return begun{}, err
	}
	for !t.answers(ctx) {
		if ended(pid) {
			return begun{}, errors.Join(errors.New("the broker ended before it answered"), t.Restart.Stop(true))
		}
		if err := wait(ctx, startPoll); err != nil {
			return begun{}, errors.Join(fmt.Errorf("no answer from the started broker: %w", err), t.Restart.Stop(true))
		}
	}
	return begun{pid: pid, at: start, firstAnswer: time.Since(start)}, nil
}

// startPoll is the pause between attempts to connect. A start's figures may be too high by that
// much.
const startPoll = time.Millisecond

func (t Target) answers(ctx context.Context) bool {
	c, err := openRaw(ctx, t.Seeds)
	if err != nil {
		return false
	}
	c.close()
	return true
}

// ended reports whether a child of ours has ended, waited for or not.
func ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return bytes.HasPrefix(state, []byte("Z"))
}
