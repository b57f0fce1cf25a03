package house

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	commentColumnsMax = 100
	tabColumns        = 4
)

// reworded are the packages whose comments were read line by line and keep to the width. A package
// that is reworded joins the list.
var reworded = []string{
	"bench", "bench/compare", "bench/limits", "bench/load", "broker", "broker/coordinator",
	"broker/group", "catalog", "cmd/sluice", "cmd/sluice/client", "cmd/sluice/config",
	"compat-tests", "compat-tests/beside", "compat-tests/harness", "compat-tests/history",
	"ident", "internal/crc32c", "internal/house", "internal/retry", "internal/unzeroed",
	"metadata", "metadata/controller", "metadata/raft", "node", "protocol", "scripts/gotest",
	"storage", "storage/bucket", "storage/bucket/buckettest", "storage/bucket/dir",
	"storage/bucket/fault", "storage/bucket/mem", "storage/bucket/open", "storage/bucket/s3",
	"storage/bucket/s3/faketest", "storage/cache", "storage/object", "storage/pstate", "vfs",
	"vfs/crashfs", "wal",
}

func TestComments_Width(t *testing.T) {
	tr := repository(t)
	report(t, checkCommentWidth(tr, reworded))
}

// checkCommentWidth wants each line of these packages that holds a comment to end within
// commentColumnsMax, code before the comment included.
func checkCommentWidth(tr *tree, packages []string) []string {
	var problems []string
	for _, f := range tr.files {
		if f.generated || !slices.Contains(packages, path.Dir(f.path)) {
			continue
		}
		src, err := fs.ReadFile(tr.root, f.path)
		if err != nil {
			return []string{err.Error()}
		}
		lines := strings.Split(string(src), "\n")
		for _, group := range f.ast.Comments {
			first, last := tr.fset.Position(group.Pos()).Line, tr.fset.Position(group.End()).Line
			for line := first; line <= last; line++ {
				if n := columns(lines[line-1]); n > commentColumnsMax {
					problems = append(problems, fmt.Sprintf("%s:%d: a comment ends at column %d, at most %d",
						f.path, line, n, commentColumnsMax))
				}
			}
		}
	}
	return problems
}

// columns returns the width of a line that is indented with tabs.
func columns(line string) int {
	text := strings.TrimLeft(line, "\t")
	return (len(line)-len(text))*tabColumns + utf8.RuneCountInString(text)
}

var (
	// elsewhere finds citations of notes that are no part of the repository.
	elsewhere = regexp.MustCompile(`(?i)\btraps? [0-9]+|\bDESIGN\.md|\bSTYLE\.md|\bkafka-protocol\.md|\bedges\.md`)
	// page finds citations of our own documentation.
	page = regexp.MustCompile(`\bdocs/[a-z0-9/_-]+\.md`)
)

func TestComments_CiteOnlyPagesThatExist(t *testing.T) {
	report(t, checkCitations(repository(t)))
}

func checkCitations(tr *tree) []string {
	var problems []string
	for _, f := range tr.files {
		if under(f.path, "internal/house") {
			continue // this package is about citations
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				for _, cited := range elsewhere.FindAllString(c.Text, -1) {
					problems = append(problems, fmt.Sprintf("%s: %s is no page of the repository", tr.at(f, c.Pos()), cited))
				}
				for _, cited := range page.FindAllString(c.Text, -1) {
					if _, err := fs.Stat(tr.root, cited); err != nil {
						problems = append(problems, fmt.Sprintf("%s: cites %s, which does not exist", tr.at(f, c.Pos()), cited))
					}
				}
			}
		}
	}
	return problems
}
