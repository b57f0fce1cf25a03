package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluicemq/sluice/storage/bucket"
)

// serve opens a bucket whose store is the handler.
func serve(t *testing.T, cfg Config, handler http.HandlerFunc) *Bucket {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	cfg.Endpoint = server.URL
	return connect(t, cfg)
}

func connect(t *testing.T, cfg Config) *Bucket {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	cfg.Bucket, cfg.PathStyle, cfg.Region = "sluice", true, "us-east-1"
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // it closes only idle connections
	return b
}

// sentinels are all errors of package bucket.
var sentinels = []error{bucket.ErrExists, bucket.ErrNotFound, bucket.ErrUnknown, bucket.ErrUnavailable, bucket.ErrDenied, bucket.ErrShort, bucket.ErrCorrupt}

// isOnly checks that err is wanted and none of the other sentinels.
func isOnly(t *testing.T, err, wanted error) {
	t.Helper()
	for _, s := range sentinels {
		if errors.Is(err, s) != (s == wanted) {
			t.Errorf("%v: is %q: %v, wanted only %q", err, s, errors.Is(err, s), wanted)
		}
	}
}

// results returns the error of each operation on a bucket.
func results(b *Bucket) map[string]error {
	ctx := context.Background()
	got := map[string]error{
		"create": b.Create(ctx, "key", bucket.NewBody([]byte("body"))),
		"read":   b.ReadAt(ctx, "key", make([]byte, 4), 0),
		"delete": b.Delete(ctx, "key"),
	}
	_, got["stat"] = b.Stat(ctx, "key")
	for _, err := range b.List(ctx, "", "") {
		got["list"] = err
	}
	return got
}

func TestClassifyAnswers(t *testing.T) {
	const (
		create = "create"
		rest   = "read stat list delete"
		body   = "read list delete" // the answer to HEAD has no body, hence no code
	)
	cases := []struct {
		status int
		code   string
		want   map[error]string
	}{
		{500, "InternalError", map[error]string{bucket.ErrUnknown: create, bucket.ErrUnavailable: rest}},
		{503, "SlowDown", map[error]string{bucket.ErrUnknown: create, bucket.ErrUnavailable: rest}},
		{429, "TooManyRequests", map[error]string{bucket.ErrUnknown: create, bucket.ErrUnavailable: rest}},
		{400, "RequestTimeout", map[error]string{bucket.ErrUnknown: create, bucket.ErrUnavailable: body, bucket.ErrDenied: "stat"}},
		{409, "ConditionalRequestConflict", map[error]string{bucket.ErrUnavailable: create}},
		{412, "PreconditionFailed", map[error]string{bucket.ErrExists: create}},
		{400, "BadDigest", map[error]string{bucket.ErrCorrupt: create}},
		{400, "XAmzContentChecksumMismatch", map[error]string{bucket.ErrCorrupt: create}},
		{400, "ExpiredToken", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{400, "SomethingElse", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{401, "Unauthorized", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{403, "AccessDenied", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{403, "RequestTimeTooSkewed", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{301, "PermanentRedirect", map[error]string{bucket.ErrDenied: create + " " + rest}},
		// This must never read as "no such object".
		{404, "NoSuchBucket", map[error]string{bucket.ErrDenied: create + " " + rest}},
		{404, "NoSuchKey", map[error]string{bucket.ErrNotFound: "read"}},
		{416, "InvalidRange", map[error]string{bucket.ErrShort: "read"}},
		{501, "NotImplemented", map[error]string{bucket.ErrDenied: create + " " + rest}},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d_%s", c.status, c.code), func(t *testing.T) {
			b := serve(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(c.status)
				fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>says the store</Message></Error>", c.code)
			})
			got := results(b)
			for wanted, ops := range c.want {
				for op := range strings.FieldsSeq(ops) {
					isOnly(t, got[op], wanted)
				}
			}
		})
	}
}

// TestDeniedSaysWhatToDo: the message names the way out.
func TestDeniedSaysWhatToDo(t *testing.T) {
	b := serve(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>InvalidAccessKeyId</Code></Error>")
	})
	err := b.Create(t.Context(), "key", bucket.NewBody(nil))
	for _, wanted := range []string{"sluice/key", "AWS_ACCESS_KEY_ID", "403"} {
		if !strings.Contains(fmt.Sprint(err), wanted) {
			t.Errorf("%v does not mention %s", err, wanted)
		}
	}
}

// TestNoBucketSaysWhatToDo: if the bucket does not exist, the advice comes first. The store's own
// words come last, without the host's id.
func TestNoBucketSaysWhatToDo(t *testing.T) {
	b := serve(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "REQ1")
		w.Header().Set("X-Amz-Id-2", "HOST1")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchBucket</Code><Message>says the store</Message></Error>")
	})
	const want = "s3: read 1 bytes at 0 of sluice/key: object store refuses the request: " +
		"the bucket does not exist (or the access key is unknown): create it or correct the URL: " +
		"GetObject was answered with 404 (request REQ1): api error NoSuchBucket: says the store"
	err := b.ReadAt(t.Context(), "key", make([]byte, 1), 0)
	if fmt.Sprint(err) != want {
		t.Errorf("it says\n%v\nwanted\n%s", err, want)
	}
	if _, err := Open(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "no bucket in the URL: write s3://bucket/prefix") {
		t.Errorf("no bucket in the URL: %v", err)
	}
	if !errors.As(err, new(*smithyhttp.ResponseError)) {
		t.Errorf("the SDK's error is not wrapped: %v", err)
	}
}

// TestNothingSent: a request that cannot have reached the store is not in doubt.
func TestNothingSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for op, err := range results(connect(t, Config{Endpoint: "http://" + address})) {
		t.Run(op, func(t *testing.T) { isOnly(t, err, bucket.ErrUnavailable) })
	}
}

func TestNoCredentials(t *testing.T) {
	b := connect(t, Config{Endpoint: "http://127.0.0.1:1"})
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	none, err := Open(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for op, err := range results(none) {
		t.Run(op, func(t *testing.T) {
			isOnly(t, err, bucket.ErrDenied)
			if !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
				t.Error(err)
			}
		})
	}
}

// TestReset: the connection breaks after the request was read.
func TestReset(t *testing.T) {
	b := serve(t, Config{}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for op, err := range results(b) {
		t.Run(op, func(t *testing.T) {
			if op == "create" {
				isOnly(t, err, bucket.ErrUnknown)
			} else {
				isOnly(t, err, bucket.ErrUnavailable)
			}
		})
	}
}

// TestHang: a store that does not answer costs a request its deadline and no more.
func TestHang(t *testing.T) {
	ended := make(chan struct{})
	b := serve(t, Config{RequestTimeout: 50 * time.Millisecond}, func(http.ResponseWriter, *http.Request) { <-ended })
	defer close(ended)
	for op, err := range results(b) {
		t.Run(op, func(t *testing.T) {
			if op == "create" {
				isOnly(t, err, bucket.ErrUnknown)
			} else {
				isOnly(t, err, bucket.ErrUnavailable)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

// TestPartsReturnedWhileSending: Create is canceled in the middle of a body that the store reads
// slowly. From then on the parts belong to the caller: -race finds anything that still reads them.
func TestPartsReturnedWhileSending(t *testing.T) {
	reading := make(chan struct{})
	goOn := make(chan struct{})
	received := make(chan []byte, 1)
	b := serve(t, Config{}, func(_ http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, first)
		close(reading)
		<-goOn
		rest, _ := io.ReadAll(r.Body) // the body breaks off
		received <- append(first, rest...)
	})
	part := make([]byte, 12<<20) // more than the sockets buffer
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reading
		cancel()
	}()
	err := b.Create(ctx, "key", bucket.NewBody(part))
	isOnly(t, err, bucket.ErrUnknown)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	copy(part, bytes.Repeat([]byte{0xEE}, len(part)))
	close(goOn)
	if got := <-received; slices.Contains(got, 0xEE) {
		t.Error("bytes that were written after Create returned have been sent")
	}
}

// lateReader is a transport that gives up when its context ends, as it may, and keeps the body.
type lateReader struct {
	cancel context.CancelFunc
	body   io.Reader
}

func (l *lateReader) Do(r *http.Request) (*http.Response, error) {
	l.body = r.Body
	if _, err := io.ReadFull(r.Body, make([]byte, 3)); err != nil {
		return nil, err
	}
	l.cancel()
	return nil, r.Context().Err()
}

// TestLateTransport: whatever the transport does after Create has returned, it does not see the
// parts (docs/lessons.md).
func TestLateTransport(t *testing.T) {
	for _, size := range []int{1000, 3 * partBytesMin} { // in one request, and in parts
		b := serve(t, Config{MultipartBytes: 1 << 20, PartBytes: partBytesMin}, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
		})
		ctx, cancel := context.WithCancel(t.Context())
		late := &lateReader{cancel: cancel}
		whole := b.client.Options().HTTPClient
		b.client = s3.New(b.client.Options(), func(o *s3.Options) {
			o.HTTPClient = clientFunc(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut && late.body == nil {
					return late.Do(r)
				}
				return whole.Do(r)
			})
		})
		b.cfg.PartBytes = max(b.cfg.PartBytes, int64(size)) // one part, hence one sender
		part := make([]byte, size)
		if err := b.Create(ctx, "key", bucket.NewBody(part)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		copy(part, bytes.Repeat([]byte{0xEE}, len(part)))
		// The SDK has closed the body, or our reader was released: either way it yields nothing.
		if got, err := io.ReadAll(late.body); len(got) > 0 {
			t.Errorf("body of %d bytes: a late transport read %d bytes that are the caller's, %v", size, len(got), err)
		}
	}
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// TestPutRequest: the header and the path that a Create sends.
func TestPutRequest(t *testing.T) {
	var got http.Header
	var path string
	var size int64
	b := serve(t, Config{Prefix: "/pre/fix/"}, func(_ http.ResponseWriter, r *http.Request) {
		got, path, size = r.Header, r.URL.Path, r.ContentLength
		_, _ = io.Copy(io.Discard, r.Body)
	})
	if err := b.Create(t.Context(), "a/key", bucket.NewBody([]byte("1234"), []byte("56789"))); err != nil {
		t.Fatal(err)
	}
	if path != "/sluice/pre/fix/a/key" || size != 9 {
		t.Errorf("PUT %s with %d bytes", path, size)
	}
	for name, wanted := range map[string]string{
		"If-None-Match":         "*",
		"X-Amz-Content-Sha256":  "UNSIGNED-PAYLOAD",
		"X-Amz-Checksum-Crc32c": "4waSgw==", // 0xE3069283, CRC32C's published check value
		"Content-Encoding":      "",         // not aws-chunked
		"X-Amz-Trailer":         "",
		"Expect":                "",
	} {
		if got.Get(name) != wanted {
			t.Errorf("%s: %q, want %q", name, got.Get(name), wanted)
		}
	}
}

// TestReadAnswers: an answer to something else than the request is not mistaken for the bytes.
func TestReadAnswers(t *testing.T) {
	cases := []struct {
		name, contentRange, body string
		status, length           int
		want                     error
	}{
		{"whole", "bytes 10-13/99", "abcd", 206, 4, nil},
		{"unknown size", "bytes 10-13/*", "abcd", 206, 4, nil},
		{"short", "bytes 10-12/13", "abc", 206, 3, bucket.ErrShort},
		{"broken off", "bytes 10-13/99", "ab", 206, 4, bucket.ErrUnavailable},
		{"elsewhere", "bytes 11-14/99", "bcde", 206, 4, bucket.ErrCorrupt},
		{"too much", "bytes 10-14/99", "abcde", 206, 5, bucket.ErrCorrupt},
		{"no ranges", "", "0123456789abcd", 200, 14, bucket.ErrDenied},
		{"nonsense", "bytes x-y/z", "abcd", 206, 4, bucket.ErrDenied},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := serve(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Range"); got != "bytes=10-13" {
					t.Errorf("Range: %s", got)
				}
				if c.contentRange != "" {
					w.Header().Set("Content-Range", c.contentRange)
				}
				w.Header().Set("Content-Length", fmt.Sprint(c.length))
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			p := make([]byte, 4)
			err := b.ReadAt(t.Context(), "key", p, 10)
			isOnly(t, err, c.want)
			if err == nil && string(p) != "abcd" {
				t.Errorf("read %q", p)
			}
		})
	}
}

// TestListAnswers: a listing is in order, and continues where the page before ended.
func TestListAnswers(t *testing.T) {
	const page = `<ListBucketResult><IsTruncated>%v</IsTruncated>%s%s</ListBucketResult>`
	const object = `<Contents><Key>pre/%s</Key><Size>1</Size></Contents>`
	marker := fmt.Sprintf(object, "")
	a, b1, c := fmt.Sprintf(object, "a"), fmt.Sprintf(object, "b"), fmt.Sprintf(object, "c")
	next := `<NextContinuationToken>more</NextContinuationToken>`
	cases := []struct {
		name        string
		first, then string
		keys        string
		want        error
	}{
		{"two pages", fmt.Sprintf(page, true, next, marker+a+b1), fmt.Sprintf(page, false, "", c), "a b c", nil},
		{"an empty page", fmt.Sprintf(page, true, next, ""), fmt.Sprintf(page, false, "", c), "c", nil},
		{"out of order", fmt.Sprintf(page, false, "", a+c+b1), "", "a c", bucket.ErrCorrupt},
		{"repeated page", fmt.Sprintf(page, true, next, a+b1), fmt.Sprintf(page, true, next, a+b1), "a b", bucket.ErrCorrupt},
		{"no token", fmt.Sprintf(page, true, "", a), "", "a", bucket.ErrCorrupt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := serve(t, Config{Prefix: "pre"}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				if r.URL.Query().Get("continuation-token") == "" {
					fmt.Fprint(w, c.first)
				} else {
					fmt.Fprint(w, c.then)
				}
			})
			var keys []string
			var last error
			for info, err := range b.List(t.Context(), "", "") {
				if last = err; err == nil {
					keys = append(keys, info.Key)
				}
			}
			isOnly(t, last, c.want)
			if got := strings.Join(keys, " "); got != c.keys {
				t.Errorf("listed %q", got)
			}
		})
	}
}

// TestMultipartFailures: until the completion is sent, nothing is in doubt and the upload is
// aborted. Afterwards the upload is left alone.
func TestMultipartFailures(t *testing.T) {
	cases := []struct {
		name    string
		status  int // of the step that fails
		code    string
		step    string
		want    error
		aborted bool
	}{
		{"begin 503", 503, "SlowDown", "begin", bucket.ErrUnavailable, false},
		{"part 503", 503, "SlowDown", "part", bucket.ErrUnavailable, true},
		{"part vanished", 404, "NoSuchUpload", "part", bucket.ErrUnavailable, true},
		{"part damaged", 400, "BadDigest", "part", bucket.ErrCorrupt, true},
		{"complete taken", 412, "PreconditionFailed", "complete", bucket.ErrExists, true},
		{"complete conflict", 409, "ConditionalRequestConflict", "complete", bucket.ErrUnavailable, true},
		{"complete vanished", 404, "NoSuchUpload", "complete", bucket.ErrUnavailable, true},
		{"complete 503", 503, "SlowDown", "complete", bucket.ErrUnknown, false},
		{"complete 200 with an error", 200, "InternalError", "complete", bucket.ErrUnknown, false},
		{"well", 200, "", "", nil, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			aborted := make(chan bool, 1)
			b := serve(t, Config{MultipartBytes: 1 << 20, PartBytes: partBytesMin}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/xml")
				step := multipartStep(r)
				if step == "abort" {
					aborted <- true
				}
				if step == c.step {
					w.WriteHeader(c.status)
					fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", c.code)
					return
				}
				switch step {
				case "begin":
					fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
				case "complete":
					fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>`)
				}
			})
			err := b.Create(t.Context(), "key", bucket.NewBody(make([]byte, 3*partBytesMin+1)))
			isOnly(t, err, c.want)
			if got := len(aborted) > 0; got != c.aborted {
				t.Errorf("aborted: %v, want %v", got, c.aborted)
			}
		})
	}
}

func multipartStep(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "begin"
	case r.Method == http.MethodPut:
		return "part"
	case r.Method == http.MethodPost:
		return "complete"
	}
	return "abort"
}

func TestConfigInvalid(t *testing.T) {
	err := Config{Prefix: "a/../b", PartBytes: 1, MultipartBytes: -1, RequestTimeout: -1}.Validate()
	for _, field := range []string{"bucket", "Prefix", "PartBytes", "MultipartBytes", "RequestTimeout"} {
		if !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%v does not mention %s", err, field)
		}
	}
	if _, err := Open(t.Context(), Config{}); !errors.Is(err, bucket.ErrDenied) {
		t.Errorf("open without a bucket: %v", err)
	}
}

// TestSDKLines: what the AWS SDK reports goes to our log, with its level, and not to standard
// error.
func TestSDKLines(t *testing.T) {
	var told bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&told, nil)), nil} {
		told.Reset()
		b := connect(t, Config{Endpoint: "http://127.0.0.1:1", Log: log})
		sdk := b.client.Options().Logger
		sdk.Logf(logging.Warn, "profile %s is odd\n", "x")
		sdk.Logf(logging.Debug, "retrying")
		want := `level=WARN msg="S3 client" said="profile x is odd"` + "\n"
		if log == nil {
			want = ""
		}
		if _, line, _ := strings.Cut(told.String(), " "); line != want {
			t.Errorf("told %q, want %q", line, want)
		}
	}
}
