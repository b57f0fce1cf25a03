package house

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sluicemq/sluice"

// file is one parsed Go file.
type file struct {
	path      string // from the root of the tree
	test      bool
	generated bool
	ast       *ast.File
}

// imports lists a file's imports, those of our own packages without the module's name.
func (f *file) imports() []string {
	var list []string
	for _, i := range f.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // cannot happen: the parser has accepted it
		}
		list = append(list, strings.TrimPrefix(p, module+"/"))
	}
	return list
}

// tree is the parsed source of all modules in the repository.
type tree struct {
	root  fs.FS
	fset  *token.FileSet
	files []*file
}

// repository reads the tree that this test is part of.
func repository(t *testing.T) *tree {
	t.Helper()
	tr, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func load(root fs.FS) (*tree, error) {
	tr := &tree{root: root, fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() && (base == "testdata" || name != "." && strings.HasPrefix(base, ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		return tr.parse(name)
	})
	return tr, err
}

func (tr *tree) parse(name string) error {
	src, err := fs.ReadFile(tr.root, name)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(tr.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	tr.files = append(tr.files, &file{
		path: name, test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(f), ast: f,
	})
	return nil
}

// packages maps each folder with Go code to its files.
func (tr *tree) packages() map[string][]*file {
	m := make(map[string][]*file)
	for _, f := range tr.files {
		m[path.Dir(f.path)] = append(m[path.Dir(f.path)], f)
	}
	return m
}

func (tr *tree) at(f *file, p token.Pos) string { return tr.line(f, p, 0) }

// line names the place that lies the given number of lines below p.
func (tr *tree) line(f *file, p token.Pos, below int) string {
	return fmt.Sprintf("%s:%d", f.path, tr.fset.Position(p).Line+below)
}

// under reports whether a package is pkg or inside it.
func under(name, pkg string) bool {
	return name == pkg || strings.HasPrefix(name, pkg+"/")
}

// report fails the test with all problems, sorted.
func report(t *testing.T, problems []string) {
	t.Helper()
	slices.Sort(problems)
	for _, p := range slices.Compact(problems) {
		t.Error(p)
	}
}

// sorted returns the keys of a map in order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
