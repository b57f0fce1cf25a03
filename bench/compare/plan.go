package compare

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Options of a comparison.
type Options struct {
	Only             string // patterns of cells, or cell/system, separated by commas; "" is all
	Rounds           int
	Warmup, Duration time.Duration
	// Full makes rounds long, for people in doubt: a minute of warm-up and five minutes of load.
	Full bool
	// Within leaves out what would end later. 0 leaves out nothing.
	Within   time.Duration
	PlanOnly bool // print the plan and end
	// Profile takes CPU profiles of Sluice and the limits, into the folder profiles beside the
	// result.
	Profile bool
	Verbose bool // print what the load prints, each second
	Tools   Tools
	Out     string // folder of results
	Dir     string // folder for the systems' data; "" is the temporary one
	Say     func(string)

	profiles string // folder for the profiles; "" takes none
}

// step is one cell on one system in one round.
type step struct {
	cell     *Cell
	system   string
	round    int
	estimate time.Duration
}

// plan lists the steps: rounds, in them cells, and in them systems, which take turns at being
// first. Systems that are compared run right after each other, so that a ratio of one round belongs
// to one state of the machine.
func plan(o *Options) ([]step, error) {
	var steps []step
	for round := range o.Rounds {
		for i := range Cells {
			c := &Cells[i]
			if c.Rounds != 0 && round >= c.Rounds {
				continue
			}
			systems := chosen(c, o)
			for k := range systems {
				system := systems[(k+round)%len(systems)]
				steps = append(steps, step{cell: c, system: system, round: round, estimate: estimate(o, c, system)})
			}
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("no cell matches %q: the cells are %s", o.Only, strings.Join(cellNames(), ", "))
	}
	return steps, nil
}

// chosen returns the cell's systems that the patterns select. A cell that only --full has is
// selected if it is named. A pattern without a wildcard matches a part of a name.
func chosen(c *Cell, o *Options) []string {
	var out []string
	for _, system := range c.systems(o.Full || len(c.Systems) == 0 && o.Only != "") {
		if o.Only == "" {
			out = append(out, system)
			continue
		}
		for _, pattern := range strings.Split(o.Only, ",") {
			if matches(pattern, c.Name, system) {
				out = append(out, system)
				break
			}
		}
	}
	return out
}

func matches(pattern, cell, system string) bool {
	ofCell, ofSystem, both := strings.Cut(strings.TrimSpace(pattern), "/")
	return part(ofCell, cell) && (!both || part(ofSystem, system))
}

func part(pattern, name string) bool {
	if strings.ContainsAny(pattern, "*?[") {
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	}
	return strings.Contains(name, pattern)
}

func cellNames() []string {
	var names []string
	for i := range Cells {
		names = append(names, Cells[i].Name)
	}
	return names
}

// times returns a cell's warm-up and duration: its own, or otherwise those of the options. Below 0
// means none. With --full, a cell's own times count only if they are longer.
func times(o *Options, c *Cell) (warmup, duration time.Duration) {
	pick := func(own, option time.Duration) time.Duration {
		if own == 0 || o.Full && own > 0 {
			return max(own, option)
		}
		return own
	}
	return pick(c.Warmup, o.Warmup), pick(c.Duration, o.Duration)
}

// The load for warming up JVMs, and what else takes time in a step: waiting for write-back, and
// creating and deleting folders and topics.
const (
	jvmWarmup   = 5 * time.Second
	stepsBeside = 1500 * time.Millisecond
)

func estimate(o *Options, c *Cell, system string) time.Duration {
	warmup, duration := times(o, c)
	d := max(0, warmup) + max(0, duration) + c.Extra + stepsBeside
	if s := systemNamed(system); s != nil {
		d += s.startTakes
		if s.jvm && !c.warmsItself {
			d += jvmWarmup
		}
	}
	return d
}

func total(steps []step) time.Duration {
	sum := time.Duration(0)
	for _, s := range steps {
		sum += s.estimate
	}
	return sum
}

// describe prints the plan: a line per cell, and the total time.
func describe(o *Options, steps []step) string {
	var b strings.Builder
	for i := range Cells {
		c := &Cells[i]
		var sum time.Duration
		rounds, systems := 0, chosen(c, o)
		for _, s := range steps {
			if s.cell == c {
				sum += s.estimate
				rounds = max(rounds, s.round+1)
			}
		}
		if rounds > 0 {
			fmt.Fprintf(&b, "%-20s %d × %-62s %7s\n", c.Name, rounds, strings.Join(systems, " "), sum.Round(time.Second))
		}
	}
	fmt.Fprintf(&b, "%d runs in about %s\n", len(steps), total(steps).Round(time.Second))
	return b.String()
}
