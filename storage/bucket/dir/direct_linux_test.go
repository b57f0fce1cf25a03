package dir

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// dropPages drops a file's pages from the page cache, if its file system allows it.
func dropPages(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
