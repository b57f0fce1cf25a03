package compare

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	profilesDir   = "profiles" // in the folder of a result
	profileLines  = 60         // number of functions that are listed
	profileWithin = 15 * time.Second
)

// profiling is a CPU profile of a Sluice broker or a limit that is being taken while the load
// counts.
type profiling struct {
	done chan error
}

// profile begins a profile if profiles are requested and this is the first round. The profile
// begins after the warm-up and ends before the load does. It goes into a file that is named after
// cell and system, with a list of the functions that take the most time.
func (st *stage) profile(r *running) *profiling {
	warmup, duration := times(st.o, st.cell)
	seconds := int((duration - time.Second) / time.Second)
	if st.o.profiles == "" || st.round > 0 || st.system.jvm || seconds < 1 {
		return nil
	}
	p := &profiling{done: make(chan error, 1)}
	file := filepath.Join(st.o.profiles, st.cell.Name+"-"+st.system.Name+".pprof")
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.plan.admin, seconds)
	go func() {
		timer := time.NewTimer(max(0, warmup))
		defer timer.Stop()
		select {
		case <-timer.C:
			p.done <- saveProfile(st.ctx, url, file, time.Duration(seconds)*time.Second+profileWithin)
		case <-st.ctx.Done():
			p.done <- st.ctx.Err()
		}
	}()
	return p
}

// wait returns when the profile is written, or could not be taken.
func (p *profiling) wait() error {
	if p == nil {
		return nil
	}
	if err := <-p.done; err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// saveProfile takes a profile of a process and lists it, by the time that is spent in each function
// itself, and including what the function calls.
func saveProfile(ctx context.Context, url, file string, limit time.Duration) error {
	b, err := get(ctx, url, limit)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return err
	}
	var text []byte
	for _, order := range []string{"-flat", "-cum"} {
		out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, fmt.Sprintf("-nodecount=%d", profileLines), file).Output()
		if err != nil {
			return fmt.Errorf("list %s: %w", file, err)
		}
		text = append(append(text, out...), '\n')
	}
	return os.WriteFile(strings.TrimSuffix(file, ".pprof")+".txt", text, 0o644)
}
