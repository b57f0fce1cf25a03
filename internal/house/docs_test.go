package house

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPackageDocs(t *testing.T) {
	report(t, checkPackageDocs(repository(t)))
}

// checkPackageDocs wants one package comment per package, in doc.go or in the file that bears the
// package's name (main.go for a command). It must say what the package may import.
func checkPackageDocs(tr *tree) []string {
	var problems []string
	for dir, files := range tr.packages() {
		var docs []*file
		code := false
		for _, f := range files {
			if f.test || f.generated {
				continue
			}
			code = true
			if f.ast.Doc != nil {
				docs = append(docs, f)
			}
		}
		if code {
			problems = append(problems, docProblems(dir, docs)...)
		}
	}
	return problems
}

func docProblems(dir string, docs []*file) []string {
	if len(docs) != 1 {
		var names []string
		for _, f := range docs {
			names = append(names, path.Base(f.path))
		}
		return []string{fmt.Sprintf("%s has %d package comments %v: want exactly one, in doc.go", dir, len(docs), names)}
	}
	f := docs[0]
	name := f.ast.Name.Name
	if base := path.Base(f.path); base != "doc.go" && base != name+".go" {
		return []string{fmt.Sprintf("%s: the package comment belongs in doc.go", f.path)}
	}
	if name != "main" && !strings.Contains(strings.ToLower(f.ast.Doc.Text()), "import") {
		return []string{fmt.Sprintf("%s: the package comment does not say what the package may import", f.path)}
	}
	return nil
}

// unfinished marks work that was left for later.
var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestNothingLeftForLater(t *testing.T) {
	tr := repository(t)
	var problems []string
	for _, f := range tr.files {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if word := unfinished.FindString(c.Text); word != "" {
					problems = append(problems, fmt.Sprintf("%s: %s: do it or open an issue", tr.at(f, c.Pos()), word))
				}
			}
		}
	}
	report(t, problems)
}

// Tests wait for signals or run in virtual time. A sleep is slow, and one day it is too short.
func TestNoSleepInTests(t *testing.T) {
	report(t, checkSleep(repository(t)))
}

// checkSleep lets a test sleep if the test runs in a bubble: it calls synctest.Test, or a helper of
// its package that does. A function that is not a test itself may sleep if its package has bubbles.
func checkSleep(tr *tree) []string {
	bubbles := bubbleHelpers(tr)
	var problems []string
	for _, f := range tr.files {
		if !f.test && !under(f.path, "compat-tests") {
			continue
		}
		helpers := bubbles[path.Dir(f.path)]
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && (callsAny(fn, helpers) || len(helpers) > 0 && !isTest(fn.Name.Name)) {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if selects(n, "time", "Sleep") {
					problems = append(problems, tr.at(f, n.Pos())+": time.Sleep in a test: wait for a signal, or use testing/synctest")
				}
				return true
			})
		}
	}
	return problems
}

// bubbleHelpers names, by folder, the functions in tests that call synctest.Test.
func bubbleHelpers(tr *tree) map[string][]string {
	helpers := make(map[string][]string)
	for _, f := range tr.files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !f.test {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if selects(n, "synctest", "Test") {
					dir := path.Dir(f.path)
					helpers[dir] = append(helpers[dir], fn.Name.Name)
				}
				return true
			})
		}
	}
	return helpers
}

// callsAny reports that a function mentions one of these names or bears one.
func callsAny(fn *ast.FuncDecl, names []string) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && slices.Contains(names, id.Name)
		return !found
	})
	return found
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Benchmark")
}

// selects reports that n is pkg.name.
func selects(n ast.Node, pkg, name string) bool {
	s, ok := n.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// link finds a relative link of Markdown: [text](target).
var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)

// A page must not describe files that do not exist.
func TestLinksInDocs(t *testing.T) {
	report(t, checkLinks(repository(t).root))
}

func checkLinks(root fs.FS) []string {
	var problems []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && strings.HasPrefix(path.Base(name), ".") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := fs.Stat(root, path.Join(path.Dir(name), target)); err != nil {
				problems = append(problems, fmt.Sprintf("%s links to %s, which does not exist", name, target))
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}
