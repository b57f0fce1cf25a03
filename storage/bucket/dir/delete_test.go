package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

const largeKey = "c1/cd/large"

var largeBytes = bytes.Repeat([]byte("much"), (2*shrinkStep+shrinkStep/4)/4)

// largeScene is a disk with a small object, and an object in the same folder that is large enough
// to be deleted in steps.
func largeScene(t *testing.T, seed uint64) *crashfs.FS {
	t.Helper()
	disk := scene(t, seed)
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), largeKey, bucket.NewBody(largeBytes)); err != nil {
		t.Fatal(err)
	}
	return disk
}

func deletingLife(ctx context.Context, disk *crashfs.FS) error {
	b, err := Open(disk, root)
	if err != nil {
		return err
	}
	return b.Delete(ctx, largeKey)
}

// auditDeleted checks that the object is whole or absent, that it is absent if its Delete
// succeeded, and that another Delete succeeds.
func auditDeleted(t *testing.T, disk *crashfs.FS, err error) {
	t.Helper()
	b, oerr := Open(disk, root)
	if oerr != nil {
		t.Fatalf("open afterwards: %v", oerr)
	}
	if got, rerr := bucket.ReadAll(t.Context(), b, oldKey, 1<<20); rerr != nil || !bytes.Equal(got, oldBytes) {
		t.Fatalf("the other object has changed: %d bytes, %v", len(got), rerr)
	}
	got, rerr := bucket.ReadAll(t.Context(), b, largeKey, 2*int64(len(largeBytes)))
	switch {
	case rerr == nil && !bytes.Equal(got, largeBytes):
		t.Fatalf("the object is there, but not whole: %d bytes (delete said: %v)", len(got), err)
	case rerr == nil && err == nil:
		t.Fatal("delete said success, and the object is there")
	case rerr != nil && !errors.Is(rerr, bucket.ErrNotFound):
		t.Fatal(rerr)
	}
	noTemporaries(t, disk)
	if err := b.Delete(t.Context(), largeKey); err != nil {
		t.Fatalf("delete again: %v", err)
	}
	if _, err := b.Stat(t.Context(), largeKey); !errors.Is(err, bucket.ErrNotFound) {
		t.Fatalf("after the second delete: %v", err)
	}
}

// TestE29_DeleteLargeAtEveryCall stops the process, cuts the power, or fails a call, at each call
// of the delete of a large object.
func TestE29_DeleteLargeAtEveryCall(t *testing.T) {
	const seed = 1
	disk := largeScene(t, seed)
	before := len(disk.Calls())
	if err := deletingLife(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	after := len(disk.Calls())
	for n := before + 1; n <= after+1; n++ {
		t.Run(fmt.Sprintf("call%d", n), func(t *testing.T) {
			for _, leave := range []func(*crashfs.FS) *crashfs.FS{(*crashfs.FS).Kill, (*crashfs.FS).Crash} {
				disk := largeScene(t, seed)
				disk.KillAt(n)
				err := deletingLife(t.Context(), disk)
				if (err == nil) != (n > after) {
					t.Fatalf("killed in call %d of %d: %v", n, after, err)
				}
				auditDeleted(t, leave(disk), err)
			}
			if n > after {
				return
			}
			disk := largeScene(t, seed)
			disk.FailAt(n, crashfs.EIO)
			err := deletingLife(t.Context(), disk)
			call := disk.Calls()[n-1]
			// After these failures the object is deleted as a whole.
			whole := err == nil && (call.Op == "link" || call.Op == "stat" || call.Op == "open" || call.Op == "truncate")
			if !whole && (!errors.Is(err, crashfs.EIO) || !errors.Is(err, bucket.ErrUnavailable)) {
				t.Fatalf("call %d (%v) failed with %v, delete with %v", n, call, crashfs.EIO, err)
			}
			noTemporariesUnless(t, disk, call)
			auditDeleted(t, disk.Crash(), err)
		})
	}
}

// noTemporariesUnless checks that a failed delete leaves no temporary behind, unless the removal of
// the temporary is the call that failed.
func noTemporariesUnless(t *testing.T, disk *crashfs.FS, failed crashfs.Call) {
	t.Helper()
	if failed.Op != "remove" || path.Base(path.Dir(failed.Name)) != tmpName {
		noTemporaries(t, disk)
	}
}

// A large object gives its room back in steps, and only once its name is durably gone.
func TestDeleteLargeInSteps(t *testing.T) {
	disk := largeScene(t, 1)
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	before := len(disk.Calls())
	if err := b.Delete(t.Context(), largeKey); err != nil {
		t.Fatal(err)
	}
	size, synced := int64(len(largeBytes)), false
	for _, c := range disk.Calls()[before:] {
		switch c.Op {
		case "syncdir":
			synced = true
		case "truncate":
			if !synced || size-c.Pos > shrinkStep {
				t.Errorf("%d → %d bytes, the name's end is durable: %v", size, c.Pos, synced)
			}
			size = c.Pos
		}
	}
	if size > shrinkStep {
		t.Errorf("%d bytes went at once with the file", size)
	}
	noTemporaries(t, disk)
}

// A backup by hard links keeps its bytes.
func TestDeleteLargeKeepsBackup(t *testing.T) {
	folder := t.TempDir()
	for name, disk := range map[string]vfs.FS{folder: vfs.OS(), root: largeScene(t, 1)} {
		b, err := Open(disk, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Create(t.Context(), "c1/x", bucket.NewBody(largeBytes)); err != nil {
			t.Fatal(err)
		}
		if err := disk.Link(name+"/c1/x", name+"/backup"); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), "c1/x"); err != nil {
			t.Fatal(err)
		}
		if info, err := disk.Stat(name + "/backup"); err != nil || info.Size() != int64(len(largeBytes)) {
			t.Errorf("the backup has %v, %v", info, err)
		}
	}
	if names, err := os.ReadDir(filepath.Join(folder, tmpName)); err != nil || len(names) > 0 {
		t.Errorf("temporaries %v, %v", names, err)
	}
}

// An object that is a symbolic link is deleted, and never a byte of the file it leads to.
func TestDeleteLargeKeepsLinkedTo(t *testing.T) {
	folder, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	b, err := Open(vfs.OS(), folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, largeBytes, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(folder, "x")); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(elsewhere); err != nil || !bytes.Equal(got, largeBytes) {
		t.Errorf("what it led to has %d bytes, %v", len(got), err)
	}
	if names, err := os.ReadDir(filepath.Join(folder, tmpName)); err != nil || len(names) > 0 {
		t.Errorf("temporaries %v, %v", names, err)
	}
	if _, err := os.Lstat(filepath.Join(folder, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key has a file: %v", err)
	}
}

// Without the folder of temporaries, or without room for a name there, an object is deleted
// nevertheless.
func TestDeleteLargeWithoutTemporary(t *testing.T) {
	for name, hinder := range map[string]func(*crashfs.FS) error{
		"no folder": func(d *crashfs.FS) error { return d.RemoveAll(root + "/" + tmpName) },
		// After the Stat.
		"full disk": func(d *crashfs.FS) error { d.FailAt(len(d.Calls())+2, vfs.ErrNoSpace); return nil },
	} {
		disk := largeScene(t, 1)
		b, err := Open(disk, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := hinder(disk); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), largeKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.Stat(t.Context(), largeKey); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("%s: delete said success, then stat says %v", name, err)
		}
	}
}

// A reader of a large object that is deleted meanwhile is told that the object is gone, as if the
// read had come later, and not that it is damaged (E16).
func TestE16_ReadOfWhatIsDeletedMeanwhile(t *testing.T) {
	disk := &replacingFS{FS: vfs.OS()}
	b, err := Open(disk, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), largeKey, bucket.NewBody(largeBytes)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	end := int64(len(largeBytes) - len(p))
	disk.replace = func() error { return b.Delete(t.Context(), largeKey) }
	if err := b.ReadAt(t.Context(), largeKey, p, end); disk.err != nil || !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("read %v, deleted %v; want %v", err, disk.err, bucket.ErrNotFound)
	}
}
