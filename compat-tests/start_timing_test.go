package compat

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// startsPerMedian is how many starts a median is made of.
const startsPerMedian = 20

// sealedTailBytes is how much the third directory holds only in its write-ahead log.
const sealedTailBytes = 256 << 20

// BenchmarkStart measures the median time from exec to the first answered ApiVersions and Metadata,
// for which the promise is 300 ms, and to the first acknowledged record. The directory is copied
// anew for each start.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(testing.TB) string // returns the directory to copy, or "" for an empty one
	}{{"empty", func(testing.TB) string { return "" }}, {"clean", cleanDir}, {"sealed tail 256 MiB", tailDir}} {
		dir := c.make(b)
		for _, cold := range []bool{false, true} {
			name := c.name + "/warm"
			if cold {
				name = c.name + "/cold"
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					starts(b, dir, cold)
				}
			})
		}
	}
}

func starts(b *testing.B, from string, cold bool) {
	var answered, acknowledged []time.Duration
	for range startsPerMedian {
		first, ack := oneStart(b, from, cold)
		answered, acknowledged = append(answered, first), append(acknowledged, ack)
	}
	report := func(took []time.Duration, what string) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/"+what+"-p50")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms/"+what+"-max")
	}
	report(answered, "answer")
	report(acknowledged, "ack")
	b.ReportMetric(0, "ns/op") // an op is twenty starts and copies, so ns/op says nothing
}

// oneStart copies the directory, starts a broker on the copy, and kills it. It returns the times
// from exec to the first answers and to the first acknowledged record.
func oneStart(b *testing.B, from string, cold bool) (answered, acknowledged time.Duration) {
	b.Helper()
	parent, err := os.MkdirTemp(b.TempDir(), "start")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "data")
	if from != "" {
		copyDir(b, from, dir)
	}
	if cold {
		forget(b, parent)
	}
	broker := harness.Sluice(b, harness.Config{Dir: dir})
	start := time.Now()
	if err := broker.Launch(); err != nil {
		b.Fatal(err)
	}
	defer broker.Kill()
	if err := harness.Until(time.Minute, func() error { return greet(broker.Addr) }); err != nil {
		b.Fatalf("%v\n%s", err, broker.Process().Tail())
	}
	answered = time.Since(start)
	if err := firstRecord(broker.Addr); err != nil {
		b.Fatal(err)
	}
	return answered, time.Since(start)
}

// firstRecord produces one record, into the directory's topic or into a new one.
func firstRecord(addr string) error {
	if err := harness.CreateTopic(addr, "fill", 10); err != nil && !strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS") {
		return err
	}
	c, err := harness.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return harness.ProduceValues(c, history.Partition{Topic: "fill"}, [][]byte{[]byte("first")})
}

// greet asks what any client asks first.
func greet(addr string) error {
	c, err := harness.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := c.Do(apiVersions())
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.ApiVersionsResponse).ErrorCode; code != 0 {
		return fmt.Errorf("ApiVersions answers code %d", code)
	}
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	meta, err := c.Do(req)
	if err != nil {
		return err
	}
	if len(meta.(*kmsg.MetadataResponse).Brokers) == 0 {
		return fmt.Errorf("Metadata names no broker yet")
	}
	return nil
}

// cleanDir is the directory of a broker that served and was stopped.
func cleanDir(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "data")
	b := harness.Sluice(t, harness.Config{Dir: dir})
	b.Start()
	fill(t, b, 1<<20)
	b.Stop(stopLimit)
	return dir
}

// tailDir is the directory of a broker that was killed with all its data in the write-ahead log.
func tailDir(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "data")
	b := harness.Sluice(t, harness.Config{Dir: dir, Env: map[string]string{
		"SLUICE_FLUSH_INTERVAL": "1h", "SLUICE_FLUSH_BYTES": fmt.Sprint(4 * sealedTailBytes),
	}})
	b.Start()
	fill(t, b, sealedTailBytes)
	b.Kill()
	return dir
}

// fill produces the given number of bytes, in batches of the size that clients usually send.
func fill(t testing.TB, b *harness.Broker, size int) {
	t.Helper()
	if err := harness.CreateTopic(b.Addr, "fill", 10); err != nil {
		t.Fatal(err)
	}
	c, err := harness.Dial(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value := harness.Value(history.ID{Client: 1, Counter: 1}, 1000)
	values := slices.Repeat([][]byte{value}, 500)
	for sent, i := 0, int32(0); sent < size; i++ {
		if err := harness.ProduceValues(c, history.Partition{Topic: "fill", Index: i % 10}, values); err != nil {
			t.Fatal(err)
		}
		sent += len(values) * len(value)
	}
}

// forget drops a directory's files from the page cache.
func forget(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil { // only clean pages can be dropped
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		t.Fatal(err)
	}
}
