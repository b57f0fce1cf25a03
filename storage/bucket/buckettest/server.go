package buckettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is an S3 server that a test has started. It stops when the test ends.
type Server struct {
	Name     string
	Endpoint string // http://127.0.0.1:port
	Bucket   string // an existing bucket
	Region   string

	AccessKey, SecretKey string
	// Log is the file with the server's output.
	Log string
}

// URL names a prefix of the server's bucket. "" is all of it.
func (s Server) URL(prefix string) string {
	q := url.Values{"region": {s.Region}, "endpoint": {s.Endpoint}, "path_style": {"true"}}
	u := url.URL{Scheme: "s3", Host: s.Bucket, Path: "/" + prefix, RawQuery: q.Encode()}
	return u.String()
}

// Env is what a child process needs in its environment to be accepted by the server.
func (s Server) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + s.SecretKey,
		"AWS_REGION=" + s.Region,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// Setenv sets Env for this process until the test ends.
func (s Server) Setenv(t testing.TB) {
	for _, pair := range s.Env() {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
}

const (
	accessKey    = "sluice-test"
	secretKey    = "sluice-test-secret"
	bucketName   = "sluice"
	region       = "us-east-1"
	startTimeout = 60 * time.Second
)

// StartMinIO starts MinIO on a free loopback port and sets the credentials in the environment of
// this process. If the program is missing the test is skipped; with CI=true it fails.
func StartMinIO(t testing.TB) Server {
	t.Helper()
	program := find(t, "minio")
	return start(t, "minio", "/"+bucketName, http.StatusForbidden, func(address, data string) *exec.Cmd {
		cmd := exec.Command(program, "server", "--quiet", "--anonymous", "--address", address, "--console-address", "127.0.0.1:0", data)
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey,
			"MINIO_REGION="+region, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
		return cmd
	})
}

// StartVersityGW starts versitygw on a folder, as StartMinIO does MinIO.
func StartVersityGW(t testing.TB) Server {
	t.Helper()
	program := find(t, "versitygw")
	return start(t, "versitygw", "/health", http.StatusOK, func(address, data string) *exec.Cmd {
		return exec.Command(program, "--port", address, "--access", accessKey, "--secret", secretKey,
			"--region", region, "--health", "/health", "--keep-alive", "--quiet", "posix", data)
	})
}

// find looks in $SLUICE_TOOLS/bin, the cache that `make tools` fills, and PATH.
func find(t testing.TB, program string) string {
	t.Helper()
	tools := os.Getenv("SLUICE_TOOLS")
	if home, err := os.UserHomeDir(); tools == "" && err == nil {
		tools = filepath.Join(home, ".cache", "sluice-tools")
	}
	for _, candidate := range []string{filepath.Join(tools, "bin", program), program} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run `make tools`", program)
	}
	t.Skipf("%s is missing: run `make tools`", program)
	return ""
}

// start runs the server. If the free port that was found is taken by another program before the
// server has it, start tries another.
//
// The server serves when a GET of path has the given status. MinIO's own health page says ready
// while requests are still answered with 503. So MinIO is asked for the bucket: a request without
// credentials is refused once the bucket can be served.
func start(t testing.TB, name, path string, status int, command func(address, data string) *exec.Cmd) Server {
	t.Helper()
	data := t.TempDir()
	// Both servers treat an existing folder as a bucket.
	if err := os.Mkdir(filepath.Join(data, bucketName), 0o755); err != nil {
		t.Fatal(err)
	}
	var errs []error
	for range 3 {
		s := Server{Name: name, Bucket: bucketName, Region: region, AccessKey: accessKey, SecretKey: secretKey, Log: filepath.Join(t.TempDir(), name+".log")}
		address := freeAddress(t)
		s.Endpoint = "http://" + address
		err := s.run(t, command(address, data), path, status)
		if err == nil {
			s.Setenv(t)
			return s
		}
		errs = append(errs, err)
	}
	t.Fatalf("%s does not start: %v", name, errors.Join(errs...))
	return Server{}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// run starts the process, waits until it serves, and stops it when the test ends.
func (s Server) run(t testing.TB, cmd *exec.Cmd, path string, status int) error {
	output, err := os.Create(s.Log)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = output, output
	// The child has its own descriptor.
	if err := errors.Join(cmd.Start(), output.Close()); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed by us, or its log says why
	}()
	stop := func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		<-ended
	}
	if err := s.await(path, status, ended); err != nil {
		stop()
		log, _ := os.ReadFile(s.Log)
		return fmt.Errorf("%w\n%s", err, log)
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			log, _ := os.ReadFile(s.Log)
			t.Logf("%s said:\n%s", s.Name, log)
		}
	})
	return nil
}

// await polls the page until the server answers as expected, ends, or takes too long.
func (s Server) await(path string, status int, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once", s.Name)
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve after %v", s.Name, startTimeout)
		case <-tick.C:
			if s.serves(ctx, path, status) {
				return nil
			}
		}
	}
}

func (s Server) serves(ctx context.Context, path string, status int) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+path, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	closed := resp.Body.Close() == nil
	return resp.StatusCode == status && closed
}
