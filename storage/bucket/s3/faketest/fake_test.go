package faketest

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
	"github.com/sluicemq/sluice/storage/bucket/s3"
)

// prefixes gives each bucket of a test a part of the server to itself.
var prefixes atomic.Int64

// startFake serves gofakes3 in this process.
func startFake(t *testing.T) buckettest.Server {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("sluice"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0))))
	server := httptest.NewServer(fake.Server())
	t.Cleanup(server.Close)
	s := buckettest.Server{Name: "gofakes3", Endpoint: server.URL, Bucket: "sluice", Region: "us-east-1", AccessKey: "a", SecretKey: "s"}
	s.Setenv(t)
	return s
}

func openAt(t *testing.T, s buckettest.Server) bucket.Bucket {
	t.Helper()
	b, err := s3.Open(t.Context(), s3.Config{
		Bucket: s.Bucket, Prefix: fmt.Sprintf("test/%d", prefixes.Add(1)), Region: s.Region, Endpoint: s.Endpoint, PathStyle: true,
		MultipartBytes: 6 << 20, PartBytes: 5 << 20,
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

// TestConformanceFake: gofakes3 knows neither checksums nor conditions on uploads in parts.
// More than a page of keys is for the real stores.
func TestConformanceFake(t *testing.T) {
	s := startFake(t)
	buckettest.Run(t, func(t *testing.T) bucket.Bucket { return openAt(t, s) },
		buckettest.Flags{NoChecksum: true, NoConditionalMultipart: true, MultipartBytes: 11 << 20, ListObjects: 100})
}
