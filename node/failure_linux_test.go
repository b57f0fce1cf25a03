package node

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// The disk fails under the write-ahead log. The producer gets no acknowledgement, Serve ends with
// the error, and the next start has what was acknowledged before.
func TestWALFailureEndsServe(t *testing.T) {
	dir, b := t.TempDir(), mem.New()
	r := start(t, dir, b)
	r.create("t", 1, nil)
	r.produce("t", 0, values("a", 10)...)
	breakFiles(t, filepath.Join(dir, "wal"))
	acked := make(chan error, 1)
	r.client.Produce(within(t), &kgo.Record{Topic: "t", Value: []byte("lost")}, func(_ *kgo.Record, err error) { acked <- err })
	err := r.servedWith()
	if err == nil || !strings.Contains(err.Error(), "write-ahead log") {
		t.Errorf("Serve ended with %v, want the write-ahead log's error", err)
	}
	r.client.Close()
	if err := <-acked; err == nil {
		t.Error("a record was acknowledged although the disk failed")
	}
	r.over = true
	_ = r.Close() // fails, since the files are broken

	r = start(t, dir, b)
	r.consume("t", 0, 0, 10)
	if at := r.produce("t", 0, "next"); at != 10 {
		t.Errorf("next offset %d, want 10", at)
	}
	r.end()
}

// breakFiles makes every further write and fsync of this process below a folder fail, as on a
// broken disk.
func breakFiles(t *testing.T, folder string) {
	t.Helper()
	full, err := unix.Open("/dev/full", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, e := range open {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || !strings.HasPrefix(target, folder) {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Dup3(full, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if broken == 0 {
		t.Fatal(errors.New("the write-ahead log has no open file"))
	}
}
