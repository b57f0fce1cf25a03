// Command gotest runs every test of the modules named as arguments once, shows what failed, and
// ends with one line of counts over all of them:
//
//	812 passed, 0 failed, 2 skipped
//
// It exits 1 if a test or a package failed, or if nothing ran. With -fuzz, each fuzz target is
// fuzzed for that long afterwards; a target counts as one test. The counts include subtests.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	race := flag.Bool("race", false, "with the race detector")
	timeout := flag.Duration("timeout", 15*time.Minute, "of one package")
	fuzz := flag.String("fuzz", "", "how long to fuzz each target; none if empty")
	flag.Parse()

	var sum tally
	for _, module := range flag.Args() {
		sum.run(module, testArgs(*race, *timeout))
		if *fuzz != "" {
			sum.fuzz(module, *fuzz)
		}
	}
	sum.print(os.Stdout)
	if len(sum.failures) > 0 || sum.passed == 0 {
		os.Exit(1)
	}
}

func testArgs(race bool, timeout time.Duration) []string {
	args := []string{"test", "-json", "-count=1", "-timeout=" + timeout.String()}
	if race {
		args = append(args, "-race")
	}
	return append(args, "./...")
}

// event is one line of go test -json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of the output of a build
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// tally counts the tests and keeps the output of those that have not passed yet.
type tally struct {
	passed, failed, skipped int
	failures                []string
	skips                   []string
	output                  map[string]*strings.Builder // by package and test
}

// run runs go with args in a module's folder and counts the events.
func (t *tally) run(module string, args []string) {
	t.output = make(map[string]*strings.Builder)
	cmd := exec.Command("go", args...)
	cmd.Dir = module
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.fail("go " + strings.Join(args, " ") + ": " + err.Error())
		return
	}
	before := len(t.failures)
	t.read(out)
	if err := cmd.Wait(); err != nil && len(t.failures) == before {
		t.fail(fmt.Sprintf("%s: go %s: %v", module, strings.Join(args, " "), err))
	}
}

func (t *tally) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				os.Stdout.Write(line) // not an event but a message of the go command
			} else {
				t.add(e)
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *tally) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if t.output[key] == nil {
			t.output[key] = new(strings.Builder)
		}
		t.output[key].WriteString(e.Output)
	case "build-output":
		fmt.Print(e.Output)
	case "pass":
		t.pass(e)
		delete(t.output, key)
	case "skip":
		if e.Test != "" {
			t.skipped++
			t.skips = append(t.skips, key+": "+t.reason(key))
		}
		delete(t.output, key)
	case "fail":
		t.failEvent(e, key)
		delete(t.output, key)
	}
}

func (t *tally) pass(e event) {
	if e.Test != "" {
		t.passed++
		return
	}
	fmt.Printf("ok    %-60s %6.1fs\n", e.Package, e.Elapsed)
}

func (t *tally) failEvent(e event, key string) {
	if e.Test != "" {
		t.failed++
		t.failures = append(t.failures, key)
	} else if !slices.ContainsFunc(t.failures, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") }) {
		// The package failed outside its tests: in its build, in TestMain, by a timeout, or by a
		// race at exit.
		t.fail(e.Package)
	}
	if o := t.output[key]; o != nil {
		fmt.Printf("---- %s\n%s", strings.TrimSpace(key), o)
	}
	if e.Test == "" {
		fmt.Printf("FAIL  %-60s %6.1fs\n", e.Package, e.Elapsed)
	}
}

// reason returns the line in which a test says why it skipped itself.
func (t *tally) reason(key string) string {
	if t.output[key] == nil {
		return ""
	}
	for line := range strings.Lines(t.output[key].String()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return ""
}

func (t *tally) fail(what string) {
	t.failed++
	t.failures = append(t.failures, what)
	fmt.Println("FAIL  " + what)
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzz runs each fuzz target of a module for the given time.
func (t *tally) fuzz(module, long string) {
	err := filepath.WalkDir(module, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != module && nested(path) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(module, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range fuzzFunc.FindAllStringSubmatch(string(src), -1) {
			t.run(module, []string{"test", "-json", "-run=^$", "-fuzz=^" + m[1] + "$", "-fuzztime=" + long, "./" + filepath.ToSlash(dir)})
		}
		return nil
	})
	if err != nil {
		t.fail("looking for fuzz targets: " + err.Error())
	}
}

// nested reports whether a folder is another module, or holds no code of ours.
func nested(path string) bool {
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return true
	}
	base := filepath.Base(path)
	return base == "testdata" || strings.HasPrefix(base, ".")
}

func (t *tally) print(w io.Writer) {
	for _, s := range t.skips {
		fmt.Fprintln(w, "skipped:", s)
	}
	for _, f := range t.failures {
		fmt.Fprintln(w, "failed:", strings.TrimSpace(f))
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
}
