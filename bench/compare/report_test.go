package compare

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenResult has a cell with everything: several rounds, a disturbed one, a failure, and a text
// that must be escaped.
func goldenResult() *Result {
	r := sample(day, nil)
	r.Kafka, r.Seconds = "4.3.1", 3900
	r.Settings = Settings{Rounds: 2, Warmup: 10 * time.Second, Duration: 20 * time.Second, Only: "throughput-4"}
	r.Machine = Machine{CPU: "A <Processor>", CPUs: 2, MemoryMiB: 8192, Kernel: "Linux 6.18.0", Disk: "ext4", Go: "go1.26.8", Java: "openjdk 17", Load: 0.1}
	add := func(system string, round int, mib, cpu, foreign float64) {
		r.Runs = append(r.Runs, Run{Cell: "throughput-4", System: system, Round: round,
			Figures: map[string]float64{"mib_per_second": mib, "cpu_s_per_gib.broker": cpu, "foreign_cores": foreign, "records_per_second": mib * 1024}})
	}
	add("null", 0, 1700, 0.19, 0.1)
	add("null", 1, 1720, 0.2, 0.1)
	add("wal", 0, 900, 0.55, 0.1)
	add("wal", 1, 1000, 0.5, 0.1)
	add("sluice", 0, 850, 0.6, 0.1)
	add("sluice", 1, 900, 0.58, 0.45)
	add("kafka", 0, 500, 2.5, 0.1)
	for system, mib := range map[string]float64{"sluice-file": 410, "kafka": 440, "wal-twice": 480} {
		r.Runs = append(r.Runs, Run{Cell: "started-max", System: system, Figures: map[string]float64{"mib_per_second": mib, "publish_p99_ms": 500, "foreign_cores": 0.1}})
	}
	r.Runs = append(r.Runs, Run{Cell: "throughput-4", System: "kafka", Round: 1, Error: "kafka ended before it was ready: <no space>"})
	return r
}

func TestReport_Golden(t *testing.T) {
	html, svg, err := render([]*Result{goldenResult()})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "page.html", html)
	golden(t, "chart.svg", svg)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; go test ./bench/compare -run Golden -update, and look at what changed\n%s", name, firstDifference(string(got), string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

// The page can be read offline: it loads nothing from anywhere.
func TestReport_SelfContained(t *testing.T) {
	html, svg, err := render([]*Result{goldenResult()})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"page": html, "chart": svg} {
		text := strings.ReplaceAll(string(b), `xmlns="http://www.w3.org/2000/svg"`, "")
		if m := regexp.MustCompile(`https?://|src=|href=|url\(|@import|<script`).FindString(text); m != "" {
			t.Errorf("the %s contains %s", name, m)
		}
		if strings.Contains(text, "ZgotmplZ") {
			t.Errorf("the %s has a value that the template refused", name)
		}
	}
}

// Folders go in, a page comes out. With two results, each cell comes from the newest.
func TestReport_OfSeveralFolders(t *testing.T) {
	first, second, out := t.TempDir(), t.TempDir(), t.TempDir()
	a, b := goldenResult(), sample(day.Add(time.Hour), map[[3]string][]float64{{"idle", "sluice-file", "rss_mib.broker"}: {55}})
	b.Version = "v0.2.0"
	if err := a.save(first); err != nil {
		t.Fatal(err)
	}
	if err := b.save(second); err != nil {
		t.Fatal(err)
	}
	if err := Report([]string{first, second}, out); err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(filepath.Join(out, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-03-01 12:00, v0.1.0", "2026-03-01 13:00, v0.2.0", "Cells from this run: idle", "RSS, idle"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page of two results lacks %q", want)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "chart.svg")); err != nil {
		t.Error(err)
	}
	if err := Report([]string{t.TempDir()}, out); err == nil {
		t.Error("a folder without a result was taken")
	}
}
