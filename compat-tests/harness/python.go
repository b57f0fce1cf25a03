package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Python starts a script with the pinned clients that `make tools` installs.
func Python(t testing.TB, script string, args ...string) *Program {
	t.Helper()
	python := filepath.Join(toolsDir(), "python", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		Missing(t, "Python's clients")
	}
	name := strings.TrimSuffix(filepath.Base(script), ".py") + " " + strings.Join(args, " ")
	return Exec(t, name, exec.Command(python, append([]string{"-u", script}, args...)...))
}
