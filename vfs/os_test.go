package vfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluicemq/sluice/vfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOSWriteVec(t *testing.T) {
	disk := vfs.OS()
	for _, count := range []int{0, 1, 3, 1024, 1025, 3000} {
		name := filepath.Join(t.TempDir(), "f")
		f, err := disk.Create(name)
		must(t, err)
		var bufs [][]byte
		for i := range count {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, 1+i%7))
		}
		before := slices.Clone(bufs)
		want := bytes.Join(bufs, nil)
		n, calls, err := f.WriteVec(bufs, 10)
		must(t, err)
		if n != int64(len(want)) || calls != (count+1023)/1024 {
			t.Fatalf("%d buffers: %d bytes in %d calls, want %d", count, n, calls, len(want))
		}
		for i := range bufs {
			if len(bufs[i]) != len(before[i]) {
				t.Fatal("the caller's buffers were changed")
			}
		}
		must(t, f.Datasync())
		must(t, f.Sync())
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, 10); err != nil && count > 0 {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d buffers: read back other bytes", count)
		}
		must(t, f.Close())
	}
}

func TestOSNames(t *testing.T) {
	disk := vfs.OS()
	dir := filepath.Join(t.TempDir(), "a", "b")
	must(t, disk.MkdirAll(dir))
	f, err := disk.Create(filepath.Join(dir, "x"))
	must(t, err)
	must(t, f.Truncate(5))
	if size, err := f.Size(); err != nil || size != 5 {
		t.Fatalf("size %d, %v", size, err)
	}
	must(t, f.Close())
	if _, err := disk.Create(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create of a taken name: %v", err)
	}
	must(t, disk.Link(filepath.Join(dir, "x"), filepath.Join(dir, "y")))
	if err := disk.Link(filepath.Join(dir, "x"), filepath.Join(dir, "y")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("link to a taken name: %v", err)
	}
	must(t, disk.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "z")))
	must(t, disk.SyncDir(dir))
	names, err := disk.List(dir)
	must(t, err)
	if !slices.Equal(names, []string{"y", "z"}) {
		t.Fatalf("got %v", names)
	}
	if _, err := disk.OpenRead(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of an absent name: %v", err)
	}
	must(t, disk.RemoveAll(dir))
	if _, err := disk.List(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("list of an absent folder: %v", err)
	}
}

// /dev/full answers ENOSPC to every write.
func TestOSFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Logf("no /dev/full on this platform: %v", err)
		return
	}
	f, err := vfs.OS().Open("/dev/full")
	must(t, err)
	defer f.Close()
	if _, _, err := f.WriteVec([][]byte{{1}, {2}}, 0); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("WriteVec: %v", err)
	}
	if _, err := f.WriteAt([]byte{1}, 0); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("WriteAt: %v", err)
	}
}
