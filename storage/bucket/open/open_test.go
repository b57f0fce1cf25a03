package open

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
)

// TestRefused: each wrong URL is refused with words that say what to write.
func TestRefused(t *testing.T) {
	for url, hint := range map[string]string{
		"":                                          "s3://bucket/prefix",
		"bucket":                                    "unknown scheme",
		"gs://bucket":                               `unknown scheme "gs"; use s3://`,
		"http://[":                                  "not a URL",
		"s3://":                                     "s3://bucket/prefix",
		"s3://bucket?regoin=x":                      `unknown parameter "regoin"`,
		"s3://bucket?region=x&region=y":             "given once",
		"s3://bucket?endpoint=":                     "with a value",
		"s3://bucket?path_style=maybe":              "true or false",
		"s3://bucket?endpoint=localhost:9000":       "http://host:port",
		"s3://bucket/../c?region=x":                 `the prefix "../c" has a part that is empty, . or ..`,
		"s3://bucket/a//c?region=x":                 `the prefix "a//c" has a part that is empty`,
		"s3://bucket/my prefix?region=x":            `the prefix "my prefix" has a space; prefixes are made of`,
		"s3://bucket/my%20prefix?region=x":          `the prefix "my prefix" has a space; prefixes are made of`,
		"s3://bucket/prä?region=x":                  `the prefix "prä" has "ä"`,
		"s3://my bucket/prefix?region=x":            `the bucket name "my bucket" has " "; bucket names are made of`,
		"s3://My-Bucket/prefix?region=x":            `has "M", which cannot stand in a host name; if the store has such a bucket, add path_style=true`,
		"s3://my_bucket/prefix?region=x":            `path_style=true`,
		"s3://ab/prefix?region=x":                   `the bucket name "ab" has 2 characters; want 3 to 63`,
		"s3://-bucket/prefix?region=x":              `must begin and end with a letter or digit`,
		"s3://bucket./prefix?region=x":              `must begin and end with a letter or digit`,
		"s3://buck..et/prefix?region=x":             `two dots in a row`,
		"s3://bucket:9000/prefix?region=x":          `endpoint=http://host:port`,
		"s3:///prefix":                              "no bucket in the URL",
		"s3://key:secret@bucket":                    "AWS_ACCESS_KEY_ID",
		"s3://bucket?endpoint=http://u:secret@host": "http://host:port",
		"s3://bucket?a;b":                           "name=value",
		"file://relative/path":                      "three slashes",
		"file:relative":                             "three slashes",
		"file:///tmp/x?mode=1":                      "takes no parameters",
		"mem://":                                    "--memory",
	} {
		b, err := Open(t.Context(), url, Options{})
		if b != nil || !errors.Is(err, bucket.ErrDenied) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, wanted something with %q", url, err, hint)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the message shows the secret: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), bucket.ErrDenied.Error()) {
			t.Errorf("%q: the message blames the store, which was not asked: %v", url, err)
		}
	}
	if _, err := Open(t.Context(), "mem://host", Options{Memory: true}); !errors.Is(err, bucket.ErrDenied) {
		t.Errorf("mem:// with a host: %v", err)
	}
	if _, err := Open(t.Context(), "mem://", Options{Memory: true, Retry: bucket.RetryConfig{Attempts: -1}}); err == nil {
		t.Error("negative attempts were taken")
	}
}

func TestNoRegion(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	if _, err := Open(t.Context(), "s3://bucket", Options{}); !errors.Is(err, bucket.ErrDenied) || !strings.Contains(err.Error(), "region=") {
		t.Errorf("no region: %v", err)
	}
	if _, err := Open(t.Context(), "s3://bucket?endpoint=http://127.0.0.1:1", Options{}); err != nil {
		t.Errorf("an endpoint needs no region: %v", err)
	}
}

// roundTrip creates and reads an object through one URL, and sees it through another Open of the
// same URL.
func roundTrip(t *testing.T, url string, reader Options) {
	t.Helper()
	b, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	caps, err := bucket.Probe(t.Context(), b, "", "directory-uuid")
	if err != nil || !caps.ConditionalCreate || !caps.RangedRead || !caps.ChecksumRefused {
		t.Fatalf("probe: %v, %v", caps, err)
	}
	body := []byte("through the URL")
	if err := b.Create(t.Context(), "a/key", bucket.NewBody(body)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), url, reader)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, err := bucket.ReadAll(t.Context(), again, "a/key", 100); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("read back: %q, %v", got, err)
	}
	// Three requests are the probe's: its own object, the second creation of its key, and the
	// damaged body.
	if s := b.Stats()[bucket.OpCreate]; s.Requests != 4 || s.Bytes != int64(len(body))+40 {
		t.Fatalf("stats: %+v", s)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "bucket")
	if _, err := Open(t.Context(), "file://"+path, Options{ReadOnly: true}); !errors.Is(err, bucket.ErrNotFound) {
		t.Fatalf("an absent folder, for reading: %v", err)
	}
	roundTrip(t, "file://"+path, Options{ReadOnly: true})
}

func TestMem(t *testing.T) {
	b, err := Open(t.Context(), "mem://", Options{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a", bucket.NewBody()); err != nil {
		t.Fatal(err)
	}
}

func TestMinIO(t *testing.T) {
	roundTrip(t, buckettest.StartMinIO(t).URL("cluster/one"), Options{})
}

func TestVersityGW(t *testing.T) {
	roundTrip(t, buckettest.StartVersityGW(t).URL(""), Options{})
}
