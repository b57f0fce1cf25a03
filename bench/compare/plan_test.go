package compare

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func defaults(only string) *Options {
	return &Options{Only: only, Rounds: 3, Warmup: 10 * time.Second, Duration: 20 * time.Second}
}

// The promise of make bench is that everything fits into 110 minutes, and in the plan some of that
// is left.
func TestPlan_EverythingFitsItsTime(t *testing.T) {
	steps, err := plan(defaults(""))
	if err != nil {
		t.Fatal(err)
	}
	if d := total(steps); d > 100*time.Minute || d < 75*time.Minute {
		t.Errorf("all of it takes %s on paper, want about 95 minutes\n%s", d, describe(defaults(""), steps))
	}
}

func TestPlan_SystemsTakeTurns(t *testing.T) {
	steps, err := plan(defaults("latency-100"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range steps {
		got = append(got, s.system)
	}
	want := "wal sluice kafka kafka-fsync sluice kafka kafka-fsync wal kafka kafka-fsync wal sluice"
	if strings.Join(got, " ") != want {
		t.Errorf("order %s\nwant  %s", strings.Join(got, " "), want)
	}
}

func TestPlan_Patterns(t *testing.T) {
	for _, c := range []struct {
		only string
		want []string
	}{
		{"throughput", []string{"throughput-4", "throughput-1"}},
		{"throughput-?", []string{"throughput-4", "throughput-1"}},
		{"latency-20*/sluice", []string{"latency-20", "latency-200"}},
		{"idle,sync-1", []string{"sync-1", "idle", "idle-connections", "idle-partitions"}},
	} {
		o := defaults(c.only)
		o.Rounds = 1
		steps, err := plan(o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range steps {
			if !slices.Contains(got, s.cell.Name) {
				got = append(got, s.cell.Name)
			}
			if strings.Contains(c.only, "/") && !strings.HasPrefix(s.system, "sluice") {
				t.Errorf("--only %s runs %s on %s", c.only, s.cell.Name, s.system)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("--only %s runs %v, want %v", c.only, got, c.want)
		}
	}
	if _, err := plan(defaults("nothing-is-called-so")); err == nil || !strings.Contains(err.Error(), "throughput-4") {
		t.Errorf("a pattern that matches nothing: %v, want an error that names the cells", err)
	}
}

// A misspelt name in a table would otherwise only show after an hour.
func TestTables_NamesExist(t *testing.T) {
	for i := range Cells {
		c := &Cells[i]
		for _, s := range c.systems(true) {
			if systemNamed(s) == nil && s != "machine" {
				t.Errorf("cell %s: no system is named %q", c.Name, s)
			}
		}
		if c.Load != "" {
			st := &stage{o: defaults(""), cell: c, system: &System{}}
			if _, err := st.workload(); err != nil {
				t.Errorf("cell %s: %v", c.Name, err)
			}
		}
		if c.Load == "" && c.run == nil {
			t.Errorf("cell %s has nothing to do", c.Name)
		}
	}
	check := func(r *row, o operand) {
		c := cellNamed(o.cell)
		if c == nil || !slices.Contains(c.systems(true), o.system) {
			t.Errorf("row %q: cell %q does not run %q", r.Measure, o.cell, o.system)
		}
	}
	for i := range rows {
		check(&rows[i], rows[i].of)
		for _, term := range rows[i].to {
			check(&rows[i], term.operand)
		}
	}
}

// --full lengthens what is short and keeps what is long. A cell that only --full has can be named
// without it.
func TestPlan_Full(t *testing.T) {
	o := defaults("")
	o.Full, o.Warmup, o.Duration = true, time.Minute, 5*time.Minute
	for name, want := range map[string]time.Duration{"sync-1": 5 * time.Minute, "throughput-4": 5 * time.Minute, "soak": 30 * time.Minute, "fetch-cold": -1} {
		if _, d := times(o, cellNamed(name)); d != want {
			t.Errorf("%s lasts %s with --full, want %s", name, d, want)
		}
	}
	if _, d := times(defaults(""), cellNamed("sync-1")); d != 5*time.Second {
		t.Errorf("sync-1 lasts %s, want its own 5 s", d)
	}
	for only, want := range map[string]int{"": 0, "soak": 1} {
		if got := len(chosen(cellNamed("soak"), defaults(only))); got != want {
			t.Errorf("--only %q takes %d systems of the soak, want %d", only, got, want)
		}
	}
}
