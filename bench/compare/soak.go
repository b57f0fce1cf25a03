package compare

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluicemq/sluice/bench/load"
)

const (
	soakShare     = 0.6              // share of the maximum
	soakMaximum   = 20 * time.Second // how long the maximum is looked for
	soakRetention = 256 << 20        // of each of the 16 partitions
	soakLook      = 10               // periods of the load between two looks
)

// soakSettings make deletion happen within minutes, not hours.
var soakSettings = []string{"log.retention.check.interval.ms=10000", "sluice.delete.delay=10s", "sluice.snapshot.interval=10s"}

// soak finds the rate that the broker can take with uploads, and then gives it 60 % of that for a
// long time. It looks whether anything grows: memory, files, objects, what waits for the bucket.
func soak(st *stage) error {
	r, err := start(st.ctx, &st.o.Tools, st.system, st.dir, soakSettings)
	if err != nil {
		return err
	}
	defer r.kill()
	w, err := st.workload()
	if err != nil {
		return err
	}
	w.RetentionBytes = soakRetention
	maximum, err := load.Run(st.ctx, r.target(), w, load.Options{Warmup: soakMaximum / 2, Duration: soakMaximum})
	if err != nil {
		return fmt.Errorf("maximum: %w", err)
	}
	quiet(st.ctx)
	read(1)(&w)
	w.Rate = soakShare * maximum.Figures["records_per_second"]
	g := &growth{st: st, r: r}
	result, err := load.Run(st.ctx, r.target(), w, st.optionsThat(g.look))
	if err != nil {
		return err
	}
	result.Figures["maximum_mib_per_second"] = maximum.Figures["mib_per_second"]
	g.note(result.Figures)
	return st.note(r, result)
}

// growth is what was seen of a broker over time, by figure.
type growth struct {
	st    *stage
	r     *running
	calls int
	seen  map[string][]float64
}

func (g *growth) look() {
	if g.calls++; g.calls%soakLook != 0 {
		return
	}
	if g.seen == nil {
		g.seen = make(map[string][]float64)
	}
	add := func(name string, v float64) { g.seen[name] = append(g.seen[name], v) }
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.r.broker.pid())); err == nil {
		add("rss_mib", float64(kibibytes(b, "VmRSS"))/1024)
	}
	data := filepath.Join(g.r.plan.dir, "data")
	for name, dir := range map[string]string{"bucket": filepath.Join(data, "bucket"), "wal": filepath.Join(data, "wal")} {
		files, bytes := count(dir)
		add(name+"_files", files)
		add(name+"_mib", bytes/(1<<20))
	}
	text, err := get(g.st.ctx, g.r.metrics(), metricsTimeout)
	if err != nil {
		return
	}
	for series, name := range map[string]string{"sluice_unflushed_bytes": "lag_mib", "go_memstats_heap_inuse_bytes": "heap_mib"} {
		if v, ok := metric(text, series); ok {
			add(name, v/(1<<20))
		}
	}
}

// note gives, for each figure, the medians of the three thirds of the time after the first looks.
// What drifts grows in both steps.
func (g *growth) note(figures map[string]float64) {
	for name, values := range g.seen {
		values = values[min(len(values), 3):] // the first looks show the start
		third := len(values) / 3
		if third == 0 {
			continue
		}
		figures[name+"_first_third"] = spread(values[:third]).Median
		figures[name+"_middle_third"] = spread(values[third : 2*third]).Median
		figures[name+"_last_third"] = spread(values[len(values)-third:]).Median
		figures[name+"_max"] = slices.Max(values)
	}
}

// count walks a folder. A file that vanishes meanwhile is not counted.
func count(dir string) (files, bytes float64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			files++
			bytes += float64(info.Size())
		}
		return nil
	})
	return files, bytes
}
