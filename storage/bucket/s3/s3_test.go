package s3

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
)

const multipartBytes = 11 << 20 // three parts of at least 5 MiB, the last one short

// prefixes gives each bucket of a test a part of the server to itself.
var prefixes atomic.Int64

func openAt(t *testing.T, s buckettest.Server) bucket.Bucket {
	t.Helper()
	b, err := Open(t.Context(), Config{
		Bucket: s.Bucket, Prefix: fmt.Sprintf("test/%d", prefixes.Add(1)), Region: s.Region, Endpoint: s.Endpoint, PathStyle: true,
		MultipartBytes: 6 << 20, PartBytes: partBytesMin,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestConformanceVersityGW(t *testing.T) {
	s := buckettest.StartVersityGW(t)
	buckettest.Run(t, func(t *testing.T) bucket.Bucket { return openAt(t, s) }, buckettest.Flags{MultipartBytes: multipartBytes, ListObjects: 1010})
}

func TestConformanceMinIO(t *testing.T) {
	s := buckettest.StartMinIO(t)
	buckettest.Run(t, func(t *testing.T) bucket.Bucket { return openAt(t, s) }, buckettest.Flags{MultipartBytes: multipartBytes, ListObjects: 1010})
}
