package harness

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Store is the S3 server of a test, on loopback, with one bucket.
type Store struct {
	Addr string            // host:port
	Env  map[string]string // credentials for its clients
}

// Credentials of the stores. They are valid as long as the test runs.
const (
	storeUser   = "compat-tests"
	storeSecret = "compat-tests-secret"
	storeBucket = "sluice"
	storeRegion = "us-east-1"
)

// storeLimit is how long a store may take to start.
const storeLimit = 30 * time.Second

// VersityGW starts a versitygw over a directory of the test.
func VersityGW(t testing.TB) *Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "versitygw")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	s.start(t, "versitygw", exec.Command(Tool(t, "versitygw"),
		"--access", storeUser, "--secret", storeSecret, "--region", storeRegion, "--port", s.Addr, "posix", dir))
	return s
}

// MinIO starts a MinIO over a directory of the test.
func MinIO(t testing.TB) *Store {
	t.Helper()
	s := newStore(t)
	cmd := exec.Command(Tool(t, "minio"), "server", "--address", s.Addr, "--quiet", filepath.Join(t.TempDir(), "minio"))
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+storeUser, "MINIO_ROOT_PASSWORD="+storeSecret, "MINIO_BROWSER=off")
	s.start(t, "minio", cmd)
	return s
}

func newStore(t testing.TB) *Store {
	return &Store{
		Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)),
		Env:  map[string]string{"AWS_ACCESS_KEY_ID": storeUser, "AWS_SECRET_ACCESS_KEY": storeSecret, "AWS_REGION": storeRegion},
	}
}

// start runs the server and creates its bucket.
func (s *Store) start(t testing.TB, name string, cmd *exec.Cmd) {
	t.Helper()
	p, err := launch(name, cmd, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.awaitPort(s.Addr, storeLimit); err != nil {
		t.Fatal(err)
	}
	if err := Until(storeLimit, func() error { return s.makeBucket(t.Context()) }); err != nil {
		t.Fatalf("%v\n%s", err, p.Tail())
	}
}

// URL names the bucket and a prefix in the form that the broker accepts. at is the address to use:
// s.Addr, or that of a Proxy before it.
func (s *Store) URL(at, prefix string) string {
	q := url.Values{"region": {storeRegion}, "endpoint": {"http://" + at}, "path_style": {"true"}}
	return fmt.Sprintf("s3://%s/%s?%s", storeBucket, prefix, q.Encode())
}

// makeBucket sends the one S3 request that the harness itself needs.
func (s *Store) makeBucket(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+s.Addr+"/"+storeBucket, nil)
	if err != nil {
		return err
	}
	sign(req, time.Now().UTC())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK && !bytes.Contains(body, []byte("BucketAlreadyOwnedByYou")) {
		return fmt.Errorf("create bucket: %s: %s", resp.Status, body)
	}
	return nil
}

// sign adds an AWS signature, version 4, to a request without body and query.
func sign(req *http.Request, now time.Time) {
	date, stamp := now.Format("20060102"), now.Format("20060102T150405Z")
	empty := sha256.Sum256(nil)
	hash := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", hash)
	const headers = "host;x-amz-content-sha256;x-amz-date"
	canonical := fmt.Sprintf("%s\n%s\n\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n%s\n%s",
		req.Method, req.URL.EscapedPath(), req.URL.Host, hash, stamp, headers, hash)
	scope := date + "/" + storeRegion + "/s3/aws4_request"
	digest := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(digest[:])
	key := []byte("AWS4" + storeSecret)
	for _, part := range []string{date, storeRegion, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		storeUser, scope, headers, hex.EncodeToString(mac(key, toSign))))
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
