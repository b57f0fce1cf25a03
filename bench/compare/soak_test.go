package compare

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSoak_ThirdsShowGrowth(t *testing.T) {
	g := &growth{seen: map[string][]float64{
		// The first three are the start.
		"rss_mib": {1, 1, 1, 50, 60, 55, 70, 70, 70, 90, 80, 85},
		"few":     {1, 2, 3, 4},
	}}
	figures := make(map[string]float64)
	g.note(figures)
	if len(figures) != 4 || figures["rss_mib_first_third"] != 55 || figures["rss_mib_middle_third"] != 70 || figures["rss_mib_last_third"] != 85 || figures["rss_mib_max"] != 90 {
		t.Errorf("figures %v, want 55, 70, 85 and 90, and nothing of what was seen too rarely", figures)
	}
}

func TestSoak_Count(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"one": 10, "a/two": 20, "a/b/three": 30} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if files, bytes := count(dir); files != 3 || bytes != 60 {
		t.Errorf("%v files of %v bytes, want 3 of 60", files, bytes)
	}
	if files, _ := count(filepath.Join(dir, "gone")); files != 0 {
		t.Error("a folder that is not there has files")
	}
}
