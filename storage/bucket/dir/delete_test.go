package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

const largeKey = "c1/cd/large"

var largeBytes = bytes.Repeat([]byte("much"), (2*shrinkStep+shrinkStep/4)/4)

// largeScene is a disk with an object that is deleted in steps, in one folder with a small one.
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

// auditDeleted checks on what is left that the object is whole or absent, absent if its Delete succeeded, and that another Delete succeeds.
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

// TestE29_DeleteLargeAtEveryCall stops the process, cuts the power, or fails a call once, everywhere in the delete of a large object.
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
			if !errors.Is(err, crashfs.EIO) || !errors.Is(err, bucket.ErrUnavailable) {
				t.Fatalf("call %d (%v) failed with %v, delete with %v", n, disk.Calls()[n-1], crashfs.EIO, err)
			}
			auditDeleted(t, disk.Crash(), err)
		})
	}
}

// A large object's room goes in steps, and only once its name is gone for good.
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
