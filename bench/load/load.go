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
	Processes []Process // their CPU time and memory are sampled from /proc during the load
	// Restart starts and ends the broker, for workloads that measure that. If it is nil, the broker
	// stays as it is.
	Restart *Restart
}

// Process is a process of this machine that is watched.
type Process struct {
	Name string // its name in the figures
	PID  int
}

// Options say how long a workload runs, and at which scale.
type Options struct {
	// Warmup is the time before anything counts. 0 is the workload's own, below 0 is none.
	Warmup   time.Duration
	Duration time.Duration // the time that counts; 0 is the workload's own
	// Scale multiplies rates and amounts of bytes, for machines that are smaller than the workload.
	// 0 is 1.
	Scale float64

	Progress func(string) // gets a line each Interval; may be nil
	// Interval is the distance of progress lines, and the length of the result's periods. 0 is 1 s.
	Interval time.Duration
}

// The errors of [Run] and [Result.Verdict].
var (
	ErrWorkload     = errors.New("load: workload cannot run")
	ErrUntrue       = errors.New("load: records were lost, repeated, reordered or damaged")
	ErrFailed       = errors.New("load: requests failed")
	ErrNotSustained = errors.New("load: the rate was not sustained")
)

// Run runs a workload. When it returns, what it made in the cluster is deleted (unless the workload
// says Keep), and every client is closed. A result that shows loss or errors is still a result: see
// [Result.Verdict].
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
	if r.Begin.IsZero() { // the workload has no phases
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
