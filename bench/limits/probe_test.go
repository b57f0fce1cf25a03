package limits

import (
	"os"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket/open"
)

// A probe returns the figures that it promises, and leaves nothing behind.
func TestProbes(t *testing.T) {
	dir := t.TempDir()
	figures, err := Fdatasync(dir)
	must(t, err)
	positive(t, figures, "fdatasync_p50_ms", "fdatasync_p99_ms", "fdatasync_64k_p50_ms", "fdatasync_64k_p99_ms", "fdatasync_1m_p50_ms", "fdatasync_1m_p99_ms")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	url := "file://" + t.TempDir()
	figures, err = Put(t.Context(), url, 40<<20)
	must(t, err)
	positive(t, figures, "put_mib_per_second", "put_p50_ms")
	figures, err = Get(t.Context(), url, 40<<20)
	must(t, err)
	positive(t, figures, "put_mib_per_second", "put_p50_ms", "get_mib_per_second", "get_p50_ms")
	b, err := open.Open(t.Context(), url, open.Options{ReadOnly: true})
	must(t, err)
	defer b.Close()
	for info, err := range b.List(t.Context(), "", "") {
		t.Errorf("left behind: %+v, %v", info, err)
	}
}

func positive(t *testing.T, figures map[string]float64, names ...string) {
	t.Helper()
	for _, name := range names {
		if figures[name] <= 0 {
			t.Errorf("%s is %v", name, figures[name])
		}
	}
	if len(figures) != len(names) {
		t.Errorf("%d figures: %v, wanted %v", len(figures), figures, names)
	}
}

// An upload that the store refuses is an error, not a figure.
func TestProbes_Refused(t *testing.T) {
	_, url := startBucket(t, Config{})
	if _, err := Put(t.Context(), url, 1); err != nil {
		t.Error(err)
	}
	if figures, err := Get(t.Context(), url, 1); err == nil {
		t.Errorf("a bucket that throws bodies away was read: %v", figures)
	}
}
