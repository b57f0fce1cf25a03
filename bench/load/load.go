package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Target is the cluster under load.
type Target struct {
	Seeds     []string  // host:port of one or more brokers
	Processes []Process // whose CPU time and memory are sampled from /proc beside the load
	Restart   *Restart  // starts and ends the broker, for the workloads that measure that; nil: it stays as it is
}

// Process is a process of this machine that is watched.
type Process struct {
	Name string // as it is called in the figures
	PID  int
}

// Options say how long and how much of a workload runs.
type Options struct {
	Warmup   time.Duration // before anything counts; 0: the workload's own, below 0: none
	Duration time.Duration // what counts; 0: the workload's own
	Scale    float64       // multiplies rates and amounts of bytes, for machines smaller than the workload's; 0: 1

	Progress func(string)  // is told a line each Interval; may be nil
	Interval time.Duration // of lines and of the periods in the result; 0: 1 s
}

// Errors of [Run] and [Result.Verdict].
var (
	ErrWorkload     = errors.New("load: workload cannot run")
	ErrUntrue       = errors.New("load: records were lost, repeated, reordered or damaged")
	ErrFailed       = errors.New("load: requests failed")
	ErrNotSustained = errors.New("load: the rate was not sustained")
)

// Run runs a workload and returns when it is over, what it made in the cluster is deleted (unless it says Keep), and
// every client is closed. A result that shows loss or errors is still a result: see [Result.Verdict].
func Run(ctx context.Context, t Target, w Workload, o Options) (*Result, error) {
	w, o = scaled(w, o), o.withDefaults(&w)
	if err := w.validate(); err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	run := w.run
	if run == nil {
		run = runFlow
	}
	begin := time.Now()
	r, err := run(ctx, t, w, o)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	r.Workload, r.Shape = w.Name, w
	if r.Begin.IsZero() { // it has no phases
		r.Begin, r.End = begin, time.Now()
	}
	return r, nil
}

func (o Options) withDefaults(w *Workload) Options {
	pick := func(d, own, otherwise time.Duration) time.Duration {
		switch {
		case d != 0:
			return max(0, d)
		case own != 0:
			return own
		}
		return otherwise
	}
	o.Warmup = pick(o.Warmup, w.Warmup, 10*time.Second)
	o.Duration = pick(o.Duration, w.Duration, 20*time.Second)
	o.Interval = pick(o.Interval, 0, time.Second)
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}
