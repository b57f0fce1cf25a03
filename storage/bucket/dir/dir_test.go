package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/vfs/crashfs"
)

func TestConformanceOS(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		b, err := Open(vfs.OS(), t.TempDir()+"/made/by/open")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, buckettest.Flags{ListObjects: 500})
}

func TestConformanceCrashFS(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		b, err := Open(crashfs.New(1), "/data/bucket")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, buckettest.Flags{})
}

// TestLayout: an object is the file of its key, with its bytes. Other files in the folder are not
// objects.
func TestLayout(t *testing.T) {
	root := t.TempDir()
	b, err := Open(vfs.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "c1/00ff/a.bundle", bucket.NewBody([]byte("by"), []byte("tes"))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "c1", "00ff", "a.bundle")); err != nil || string(got) != "bytes" {
		t.Fatalf("the file holds %q, %v", got, err)
	}
	if left, err := os.ReadDir(filepath.Join(root, "~tmp")); err != nil || len(left) > 0 {
		t.Fatalf("temporaries: %v, %v", left, err)
	}
	for _, name := range []string{"with space", "~tmp/half", "c1/ä"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if !slices.Equal(keys, []string{"c1/00ff/a.bundle"}) {
		t.Fatalf("listed %q", keys)
	}
}

// pagedFS is a disk whose page cache cannot be avoided.
type pagedFS struct{ vfs.FS }

type pagedFile struct{ vfs.File }

func (d pagedFS) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return pagedFile{f}, nil
}

func (pagedFile) WriteDirect([]byte, int64) error { return errors.ErrUnsupported }

// Through the page cache, a large object is synced on the way, so that little of it is ever
// unsynced: one large sync would hold up others on the same disk.
func TestLargeObjectIsSyncedOnTheWay(t *testing.T) {
	disk := crashfs.New(1)
	b, err := Open(pagedFS{disk}, "/data/bucket")
	if err != nil {
		t.Fatal(err)
	}
	before := len(disk.Calls())
	const size = 5*pieceBytes + 17
	if err := b.Create(t.Context(), "c1/ab/large", bucket.NewBody(make([]byte, size))); err != nil {
		t.Fatal(err)
	}
	written, unsynced, most := int64(0), int64(0), int64(0)
	for _, c := range disk.Calls()[before:] {
		switch c.Op {
		case "write":
			written, unsynced = written+c.Len, unsynced+c.Len
			most = max(most, unsynced)
		case "sync", "datasync":
			unsynced = 0
		}
	}
	if written != size || unsynced != 0 || most > pieceBytes {
		t.Errorf("%d bytes written, %d at the end and up to %d not synced; want %d, 0 and at most %d", written, unsynced, most, size, pieceBytes)
	}
}

// Large objects are written one at a time and in pieces, after their room is reserved, so that a
// sync of the log waits for one piece.
func TestLargeObjectsTakeTurns(t *testing.T) {
	disk := crashfs.New(1)
	b, err := Open(disk, "/data/bucket")
	if err != nil {
		t.Fatal(err)
	}
	before := len(disk.Calls())
	const size, objects = 3*pieceBytes + vfs.DirectAlign + 17, 4
	var creating sync.WaitGroup
	for i := range objects {
		creating.Go(func() {
			if err := b.Create(t.Context(), fmt.Sprintf("c1/ab/%d", i), bucket.NewBody(make([]byte, size))); err != nil {
				t.Error(err)
			}
		})
	}
	creating.Wait()
	left := make(map[string]int64) // to write, of objects that were begun
	for _, c := range disk.Calls()[before:] {
		switch c.Op {
		case "allocate":
			if len(left) > 0 {
				t.Errorf("%s is begun while there is more to write of %v", c.Name, left)
			}
			left[c.Name] = c.Pos
		case "write":
			if c.Len > pieceBytes || c.Pos%vfs.DirectAlign != 0 {
				t.Errorf("%v: want pieces of at most %d that begin at a block", c, pieceBytes)
			}
			if left[c.Name] -= c.Len; left[c.Name] == 0 {
				delete(left, c.Name)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("not written: %v", left)
	}
}

// A caller that gives up while another's object is written waits no longer and leaves nothing.
func TestCreateEndsWhileItWaitsForItsTurn(t *testing.T) {
	disk := crashfs.New(1)
	b, err := Open(disk, "/data/bucket")
	if err != nil {
		t.Fatal(err)
	}
	piece := <-b.writing // another's turn
	ctx, cancel := context.WithCancel(t.Context())
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == "create" {
			cancel()
		}
		return nil
	})
	if err := b.Create(ctx, "c1/ab/large", bucket.NewBody(make([]byte, 2*pieceBytes))); !errors.Is(err, bucket.ErrUnavailable) {
		t.Errorf("create whose caller gave up: %v", err)
	}
	names, err := disk.List("/data/bucket/" + tmpName)
	if err != nil || len(names) > 0 {
		t.Errorf("temporaries %v, %v", names, err)
	}
	b.writing <- piece
}
