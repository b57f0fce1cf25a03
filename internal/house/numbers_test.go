package house

import (
	"fmt"
	"go/ast"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The invariants are I1 to I16, the interleavings E1 to E30. logRules are those that one broker
// without compaction has to handle.
const (
	invariantMax = 16
	edgeMax      = 30
	architecture = "docs/architecture.md"
)

var logRules = []int{1, 7, 8, 11, 12, 13, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}

var (
	number     = regexp.MustCompile(`\b([IE])([0-9]{1,2})\b`)
	testNumber = regexp.MustCompile(`^(?:Test|Fuzz)([IE])([0-9]{1,2})(?:_|$)`)
	// inName finds further numbers in a test's name: TestE12_E23_Void.
	inName = regexp.MustCompile(`_([IE])([0-9]{1,2})(?:_|$)`)
)

// numbers says where each number (I7, E25) is used.
type numbers struct {
	claimed map[string]string // in comments of code, one place each
	tested  map[string]string // in comments and names of tests
	named   map[string]string // in names of tests only
}

func collect(tr *tree) numbers {
	n := numbers{make(map[string]string), make(map[string]string), make(map[string]string)}
	for _, f := range tr.files {
		if under(f.path, "internal/house") {
			continue // this package is about the numbers
		}
		n.comments(tr, f)
		if f.test {
			n.testNames(tr, f)
		}
	}
	return n
}

func (n numbers) comments(tr *tree, f *file) {
	into := n.claimed
	if f.test {
		into = n.tested
	}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			for line, text := range strings.Split(c.Text, "\n") {
				for _, m := range number.FindAllString(text, -1) {
					if _, have := into[m]; !have {
						into[m] = tr.line(f, c.Pos(), line)
					}
				}
			}
		}
	}
}

func (n numbers) testNames(tr *tree, f *file) {
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil {
			continue
		}
		var found [][]string
		if m := testNumber.FindStringSubmatch(fn.Name.Name); m != nil {
			found = append(found, m)
			found = append(found, inName.FindAllStringSubmatch(fn.Name.Name, -1)...)
		}
		for _, m := range found {
			n.tested[m[1]+m[2]] = tr.at(f, fn.Pos())
			n.named[m[1]+m[2]] = tr.at(f, fn.Pos())
		}
	}
}

func TestNumbers_AreExplained(t *testing.T) {
	tr := repository(t)
	page, err := fs.ReadFile(tr.root, architecture)
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkExplained(collect(tr), string(page)))
}

// checkExplained wants every number that code or tests use on the architecture page.
func checkExplained(n numbers, page string) []string {
	listed := make(map[string]bool)
	for _, m := range number.FindAllString(page, -1) {
		listed[m] = true
	}
	var problems []string
	for _, used := range []map[string]string{n.claimed, n.tested} {
		for _, name := range sorted(used) {
			if !exists(name) {
				problems = append(problems, fmt.Sprintf("%s: there is no %s (I1 to I%d, E1 to E%d)", used[name], name, invariantMax, edgeMax))
			} else if !listed[name] {
				problems = append(problems, fmt.Sprintf("%s: %s is not listed in %s", used[name], name, architecture))
			}
		}
	}
	return problems
}

func exists(name string) bool {
	n, err := strconv.Atoi(name[1:])
	if err != nil || n < 1 || strings.HasPrefix(name[1:], "0") {
		return false
	}
	return name[0] == 'I' && n <= invariantMax || name[0] == 'E' && n <= edgeMax
}

func TestNumbers_InvariantsAreTested(t *testing.T) {
	report(t, checkInvariantsTested(collect(repository(t))))
}

// checkInvariantsTested wants a test that bears the number for each invariant that code claims.
func checkInvariantsTested(n numbers) []string {
	var problems []string
	for _, name := range sorted(n.claimed) {
		if name[0] == 'I' && exists(name) && n.tested[name] == "" {
			problems = append(problems, fmt.Sprintf("%s: claims %s, and no test bears that number", n.claimed[name], name))
		}
	}
	return problems
}

func TestNumbers_LogRulesArePlayed(t *testing.T) {
	report(t, checkRulesPlayed(collect(repository(t)), logRules))
}

// checkRulesPlayed wants a test named after each rule: TestE25_….
func checkRulesPlayed(n numbers, rules []int) []string {
	var problems []string
	for _, rule := range rules {
		if name := fmt.Sprintf("E%d", rule); n.named[name] == "" {
			problems = append(problems, fmt.Sprintf("rule %s has no test named Test%s_… that plays its interleaving", name, name))
		}
	}
	return problems
}
