package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// ErrRuns says that some runs failed. The others are in the result.
var ErrRuns = errors.New("compare: runs failed")

// Compare plays all steps of the plan. It writes result.json after every run and the page at the
// end, and returns their folder.
func Compare(ctx context.Context, o Options) (string, error) {
	if o.Full {
		o.Warmup, o.Duration = max(o.Warmup, time.Minute), max(o.Duration, 5*time.Minute)
	}
	steps, err := plan(&o)
	if err != nil {
		return "", err
	}
	o.Say(describe(&o, steps))
	if o.PlanOnly {
		return "", nil
	}
	r := &Result{Format: resultFormat, Started: time.Now().UTC().Truncate(time.Second), Version: sluiceVersion(ctx, o.Tools.Sluice),
		Settings: Settings{Only: o.Only, Full: o.Full, Rounds: o.Rounds, Warmup: o.Warmup, Duration: o.Duration}, Machine: describeMachine(workDir(&o))}
	if r.Kafka = kafkaVersion(); r.Kafka != "" {
		r.Machine.Java = javaVersion(ctx)
	}
	out := filepath.Join(o.Out, r.Started.Format("2006-01-02-1504")+"-"+r.Version)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	if o.Profile {
		o.profiles = filepath.Join(out, profilesDir)
	}
	failed, err := r.playAll(ctx, &o, steps, out)
	if len(r.Runs) > 0 { // also after an interruption
		err = errors.Join(err, Report([]string{out}, out))
	}
	if err != nil {
		return out, err
	}
	if failed > 0 {
		return out, fmt.Errorf("%w: %d of %d", ErrRuns, failed, len(steps))
	}
	return out, nil
}

// playAll plays the steps and saves after each.
func (r *Result) playAll(ctx context.Context, o *Options, steps []step, out string) (failed int, err error) {
	for i, s := range steps {
		at := time.Since(r.Started)
		if o.Within > 0 && at+s.estimate > o.Within {
			o.Say(fmt.Sprintf("%3d/%d  %-18s %-15s round %d   left out: it would end after %s", i+1, len(steps), s.cell.Name, s.system, s.round+1, o.Within))
			continue
		}
		debug.FreeOSMemory() // so that the client begins each run with the same heap
		figures, err := play(ctx, o, s)
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
		runs := asRuns(s, at, figures, err)
		r.Runs = append(r.Runs, runs...)
		if err != nil {
			failed++
		}
		r.Seconds = time.Since(r.Started).Seconds()
		if err := r.save(out); err != nil {
			return failed, err
		}
		o.Say(line(&s, runs, i+1, len(steps), total(steps[i+1:])))
	}
	return failed, nil
}

// asRuns makes a run of each map of figures. An error becomes a run of its own, so that it is seen.
func asRuns(s step, at time.Duration, figures []map[string]float64, err error) []Run {
	var runs []Run
	for i, f := range figures {
		runs = append(runs, Run{Cell: s.cell.Name, System: s.system, Round: s.round + i, At: at.Round(time.Millisecond).Seconds(), Figures: rounded(f)})
	}
	if err != nil {
		runs = append(runs, Run{Cell: s.cell.Name, System: s.system, Round: s.round + len(figures), At: at.Round(time.Millisecond).Seconds(), Error: neutral(err.Error())})
	}
	return runs
}

// rounded keeps six digits. Results are kept for years, and no figure is more exact.
func rounded(figures map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(figures))
	for name, v := range figures {
		out[name], _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	}
	return out
}

// neutral removes the home folder and the temporary folder from a text that is kept.
func neutral(s string) string {
	s = strings.ReplaceAll(s, os.TempDir(), "$TMPDIR")
	if home, err := os.UserHomeDir(); err == nil && home != "/" {
		s = strings.ReplaceAll(s, home, "~")
	}
	if here, err := os.Getwd(); err == nil {
		s = strings.ReplaceAll(s, here, ".")
	}
	return s
}

// line is what is printed after a step.
func line(s *step, runs []Run, done, of int, left time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%3d/%d  %-18s %-15s round %d ", done, of, s.cell.Name, s.system, s.round+1)
	for i := range runs {
		if runs[i].Error != "" {
			fmt.Fprintf(&b, "  FAILED: %s", runs[i].Error)
			continue
		}
		for _, m := range s.cell.Measures {
			if v, ok := runs[i].Figures[m.Figure]; ok {
				fmt.Fprintf(&b, "  %s %s %s", m.Title, number(v), m.Unit)
			}
		}
		if runs[i].Disturbed() {
			fmt.Fprintf(&b, "  (disturbed: %.1f foreign cores)", runs[i].Figures["foreign_cores"])
		}
	}
	fmt.Fprintf(&b, "  · %s left", left.Round(time.Second))
	return b.String()
}

func workDir(o *Options) string {
	if o.Dir != "" {
		return o.Dir
	}
	return os.TempDir()
}

// sluiceVersion asks the binary for its version, which becomes a part of a folder's name.
func sluiceVersion(ctx context.Context, binary string) string {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	words := strings.Fields(string(out))
	if len(words) == 0 {
		return "unknown"
	}
	return words[min(1, len(words)-1)]
}

func kafkaVersion() string {
	classpath, err := javaClasspath()
	if err != nil {
		return ""
	}
	for _, jar := range filepath.SplitList(classpath) {
		if name := filepath.Base(jar); strings.HasPrefix(name, "kafka-clients-") {
			return strings.TrimSuffix(strings.TrimPrefix(name, "kafka-clients-"), ".jar")
		}
	}
	return ""
}
