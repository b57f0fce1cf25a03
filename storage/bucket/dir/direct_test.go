package dir

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

// partlyFS has files whose ReadDirect fills at most direct bytes. before is called after that and
// may change the folder.
type partlyFS struct {
	vfs.FS
	direct int
	before func()
}

type partlyFile struct {
	vfs.File
	disk *partlyFS
}

func (d *partlyFS) OpenRead(name string) (vfs.File, error) {
	f, err := d.FS.OpenRead(name)
	return &partlyFile{f, d}, err
}

func (f *partlyFile) ReadDirect(p []byte, pos int64) int {
	if f.disk.before != nil {
		f.disk.before()
	}
	n, _ := f.ReadAt(p[:min(len(p), f.disk.direct)], pos)
	return n
}

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// However much of a range was read past the page cache, the read returns all of its bytes, or says
// how many there are.
func TestReadAtPartlyDirect(t *testing.T) {
	const key, size = "c1/a.bundle", 20_000
	content := random(1, size)
	disk := &partlyFS{FS: crashfs.New(1)}
	b, err := Open(disk, "/bucket")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), key, bucket.NewBody(content)); err != nil {
		t.Fatal(err)
	}
	for _, disk.direct = range []int{0, 1, 4096, 8192, size - 1, size, size + 1} {
		for _, r := range [][2]int{{0, size}, {4096, 4096}, {4096, size - 4096}, {1, 9000}, {size - 1, 1}} {
			p := make([]byte, r[1])
			if err := b.ReadAt(t.Context(), key, p, int64(r[0])); err != nil || !bytes.Equal(p, content[r[0]:][:r[1]]) {
				t.Errorf("%d direct: %d bytes at %d: %v", disk.direct, r[1], r[0], err)
			}
		}
		for _, r := range [][2]int{{0, size + 1}, {4096, size}, {size, 1}, {size + 4096, 4096}} {
			if err := b.ReadAt(t.Context(), key, make([]byte, r[1]), int64(r[0])); !errors.Is(err, bucket.ErrShort) {
				t.Errorf("%d direct: %d bytes at %d of %d: %v, want ErrShort", disk.direct, r[1], r[0], size, err)
			}
		}
	}
	disk.before = func() { t.Error("read for a context that has ended") }
	ended, end := context.WithCancel(t.Context())
	end()
	if err := b.ReadAt(ended, key, make([]byte, 4096), 0); !errors.Is(err, bucket.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// On a real disk, with and without the object in the page cache.
func TestReadAtCold(t *testing.T) {
	const key, size = "a", 3<<20 + 100
	content, root := random(2, size), t.TempDir()
	b, err := Open(vfs.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), key, bucket.NewBody(content)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4<<20)
	for _, r := range [][2]int{{0, 1 << 20}, {1 << 20, 1 << 20}, {3 << 20, 100}, {0, size}, {4096, 5000}, {4095, 1 << 20}, {2 << 20, 1<<20 + 99}} {
		for range 2 {
			dropPages(t, filepath.Join(root, key))
			for _, shift := range []int{0, 1} {
				p := buffer[shift:][:r[1]]
				clear(p)
				if err := b.ReadAt(t.Context(), key, p, int64(r[0])); err != nil || !bytes.Equal(p, content[r[0]:][:r[1]]) {
					t.Errorf("%d bytes at %d: %v", r[1], r[0], err)
				}
			}
		}
	}
	dropPages(t, filepath.Join(root, key))
	for _, r := range [][2]int64{{0, 4 << 20}, {3 << 20, 1 << 20}, {4 << 20, 1 << 20}} {
		if err := b.ReadAt(t.Context(), key, buffer[:r[1]], r[0]); !errors.Is(err, bucket.ErrShort) {
			t.Errorf("%d bytes at %d: %v, want ErrShort", r[1], r[0], err)
		}
	}
}

// If somebody else replaces an object while it is read, all bytes come from one of the two files.
func TestReadAtReplacedMeanwhile(t *testing.T) {
	const key, size = "a", 1<<20 + 100
	before, after, root := random(3, size), random(4, size), t.TempDir()
	disk := &replacingFS{FS: vfs.OS()}
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), key, bucket.NewBody(before)); err != nil {
		t.Fatal(err)
	}
	dropPages(t, filepath.Join(root, key))
	disk.replace = func() error {
		other := filepath.Join(root, "other")
		return errors.Join(os.WriteFile(other, after, 0o600), os.Rename(other, filepath.Join(root, key)))
	}
	p := make([]byte, size)
	if err := b.ReadAt(t.Context(), key, p, 0); err != nil || disk.err != nil || !bytes.Equal(p, before) {
		t.Errorf("read %v, replaced %v; the old bytes: %v", err, disk.err, bytes.Equal(p, before))
	}
	disk.replace = nil
	if err := b.ReadAt(t.Context(), key, p, 0); err != nil || !bytes.Equal(p, after) {
		t.Errorf("afterwards: %v", err)
	}
}

// replacingFS calls replace between the opening and the reading of a file.
type replacingFS struct {
	vfs.FS
	replace func() error
	err     error
}

func (d *replacingFS) OpenRead(name string) (vfs.File, error) {
	f, err := d.FS.OpenRead(name)
	if d.replace != nil {
		d.err = d.replace()
	}
	return f, err
}
