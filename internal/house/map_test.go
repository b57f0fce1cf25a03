package house

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	mapPage = "docs/architecture.md"
	fence   = "```\n"
	// mapPattern stands for all files of a kind.
	mapPattern = "api_NN_name.go"
)

// mapWhole are the packages of which the file map names every file.
var mapWhole = []string{"storage"}

var (
	mapFile = regexp.MustCompile(`\b\w+\.go\b`)
	mapWord = regexp.MustCompile(`[\w-]+`)
)

// The file map at the top of docs/architecture.md names what there is, and nothing else.
func TestFileMap(t *testing.T) {
	report(t, checkFileMap(repository(t)))
}

// checkFileMap wants everything that the map names to exist, every package to be named in it, and
// every file of the packages in mapWhole.
func checkFileMap(tr *tree) []string {
	text, err := fs.ReadFile(tr.root, mapPage)
	if err != nil {
		return []string{err.Error()}
	}
	_, rest, _ := strings.Cut(string(text), fence)
	lines, _, _ := strings.Cut(rest, fence)
	named, problems := readMap(tr.root, lines)
	words := mapWord.FindAllString(lines, -1)
	for dir, files := range tr.packages() {
		if !slices.ContainsFunc(files, isCode) {
			continue
		}
		if !slices.Contains(words, path.Base(dir)) {
			problems = append(problems, fmt.Sprintf("%s: the file map does not name package %s", mapPage, dir))
		}
		for _, f := range files {
			if slices.Contains(mapWhole, dir) && isCode(f) && path.Base(f.path) != "doc.go" && !slices.Contains(named, f.path) {
				problems = append(problems, fmt.Sprintf("%s: the file map does not name %s", mapPage, f.path))
			}
		}
	}
	return problems
}

// isCode reports that a person wrote the file, and not for tests.
func isCode(f *file) bool { return !f.test && !f.generated }

// readMap returns the files that the map names, and a problem for each thing that does not exist. A
// line begins with a path; an indented path is below the last one that is not indented. Go files
// that the rest of the line names are in the same folder.
func readMap(root fs.FS, lines string) (named, problems []string) {
	parent := ""
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		at := path.Clean(strings.TrimSuffix(fields[0], ","))
		if line[0] == ' ' {
			at = path.Join(parent, at)
		} else {
			parent = at
		}
		dir := at
		if strings.HasSuffix(at, ".go") {
			dir = path.Dir(at)
		}
		paths := []string{at}
		for _, name := range mapFile.FindAllString(line, -1) {
			if name != mapPattern {
				paths = append(paths, path.Join(dir, name))
			}
		}
		for _, p := range slices.Compact(paths) {
			if _, err := fs.Stat(root, p); err != nil {
				problems = append(problems, fmt.Sprintf("%s: the file map names %s, which does not exist", mapPage, p))
			}
		}
		named = append(named, paths...)
	}
	return named, problems
}
