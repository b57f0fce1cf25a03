package limits

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

// startBucket serves a null bucket. It returns its HTTP address and the URL of a bucket in it.
func startBucket(t *testing.T, cfg Config) (addr, url string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "anybody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "anything")
	addr, _ = start(t, Bucket, cfg)
	return addr, fmt.Sprintf("s3://bucket/p?region=us-east-1&endpoint=http://%s&path_style=true", addr)
}

func openBucket(t *testing.T, url string) bucket.Bucket {
	t.Helper()
	b, err := open.Open(t.Context(), url, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // there are only idle connections
	return b
}

// With a limit that keeps all bodies it is a bucket in the sense of Sluice.
func TestBucket_Conformance(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		server := httptest.NewServer(newNullBucket(16<<20, 50))
		t.Cleanup(server.Close)
		t.Setenv("AWS_ACCESS_KEY_ID", "anybody")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "anything")
		return openBucket(t, "s3://bucket/p?region=us-east-1&endpoint="+server.URL+"&path_style=true")
	}, buckettest.Flags{ListObjects: 120})
}

// A body that does not match its checksum is refused, whether bodies are kept or not, and no object
// exists afterwards.
func TestBucket_WrongCRC(t *testing.T) {
	addr, url := startBucket(t, Config{})
	b := openBucket(t, url)
	for _, size := range []int{10, 1 << 20} {
		body := bucket.NewBody(make([]byte, size))
		body.CRC32C ^= 1
		if err := b.Create(t.Context(), "key", body); !errors.Is(err, bucket.ErrCorrupt) {
			t.Errorf("%d bytes with a wrong CRC: %v", size, err)
		}
		if _, err := b.Stat(t.Context(), "key"); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("%d bytes with a wrong CRC are there: %v", size, err)
		}
	}
	if c := counts(t, addr); c.PutBytes != 0 || c.Objects != 0 || c.Puts != 2 {
		t.Errorf("counted: %+v", c)
	}
}

// A large object has a name and a size. It takes part in everything except reading, and is counted.
func TestBucket_Discards(t *testing.T) {
	addr, url := startBucket(t, Config{})
	b := openBucket(t, url)
	large, small := bucket.NewBody(make([]byte, 64<<10+1)), bucket.NewBody(make([]byte, 64<<10))
	must(t, b.Create(t.Context(), "large", large))
	must(t, b.Create(t.Context(), "small", small))
	if err := b.Create(t.Context(), "large", large); !errors.Is(err, bucket.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if info, err := b.Stat(t.Context(), "large"); err != nil || info.Bytes != 64<<10+1 {
		t.Errorf("stat: %+v, %v", info, err)
	}
	if err := b.ReadAt(t.Context(), "large", make([]byte, 10), 0); !errors.Is(err, bucket.ErrDenied) {
		t.Errorf("a body that is gone was read: %v", err)
	}
	must(t, b.ReadAt(t.Context(), "small", make([]byte, 10), 5))
	var listed []string
	for info, err := range b.List(t.Context(), "", "") {
		must(t, err)
		listed = append(listed, fmt.Sprint(info.Key, info.Bytes))
	}
	if got := strings.Join(listed, " "); got != "large65537 small65536" {
		t.Errorf("listed: %s", got)
	}
	must(t, b.Delete(t.Context(), "large"))
	want := Counts{Puts: 3, Gets: 2, Heads: 1, Deletes: 1, Lists: 1, Refused: 2, PutBytes: 128<<10 + 1, GetBytes: 10, Objects: 1, Bytes: 64 << 10}
	if got := counts(t, addr); got != want {
		t.Errorf("counted %+v, wanted %+v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func counts(t *testing.T, addr string) (c Counts) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/counts")
	must(t, err)
	defer resp.Body.Close()
	must(t, json.NewDecoder(resp.Body).Decode(&c))
	return c
}

// A body that breaks off is not stored under any name.
func TestBucket_BrokenOff(t *testing.T) {
	addr, url := startBucket(t, Config{})
	c, err := net.Dial("tcp", addr)
	must(t, err)
	_, err = io.WriteString(c, "PUT /bucket/p/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this")
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	must(t, c.SetDeadline(time.Now().Add(patience)))
	if answer, _ := io.ReadAll(c); bytes.Contains(answer, []byte("200")) {
		t.Errorf("it was answered: %s", answer)
	}
	if _, err := openBucket(t, url).Stat(t.Context(), "key"); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
}

// A bucket that is slower than the disk holds producers back, and nothing is lost.
func TestUpload_IntoNullBucket(t *testing.T) {
	bucketAddr, url := startBucket(t, Config{})
	addr, stop := start(t, WALUpload, Config{BucketURL: url, ObjectBytes: 1 << 20, PendingBytes: 2 << 20, Uploads: 1, FlushInterval: time.Hour})
	produce(t, client(t, addr), "topic", 60, 500_000)
	must(t, stop())
	if c := counts(t, bucketAddr); c.PutBytes < 60*500_000 || c.PutBytes > 60*501_000 || c.Refused != 0 {
		t.Errorf("counted: %+v", c)
	}
}
