package dir

import (
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
