package house

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestPackageDocs(t *testing.T) {
	report(t, checkPackageDocs(repository(t)))
}

// checkPackageDocs wants one package comment per package, in doc.go or in the
// file that bears the package's name (main.go for a command), saying what it may import.
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

// Tests wait for signals or run in virtual time; a sleep is slow and still too short one day.
func TestNoSleepInTests(t *testing.T) {
	report(t, checkSleep(repository(t)))
}

func checkSleep(tr *tree) []string {
	var problems []string
	for _, f := range tr.files {
		if !f.test && !under(f.path, "compat-tests") {
			continue
		}
		if usesSynctest(f) {
			continue // in a bubble time is virtual
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Sleep" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				problems = append(problems, tr.at(f, n.Pos())+": time.Sleep in a test: wait for a signal, or use testing/synctest")
			}
			return true
		})
	}
	return problems
}

func usesSynctest(f *file) bool {
	for _, i := range f.imports() {
		if i == "testing/synctest" {
			return true
		}
	}
	return false
}

// link is a relative link of Markdown: [text](target).
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
