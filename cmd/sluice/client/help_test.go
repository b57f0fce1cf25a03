package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp pins every help text, since people learn the commands from it.
func TestHelp(t *testing.T) {
	for _, c := range Commands() {
		eachCommand(c, nil, func(path []string) {
			name := strings.Join(path, "-")
			t.Run(name, func(t *testing.T) {
				got := must(t, "", append(path, "--help")...)
				golden(t, filepath.Join("testdata", "help", name+".txt"), got)
				if !strings.Contains(got, "Exit codes:") {
					t.Error("the exit codes are not told")
				}
				for line := range strings.Lines(got) {
					if n := len([]rune(line)); n > 130 {
						t.Errorf("a line of %d characters: %s", n, line)
					}
				}
			})
		})
	}
}

func eachCommand(c *cobra.Command, above []string, do func(path []string)) {
	path := append(append([]string{}, above...), c.Name())
	do(path)
	for _, sub := range c.Commands() {
		eachCommand(sub, path, do)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs at %s", file, firstDifference(string(want), got))
	}
}
