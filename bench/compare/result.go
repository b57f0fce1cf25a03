package compare

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// resultFormat is in every result.json. A reader refuses any other.
const resultFormat = 1

// Result is one run of compare, as it is in result.json.
type Result struct {
	Format   int       `json:"format"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Version  string    `json:"sluice_version"`
	Kafka    string    `json:"kafka_version,omitempty"`
	Settings Settings  `json:"settings"`
	Machine  Machine   `json:"machine"`
	Runs     []Run     `json:"runs"`
}

// Settings are the options that affect figures.
type Settings struct {
	Only     string        `json:"only,omitempty"`
	Full     bool          `json:"full,omitempty"`
	Rounds   int           `json:"rounds"`
	Warmup   time.Duration `json:"warmup_ns"`
	Duration time.Duration `json:"duration_ns"`
}

// Run is one cell on one system in one round.
type Run struct {
	Cell    string             `json:"cell"`
	System  string             `json:"system"`
	Round   int                `json:"round"`
	At      float64            `json:"at_seconds"` // since Started
	Figures map[string]float64 `json:"figures,omitempty"`
	Error   string             `json:"error,omitempty"`
}

// disturbedCores is how much CPU others may use during a run. Above it the run is marked. Runs
// below it repeat within a few percent; those above may be wrong by a factor.
const disturbedCores = 0.3

// Disturbed reports that something else on the machine used CPU during the run.
func (r *Run) Disturbed() bool { return r.Figures["foreign_cores"] > disturbedCores }

// values returns a figure's values by round, for the runs that have the figure.
func (r *Result) values(cell, system, figure string) map[int]float64 {
	out := make(map[int]float64)
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Cell == cell && run.System == system {
			if v, ok := run.Figures[figure]; ok {
				out[run.Round] = v
			}
		}
	}
	return out
}

func (r *Result) spread(cell, system, figure string) Spread {
	var v []float64
	for _, x := range r.values(cell, system, figure) {
		v = append(v, x)
	}
	return spread(v)
}

// has reports whether at least one run of the cell gave figures.
func (r *Result) has(cell string) bool {
	for i := range r.Runs {
		if r.Runs[i].Cell == cell && len(r.Runs[i].Figures) > 0 {
			return true
		}
	}
	return false
}

// clientLimitedBelow is how many times faster than a system the null broker must be if the system's
// throughput is to be its own and not the client's.
const clientLimitedBelow = 1.3

// clientLimited reports that the cell's null broker is hardly faster than the system. The
// throughput is then that of the client, and CPU is the figure to read.
func (r *Result) clientLimited(cell, system string) bool {
	null, own := r.spread(cell, "null", "mib_per_second"), r.spread(cell, system, "mib_per_second")
	return system != "null" && null.Count > 0 && own.Count > 0 && null.Median < clientLimitedBelow*own.Median
}

// save writes result.json as a whole, so that an interrupted run keeps what it has.
func (r *Result) save(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	name := filepath.Join(dir, "result.json")
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// loadResult reads the result.json of a folder.
func loadResult(dir string) (*Result, error) {
	b, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if r.Format != resultFormat {
		return nil, fmt.Errorf("%s: format %d, want %d", dir, r.Format, resultFormat)
	}
	return r, nil
}

// merge picks, for each cell, the newest result that has it. A cell is taken whole, since ratios
// hold within one run, not between two.
func merge(results []*Result) map[string]*Result {
	picked := make(map[string]*Result)
	for _, r := range results {
		for i := range r.Runs {
			cell := r.Runs[i].Cell
			if old := picked[cell]; r.has(cell) && (old == nil || r.Started.After(old.Started)) {
				picked[cell] = r
			}
		}
	}
	return picked
}
