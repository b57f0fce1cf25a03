package house

import (
	"fmt"
	"go/ast"
	"path"
	"strings"
	"testing"
)

// edge is an import that must not be: "from" (or a package inside it) must not import "to" (or a
// package inside it), directly or through other packages of ours. Some edges are only forbidden
// directly; see direct.
type edge struct{ from, to, reason string }

// direct are the edges that are only forbidden as a direct import, because a layer between the two
// is the right way.
var direct = map[[2]string]bool{
	{"broker", "wal"}:            true, // through storage
	{"broker", "storage/bucket"}: true, // through storage
}

var forbidden = []edge{
	{"wal", "metadata", "storage and node join them; each can be replaced alone"},
	{"metadata", "wal", "the same"},
	{"wal", "storage", "imports point down: the WAL makes bytes durable, offsets are storage's"},
	{"wal", "broker", "imports point down"},
	{"wal", "catalog", "the WAL knows incarnations and positions, not what the quorum decided"},
	{"storage", "metadata", "storage declares Catalog, node joins the two"},
	{"metadata", "storage", "the quorum holds facts, not bytes; node joins the two"},
	{"storage", "broker", "imports point down"},
	{"metadata", "broker", "imports point down"},
	{"metadata", "metadata/controller", "the state machine judges commands, whoever proposes them"},
	{"metadata/raft", "metadata/controller", "the same"},
	{"broker", "metadata", "broker declares Topics, node joins the two"},
	{"broker/group", "storage", "groups are values in, values out; their shell appends"},
	{"broker/group", "catalog", "the same: what topics there are is an argument"},
	{"broker", "wal", "storage is the only way to the WAL"},
	{"broker", "storage/bucket", "storage is the only way to the bucket"},
	{"storage/bucket", "protocol", "buckets hold bytes, not Kafka"},
	{"storage/bucket", "wal", "buckets hold bytes, not groups"},
	{"storage/bucket", "catalog", "buckets hold bytes; what they mean is the quorum's business"},
	{"storage/object", "storage/bucket", "formats are values to bytes, without I/O"},
	{"storage/cache", "protocol", "the cache holds blocks of bytes"},
	{"protocol", "net", "pure codec; sockets belong to broker"},
	{"protocol", "os", "pure codec"},
	{"protocol", "storage", "imports point down"},
	{"protocol", "catalog", "a codec knows the wire and nothing else of ours"},
	{"catalog", "protocol", "catalog is facts of the quorum; the wire is not its business"},
	{"catalog", "storage", "imports point down"},
	{"catalog", "metadata", "metadata uses these values, not the other way round"},
	{"ident", "catalog", "ident is the bottom: it imports nothing of ours"},
	{"ident", "protocol", "the same"},
	{"ident", "storage", "the same"},
	{"ident", "vfs", "the same"},
	{"vfs", "ident", "a file system knows nothing of ours"},
	{"vfs", "catalog", "the same"},
	{"vfs", "protocol", "the same"},
	{"vfs", "storage", "the same"},
	{"vfs", "wal", "the same"},
	{"cmd/sluice/config", "broker", "configuration is values; main makes the parts' of them"},
	{"cmd/sluice/config", "storage", "the same"},
	{"cmd/sluice/config", "node", "the same"},
	{"cmd/sluice/config", "os", "files and variables come in as arguments"},
	{"broker", "node", "node puts the parts together, none of them knows it"},
	{"storage", "node", "the same"},
	{"metadata", "node", "the same"},
	{"wal", "node", "the same"},
	{".", "cmd", "cmd is the top"},
	{"compat-tests", ".", "black box: speak the wire"},
}

// only says which packages alone may import a module.
var only = []struct {
	module, reason string
	by             []string
}{
	{"github.com/aws", "the AWS SDK stays behind the Bucket interface", []string{"storage/bucket/s3"}},
	{"github.com/hashicorp/raft", "Raft stays behind the proposer", []string{"metadata/raft"}},
	{"go.etcd.io/bbolt", "one log store", []string{"metadata/raft"}},
	{"github.com/spf13/cobra", "only cmd reads flags", []string{"cmd"}},
	{"github.com/twmb/franz-go/pkg/kgo", "a client; the broker must not depend on one", []string{"cmd", "bench", "compat-tests"}},
	{"github.com/johannesboyne/gofakes3", "a test server, in a module of its own", nil},
}

func TestFloors_ForbiddenImports(t *testing.T) {
	report(t, checkForbidden(repository(t), forbidden))
}

func TestFloors_OneOwnerPerDependency(t *testing.T) {
	tr := repository(t)
	var problems []string
	for _, f := range tr.files {
		pkg := path.Dir(f.path)
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			for _, o := range only {
				if under(imp, o.module) && !allowed(pkg, o.by) {
					problems = append(problems, fmt.Sprintf("%s imports %s; only %s may: %s", f.path, imp, strings.Join(o.by, ", "), o.reason))
				}
			}
		}
	}
	report(t, problems)
}

func allowed(pkg string, by []string) bool {
	for _, b := range by {
		if under(pkg, b) {
			return true
		}
	}
	return false
}

// checkForbidden follows imports through our own packages. The test files of a package may import
// more than the package may, to test several layers together, except in compat-tests.
func checkForbidden(tr *tree, edges []edge) []string {
	imports := make(map[string][]string)
	for dir, files := range tr.packages() {
		for _, f := range files {
			if !f.test || under(dir, "compat-tests") {
				imports[dir] = append(imports[dir], f.imports()...)
			}
		}
	}
	var problems []string
	for _, dir := range sorted(imports) {
		for imp, via := range closure(imports, dir) {
			for _, e := range edges {
				if direct[[2]string{e.from, e.to}] && len(via) > 2 {
					continue
				}
				if e.covers(dir, imp, imports) {
					problems = append(problems, fmt.Sprintf("%s must not import %s (%s): %s", e.from, e.to, strings.Join(via, " -> "), e.reason))
				}
			}
		}
	}
	return problems
}

// covers reports whether dir importing imp is the edge. "." stands for every package of the
// broker's module.
func (e edge) covers(dir, imp string, ours map[string][]string) bool {
	_, known := ours[imp]
	broker := func(p string) bool { return !under(p, "compat-tests") }
	from := under(dir, e.from) || e.from == "." && broker(dir) && !under(dir, e.to)
	to := under(imp, e.to) || e.to == "." && (known || under(imp, module)) && broker(imp)
	return from && to && !(under(dir, e.to) && e.to != ".")
}

// closure returns everything that dir imports, each with the path that leads to it.
func closure(imports map[string][]string, dir string) map[string][]string {
	found := make(map[string][]string)
	var walk func(pkg string, via []string)
	walk = func(pkg string, via []string) {
		for _, imp := range imports[pkg] {
			if _, seen := found[imp]; seen || imp == dir {
				continue
			}
			found[imp] = append(via[:len(via):len(via)], imp)
			// Only the imports of our own packages are followed further.
			if _, ours := imports[imp]; ours {
				walk(imp, found[imp])
			}
		}
	}
	walk(dir, []string{dir})
	return found
}

// pure names the packages that take values and return values. Time is an argument there.
var pure = []string{"metadata", "storage/pstate", "storage/object", "protocol", "catalog", "ident", "broker/group"}

// impure are imports that no pure core has.
var impure = map[string]string{
	"math/rand": "chance", "math/rand/v2": "chance", "crypto/rand": "chance",
	"os": "I/O", "net": "I/O", "log/slog": "I/O", "io/ioutil": "I/O",
}

// clock are the functions of package time that read a clock or wait for one.
var clock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

func TestPureCores(t *testing.T) {
	tr := repository(t)
	report(t, checkPure(tr, pure))
}

func checkPure(tr *tree, cores []string) []string {
	var problems []string
	packages := tr.packages()
	for _, core := range cores {
		if len(packages[core]) == 0 {
			problems = append(problems, core+" is named as a pure core and has no code: write it or take it off the list")
		}
		for _, f := range packages[core] {
			if !f.test {
				problems = append(problems, impurities(tr, f)...)
			}
		}
	}
	return problems
}

func impurities(tr *tree, f *file) []string {
	var problems []string
	for _, imp := range f.imports() {
		if why, bad := impure[imp]; bad {
			problems = append(problems, fmt.Sprintf("%s: a pure core imports %s (%s); hand it in as an argument", f.path, imp, why))
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			problems = append(problems, tr.at(f, n.Pos())+": a pure core starts a goroutine; that belongs to the shell around it")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && clock[n.Sel.Name] {
				problems = append(problems, tr.at(f, n.Pos())+": a pure core uses time."+n.Sel.Name+"; time is an argument")
			}
		}
		return true
	})
	return problems
}
