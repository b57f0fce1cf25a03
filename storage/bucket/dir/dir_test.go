package dir

import (
	"os"
	"path/filepath"
	"slices"
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

// A large object is synced on the way, so that little of it is ever unsynced: one large sync would
// hold up others on the same disk.
func TestLargeObjectIsSyncedOnTheWay(t *testing.T) {
	disk := crashfs.New(1)
	b, err := Open(disk, "/data/bucket")
	if err != nil {
		t.Fatal(err)
	}
	before := len(disk.Calls())
	const size = 5*syncEvery + 17
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
	if written != size || unsynced != 0 || most > syncEvery+syncEvery/2 {
		t.Errorf("%d bytes written, %d at the end and up to %d not synced; want %d, 0 and about %d", written, unsynced, most, size, syncEvery)
	}
}
