package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

const (
	root   = "/data/bucket"
	newKey = "c1/ab/new"
	oldKey = "c1/cd/old"
)

var (
	oldBytes = bytes.Repeat([]byte("old."), 3000)
	// newBytes is two pieces, each of several blocks, so that a crash can tear them.
	newBytes = bytes.Repeat([]byte("new."), (pieceBytes+pieceBytes/4)/4)
)

// scene is a disk with one durable object.
func scene(t *testing.T, seed uint64) *crashfs.FS {
	t.Helper()
	disk := crashfs.New(seed)
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), oldKey, bucket.NewBody(oldBytes)); err != nil {
		t.Fatal(err)
	}
	return disk
}

// life opens the bucket and creates one more object.
func life(ctx context.Context, disk vfs.FS) error {
	b, err := Open(disk, root)
	if err != nil {
		return err
	}
	return b.Create(ctx, newKey, bucket.NewBody(newBytes[:700_000], newBytes[700_000:]))
}

// callCount returns the number of file system calls before and after one undisturbed life.
func callCount(t *testing.T, seed uint64) (before, after int) {
	t.Helper()
	disk := scene(t, seed)
	before = len(disk.Calls())
	if err := life(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	return before, len(disk.Calls())
}

// audit opens the disk that is left. It checks that the old object is whole, that the new one is
// whole or absent, that no temporary is left, and that another life then ends well.
func audit(t *testing.T, disk *crashfs.FS, err error) {
	t.Helper()
	b, oerr := Open(disk, root)
	if oerr != nil {
		t.Fatalf("open afterwards: %v", oerr)
	}
	if got, rerr := bucket.ReadAll(t.Context(), b, oldKey, 1<<20); rerr != nil || !bytes.Equal(got, oldBytes) {
		t.Fatalf("the old object has changed: %d bytes, %v", len(got), rerr)
	}
	got, rerr := bucket.ReadAll(t.Context(), b, newKey, 2*pieceBytes)
	switch {
	case rerr == nil && !bytes.Equal(got, newBytes):
		t.Fatalf("the new object is there, but not whole: %d bytes (create said: %v)", len(got), err)
	case rerr == nil && errors.Is(err, bucket.ErrUnavailable):
		t.Fatalf("create promised that nothing was stored (%v), and yet it was", err)
	case rerr != nil && !errors.Is(rerr, bucket.ErrNotFound):
		t.Fatal(rerr)
	case rerr != nil && err == nil:
		t.Fatal("create said success, and the object is not there")
	}
	noTemporaries(t, disk)
	wanted := error(nil)
	if rerr == nil {
		wanted = bucket.ErrExists
	}
	if err := b.Create(t.Context(), newKey, bucket.NewBody(newBytes)); !errors.Is(err, wanted) {
		t.Fatalf("create again: %v, want %v", err, wanted)
	}
}

func noTemporaries(t *testing.T, disk *crashfs.FS) {
	t.Helper()
	names, err := disk.List(root + "/" + tmpName)
	if err != nil || len(names) > 0 {
		t.Fatalf("temporaries %q are left, %v", names, err)
	}
}

// TestE29_CrashAtEveryCall cuts the power in, and right after, each call of a life.
func TestE29_CrashAtEveryCall(t *testing.T) {
	for seed := range uint64(6) {
		before, after := callCount(t, seed)
		for n := before + 1; n <= after+1; n++ { // the last one is a cut right after success
			t.Run(fmt.Sprintf("seed%d/call%d", seed, n), func(t *testing.T) {
				disk := scene(t, seed)
				disk.KillAt(n)
				err := life(t.Context(), disk)
				if (err == nil) != (n > after) {
					t.Fatalf("killed in call %d of %d: %v", n, after, err)
				}
				audit(t, disk.Crash(), err)
			})
		}
	}
}

// TestE29_CrashAtEveryCallThroughPages does the same on a disk whose page cache cannot be avoided:
// there are syncs on the way.
func TestE29_CrashAtEveryCallThroughPages(t *testing.T) {
	disk := scene(t, 1)
	before := len(disk.Calls())
	if err := life(t.Context(), pagedFS{disk}); err != nil {
		t.Fatal(err)
	}
	after := len(disk.Calls())
	for n := before + 1; n <= after+1; n++ {
		t.Run(fmt.Sprintf("call%d", n), func(t *testing.T) {
			disk := scene(t, 1)
			disk.KillAt(n)
			err := life(t.Context(), pagedFS{disk})
			if (err == nil) != (n > after) {
				t.Fatalf("killed in call %d of %d: %v", n, after, err)
			}
			audit(t, disk.Crash(), err)
		})
	}
}

// TestE29_KillAtEveryCall only stops the process: everything that was written stays, temporaries
// included.
func TestE29_KillAtEveryCall(t *testing.T) {
	before, after := callCount(t, 1)
	for n := before + 1; n <= after; n++ {
		t.Run(fmt.Sprintf("call%d", n), func(t *testing.T) {
			disk := scene(t, 1)
			disk.KillAt(n)
			err := life(t.Context(), disk)
			audit(t, disk.Kill(), err)
		})
	}
}

// TestE29_FailAtEveryCall lets each call fail, with EIO and with a full disk, and looks at the
// result at once and after a power cut.
func TestE29_FailAtEveryCall(t *testing.T) {
	for _, cause := range []error{crashfs.EIO, vfs.ErrNoSpace} {
		before, after := callCount(t, 2)
		for n := before + 1; n <= after; n++ {
			for _, cut := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/call%d/cut=%v", cause, n, cut), func(t *testing.T) {
					disk := scene(t, 2)
					disk.FailAt(n, cause)
					err := life(t.Context(), disk)
					if !errors.Is(err, cause) {
						t.Fatalf("call %d (%v) failed with %v, which ends as %v", n, disk.Calls()[n-1], cause, err)
					}
					if !errors.Is(err, bucket.ErrUnavailable) && !errors.Is(err, bucket.ErrUnknown) {
						t.Fatalf("unclassified: %v", err)
					}
					if cut {
						disk = disk.Crash()
					}
					audit(t, disk, err)
				})
			}
		}
	}
}

// TestE29_FullDiskLeavesNothing: a full disk leaves nothing behind, even without a restart.
func TestE29_FullDiskLeavesNothing(t *testing.T) {
	disk := crashfs.New(3)
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	full := true
	disk.SetHook(func(c crashfs.Call) error {
		if full && c.Op == "write" {
			return vfs.ErrNoSpace
		}
		return nil
	})
	err = b.Create(t.Context(), newKey, bucket.NewBody(newBytes))
	if !errors.Is(err, bucket.ErrUnavailable) || !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("on a full disk: %v", err)
	}
	noTemporaries(t, disk)
	full = false
	if err := b.Create(t.Context(), newKey, bucket.NewBody(newBytes)); err != nil {
		t.Fatal(err)
	}
}

// TestDeleteIsDurable: a deleted object does not come back.
func TestDeleteIsDurable(t *testing.T) {
	for seed := range uint64(8) {
		disk := scene(t, seed)
		b, err := Open(disk, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), oldKey); err != nil {
			t.Fatal(err)
		}
		b, err = Open(disk.Crash(), root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Stat(t.Context(), oldKey); !errors.Is(err, bucket.ErrNotFound) {
			t.Fatalf("seed %d: a deleted object after a power cut: %v", seed, err)
		}
	}
}

// TestRootOfKilledStart: folders that a killed start made are synced by the next start.
func TestRootOfKilledStart(t *testing.T) {
	disk := crashfs.New(4)
	if _, err := Open(disk, root); err != nil {
		t.Fatal(err)
	}
	made := len(disk.Calls())
	for n := 1; n <= made; n++ {
		for seed := range uint64(8) {
			disk := crashfs.New(seed)
			disk.KillAt(n)
			if _, err := Open(disk, root); err == nil {
				t.Fatalf("killed in call %d, and open succeeded", n)
			}
			disk = disk.Kill()
			err := life(t.Context(), disk)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Open(disk.Crash(), root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Stat(t.Context(), newKey); err != nil {
				t.Fatalf("killed in call %d, started, created, power cut: %v", n, err)
			}
		}
	}
}

// TestSweptTemporary: a second opener removes a temporary of the first. The first one's Create
// fails with a definite error, and its next Create succeeds.
func TestSweptTemporary(t *testing.T) {
	disk := crashfs.New(5)
	b, err := Open(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	swept := false
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == "link" && !swept {
			swept = true
			_, err := Open(disk, root)
			return err
		}
		return nil
	})
	if err := b.Create(t.Context(), newKey, bucket.NewBody(newBytes)); !errors.Is(err, bucket.ErrUnavailable) {
		t.Fatalf("create with its temporary swept away: %v", err)
	}
	if err := b.Create(t.Context(), newKey, bucket.NewBody(newBytes)); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersAndObjectsDoNotMix(t *testing.T) {
	b, err := Open(crashfs.New(6), root)
	if err != nil {
		t.Fatal(err)
	}
	body := bucket.NewBody([]byte("x"))
	if err := b.Create(t.Context(), "a/b", body); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c"} {
		if err := b.Create(t.Context(), key, body); !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("create %s beside a/b: %v", key, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	disk := scene(t, 7)
	if _, err := OpenReadOnly(disk, "/data/absent"); !errors.Is(err, bucket.ErrNotFound) {
		t.Fatalf("absent folder: %v", err)
	}
	f, err := disk.Create(root + "/" + tmpName + "/running")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := OpenReadOnly(disk, root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat(root + "/" + tmpName + "/running"); err != nil {
		t.Fatalf("a reader has removed a writer's temporary: %v", err)
	}
	if _, err := b.Stat(t.Context(), oldKey); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{b.Create(t.Context(), newKey, bucket.NewBody(newBytes)), b.Delete(t.Context(), oldKey)} {
		if !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("change through a read-only bucket: %v", err)
		}
	}
}
