package crashfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put makes a file of n pages filled with b and leaves it open and unsynced.
func put(t *testing.T, d *crashfs.FS, name string, b byte, pages int) vfs.File {
	t.Helper()
	f, err := d.Create(name)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{b}, pages*4096), 0)
	must(t, err)
	return f
}

func read(t *testing.T, d *crashfs.FS, name string) []byte {
	t.Helper()
	f, err := d.OpenRead(name)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	p := make([]byte, size)
	_, err = f.ReadAt(p, 0)
	must(t, err)
	return p
}

func TestSyncedSurvives(t *testing.T) {
	for seed := range uint64(50) {
		d := crashfs.New(seed)
		must(t, d.MkdirAll("/a/b"))
		must(t, d.SyncDir("/"))
		must(t, d.SyncDir("/a"))
		f := put(t, d, "/a/b/f", 7, 3)
		must(t, f.Datasync())
		must(t, d.SyncDir("/a/b"))
		d = d.Crash()
		if got := read(t, d, "/a/b/f"); !bytes.Equal(got, bytes.Repeat([]byte{7}, 3*4096)) {
			t.Fatalf("seed %d: synced bytes changed", seed)
		}
	}
}

// Over some seeds, every possible outcome for an unsynced page and an unsynced name occurs.
func TestUnsyncedMayGo(t *testing.T) {
	fates := map[string]int{}
	for seed := range uint64(200) {
		d := crashfs.New(seed)
		f := put(t, d, "/f", 1, 4)
		must(t, f.Sync())
		must(t, d.SyncDir("/"))
		_, err := f.WriteAt(bytes.Repeat([]byte{2}, 4*4096), 0)
		must(t, err)
		put(t, d, "/g", 3, 1)
		must(t, d.Rename("/f", "/h"))
		d = d.Crash()
		names, err := d.List("/")
		must(t, err)
		fates[strings.Join(names, " ")]++
		for _, name := range []string{"/f", "/h"} {
			if _, err := d.Stat(name); err != nil {
				continue
			}
			for page := range slices.Chunk(read(t, d, name), 4096) {
				fates[fateOf(page)]++
			}
		}
	}
	for _, want := range []string{"old", "new", "torn", "garbage", "f", "h", "f g", "f h", "f g h", "g h"} {
		if fates[want] == 0 {
			t.Errorf("never seen in 200 seeds: %s (seen %v)", want, fates)
		}
	}
}

func fateOf(page []byte) string {
	switch ones, twos := bytes.Count(page, []byte{1}), bytes.Count(page, []byte{2}); {
	case ones == len(page):
		return "old"
	case twos == len(page):
		return "new"
	case ones+twos == len(page):
		return "torn"
	}
	return "garbage"
}

func TestKillKeepsThePageCache(t *testing.T) {
	d := crashfs.New(1)
	f := put(t, d, "/f", 5, 2)
	d2 := d.Kill()
	if got := read(t, d2, "/f"); !bytes.Equal(got, bytes.Repeat([]byte{5}, 2*4096)) {
		t.Fatal("a killed process lost page cache")
	}
	if err := f.Sync(); !errors.Is(err, crashfs.ErrDead) {
		t.Fatalf("sync of the dead process: %v", err)
	}
	// The sync of the next process covers what the dead one left dirty.
	g, err := d2.Open("/f")
	must(t, err)
	must(t, g.Sync())
	must(t, d2.SyncDir("/"))
	if got := read(t, d2.Crash(), "/f"); !bytes.Equal(got, bytes.Repeat([]byte{5}, 2*4096)) {
		t.Fatal("lost after a sync")
	}
}

// A failed fsync leaves bytes that can be read, that a second, successful fsync does not save, and
// that a power cut takes away.
func TestFailedSyncMerelyLooksClean(t *testing.T) {
	d := crashfs.New(1)
	f := put(t, d, "/f", 1, 1)
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	_, err := f.WriteAt(bytes.Repeat([]byte{2}, 4096), 0)
	must(t, err)
	d.FailAt(len(d.Calls())+1, crashfs.EIO)
	if err := f.Sync(); !errors.Is(err, crashfs.EIO) {
		t.Fatalf("got %v", err)
	}
	must(t, f.Sync())
	if fateOf(read(t, d, "/f")) != "new" {
		t.Fatal("the cache lost the bytes")
	}
	if fateOf(read(t, d.Crash(), "/f")) != "old" {
		t.Fatal("a page that was marked clean survived the power cut")
	}
}

func TestFailAndKill(t *testing.T) {
	d := crashfs.New(3)
	d.FailAt(1, vfs.ErrNoSpace)
	if _, err := d.Create("/f"); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	f, err := d.Create("/f")
	must(t, err)
	if _, err := d.Create("/f"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create of a taken name: %v", err)
	}
	d.KillAt(4)
	if _, err := f.WriteAt(make([]byte, 9999), 0); !errors.Is(err, crashfs.ErrDead) {
		t.Fatalf("got %v", err)
	}
	if err := d.Remove("/f"); !errors.Is(err, crashfs.ErrDead) || !d.Dead() {
		t.Fatalf("after the kill: %v", err)
	}
	if got := len(d.Calls()); got != 4 {
		t.Fatalf("%d calls counted, want 4: dead ones do not count", got)
	}
	if got := len(read(t, d.Kill(), "/f")); got == 9999 {
		t.Fatal("a killed write was whole with this seed: choose another")
	}
}

func TestLink(t *testing.T) {
	d := crashfs.New(1)
	put(t, d, "/tmp1", 1, 1)
	must(t, d.Link("/tmp1", "/key"))
	if err := d.Link("/tmp1", "/key"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	must(t, d.Remove("/tmp1"))
	if fateOf(read(t, d, "/key")) != "old" {
		t.Fatal("content")
	}
}
