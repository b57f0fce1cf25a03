package compare

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sluicemq/sluice/bench/load"
)

// stage is where one step plays.
type stage struct {
	ctx     context.Context
	o       *Options
	cell    *Cell
	system  *System
	round   int    // from 0
	dir     string // empty at the beginning and deleted at the end
	figures []map[string]float64

	// pressure is that of the disk, in percent, when the load began, if the cell waits for a
	// settled disk.
	pressure float64
}

// settle waits until nothing that was written before disturbs what is measured next.
func (st *stage) settle() {
	quiet(st.ctx)
	if st.cell.settled {
		st.pressure = settle(st.ctx)
	}
}

// play runs a step in a folder of its own. Several maps of figures count as that many rounds.
func play(ctx context.Context, o *Options, s step) (figures []map[string]float64, err error) {
	dir, err := os.MkdirTemp(o.Dir, "sluice-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st := &stage{ctx: ctx, o: o, cell: s.cell, system: systemNamed(s.system), round: s.round, dir: dir}
	st.settle()
	run := s.cell.run
	if run == nil {
		run = plainLoad
	}
	before := sampleOthers()
	err = run(st)
	foreign := before.foreign()
	for _, f := range st.figures {
		if st.cell.settled {
			f["io_pressure_before"] = st.pressure
		}
		if _, ok := f["foreign_cores"]; !ok {
			f["foreign_cores"] = foreign
		}
	}
	return st.figures, err
}

// workload is the cell's workload, with retention that keeps the disk small if the broker has
// retention.
func (st *stage) workload() (load.Workload, error) {
	w, ok := load.Named(st.cell.Load)
	if !ok {
		return w, fmt.Errorf("no workload is named %q", st.cell.Load)
	}
	if st.cell.Change != nil {
		st.cell.Change(&w)
	}
	if w.FillBytes == 0 {
		w.RetentionBytes = st.retention()
	}
	return w, nil
}

// longRetention is the retention.bytes of Kafka's partitions with --full, when a run is larger than
// the disk.
const longRetention = 256 << 20

func (st *stage) retention() int64 {
	if st.o.Full && st.system.jvm {
		return longRetention
	}
	return st.system.retention
}

// settings are those of the cell. With --full, Kafka's settings let it delete during a run;
// otherwise Kafka has its defaults.
func (st *stage) settings() []string {
	if st.o.Full && st.system.jvm {
		return []string{"log.segment.bytes=268435456", "log.retention.check.interval.ms=1000", "log.segment.delete.delay.ms=1000"}
	}
	if st.system.own() {
		return st.cell.settings
	}
	return nil
}

func (st *stage) options() load.Options {
	warmup, duration := times(st.o, st.cell)
	o := load.Options{Warmup: warmup, Duration: duration}
	if st.o.Verbose {
		o.Progress = st.o.Say
	}
	return o
}

// plainLoad starts the system, warms up a JVM, and runs the cell's workload once.
func plainLoad(st *stage) error {
	r, err := start(st.ctx, &st.o.Tools, st.system, st.dir, st.settings())
	if err != nil {
		return err
	}
	defer r.kill()
	if err := st.warm(r); err != nil {
		return err
	}
	w, err := st.workload()
	if err != nil {
		return err
	}
	return st.load(r, w)
}

// warm gives a JVM the load that its compiler needs, on a topic that is deleted afterwards.
func (st *stage) warm(r *running) error {
	if !st.system.jvm || st.cell.warmsItself {
		return nil
	}
	w, _ := load.Named("omb-throughput")
	produceOnly(2, read(1))(&w)
	w.BatchBytes = 128 << 10
	if _, err := load.Run(st.ctx, r.target(), w, load.Options{Warmup: -1, Duration: jvmWarmup}); err != nil {
		return fmt.Errorf("warm the JVM: %w", err)
	}
	st.settle()
	return nil
}

// load runs a workload and notes its figures, with those that broker and bucket report themselves.
func (st *stage) load(r *running, w load.Workload) error {
	l := &lag{ctx: st.ctx, url: r.metrics()}
	o := st.options()
	if st.system.uploads() || st.system.own() && st.cell.settled {
		o = st.optionsThat(l.look)
	}
	p := st.profile(r)
	result, err := load.Run(st.ctx, r.target(), w, o)
	if err = errors.Join(err, p.wait()); err != nil {
		return err
	}
	l.note(result.Figures)
	if r.counts != "" {
		if err := countFigures(st.ctx, r.counts, result.Figures); err != nil {
			return err
		}
	}
	return st.note(r, result)
}

// optionsThat returns options that call look each second.
func (st *stage) optionsThat(look func()) load.Options {
	o := st.options()
	say := o.Progress
	o.Progress = func(line string) {
		look()
		if say != nil {
			say(line)
		}
	}
	return o
}

// note keeps the figures of a load, with those that the broker reports itself, even if the broker
// has failed.
func (st *stage) note(r *running, result *load.Result) error {
	if st.system.own() {
		if text, err := get(st.ctx, r.metrics(), metricsTimeout); err == nil {
			gcFigures(text, result.Figures)
			if r.bucket != nil && r.counts == "" {
				askedFigures(text, result.Figures)
			}
		}
	}
	st.figures = append(st.figures, result.Figures)
	if err := result.Verdict(); err != nil && !errors.Is(err, load.ErrNotSustained) {
		return err
	}
	return nil
}

// restarts gives the workload a broker that does not run yet, and the means to start and end it.
func restarts(st *stage) error {
	r, err := prepare(st.ctx, &st.o.Tools, st.system, st.dir, nil)
	if err != nil {
		return err
	}
	defer r.kill()
	w, err := st.workload()
	if err != nil {
		return err
	}
	target := r.target()
	target.Restart = &load.Restart{
		Start: func() (int, error) {
			p, err := launch(r.argv)
			if err != nil {
				return 0, err
			}
			r.broker = p
			return p.pid(), nil
		},
		Stop: func(kill bool) error {
			if kill {
				r.broker.kill()
				r.broker = nil
				return nil
			}
			return r.stopBroker()
		},
	}
	result, err := load.Run(st.ctx, target, w, st.options())
	if err != nil {
		return err
	}
	st.figures = append(st.figures, result.Figures)
	return nil
}
