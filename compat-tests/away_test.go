package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// awayStartLimit is how long after exec a broker may take to serve its tail and accept a record
// while the bucket is away. The promise is a second, which the long evidence checks on a quiet
// machine. Here it only has to be clear that no start waits for the bucket, whose requests time out
// much later.
func awayStartLimit() time.Duration {
	if harness.Long() {
		return time.Second
	}
	return 5 * time.Second
}

// E13: the bucket goes away, the broker is killed and started twice (two sealed tails), and
// continues each time. When the bucket returns, both tails are committed and removed, and the
// bucket alone gives everything back, in order.
func TestE13_BucketAway(t *testing.T) {
	for _, c := range []struct {
		fault harness.Fault
		store func(testing.TB) *harness.Store
	}{
		{harness.Refuse, harness.MinIO},
		{harness.Hang, harness.VersityGW},
		{harness.Unavailable, harness.MinIO},
	} {
		t.Run(c.fault.String(), func(t *testing.T) { bucketAway(t, c.store(t), c.fault) })
	}
}

func bucketAway(t *testing.T, store *harness.Store, fault harness.Fault) {
	proxy := harness.NewProxy(t, store.Addr)
	env := budgets()
	for k, v := range store.Env {
		env[k] = v
	}
	url := store.URL(proxy.Addr, "away")
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: url, Env: env})
	b.Start()
	for _, topic := range []string{"away", "probe"} {
		if err := harness.CreateTopic(b.Addr, topic, 3); err != nil {
			t.Fatal(err)
		}
	}
	parts := harness.Partitions(3, "away")
	h := history.New()
	crew := harness.NewCrew(t, b.Addr, h, harness.Seed(t), parts, 2, 1)
	crew.AwaitAcks(3000)
	// This partition is idle from here on. The state that is needed to open it must be carried out
	// of this incarnation, whose log is removed, into the next one (E24), or it would need the
	// bucket below.
	if err := produceOne(b.Addr, "probe"); err != nil {
		t.Fatal(err)
	}
	// The first start commits the record; under the second nothing new is written to the partition.
	for range 2 {
		b.Kill()
		b.Start()
		awaitTails(t, b.Dir)
	}
	crew.AwaitAcks(500)
	proxy.Set(fault)
	for range 2 {
		crew.AwaitAcks(2000) // acknowledged, but not in the bucket
		b.Kill()
		took := firstService(t, b)
		t.Logf("bucket away (%s): tail read and record taken %v after exec", fault, took)
		if limit := awayStartLimit(); took > limit {
			t.Errorf("bucket away (%s): it took %v until the tail was served and a record taken, want at most %v", fault, took, limit)
		}
	}
	crew.AwaitAcks(2000)
	if n := len(tails(t, b.Dir)); n != 3 {
		t.Errorf("bucket away (%s): the write-ahead log has %d incarnations, want two sealed tails and the current one", fault, n)
	}
	proxy.Set(harness.Pass)
	crew.AwaitAcks(500)
	crew.Rest()
	crew.Sweep()
	awaitTails(t, b.Dir)
	t.Logf("stopped in %v", b.Stop(stopLimit))
	if out := b.Process().Output(); !strings.Contains(out, "stopped with everything in the bucket") {
		t.Errorf("a clean stop with the bucket back left something behind:\n%s", b.Process().Tail())
	}
	comeBack(t, b, url, h, h.Acked())
	harness.Verdict(t, h)
}

// tails lists the incarnations in the write-ahead log of a data directory.
func tails(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// awaitTails waits until only the current incarnation is left. A tail's folder is removed when
// everything in it is committed, and not before.
func awaitTails(t *testing.T, dir string) {
	t.Helper()
	err := harness.Until(time.Minute, func() error {
		if left := tails(t, dir); len(left) != 1 {
			return fmt.Errorf("the bucket is there, and the write-ahead log still has the incarnations %v", left)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func produceOne(addr, topic string) error {
	c, err := harness.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return harness.ProduceOne(c, history.Partition{Topic: topic})
}

// firstService starts the broker and returns the time from exec until the newest record can be read
// and another is accepted.
func firstService(t *testing.T, b *harness.Broker) time.Duration {
	t.Helper()
	start := time.Now()
	b.Start()
	err := harness.Until(time.Minute, func() error {
		c, err := harness.Dial(b.Addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := harness.ReadLast(c, history.Partition{Topic: "away"}); err != nil {
			return err
		}
		return harness.ProduceOne(c, history.Partition{Topic: "probe"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// comeBack deletes the broker's directory, restores a new one from the bucket and starts it. What
// was committed below floor must be there.
func comeBack(t *testing.T, b *harness.Broker, url string, h *history.History, floor map[history.Partition]int64) {
	t.Helper()
	at := h.Now()
	b.Dir = t.TempDir()
	out, err := harness.Run(t, b.Env, "restore", "--bucket", url, "--dir", b.Dir)
	if err != nil {
		t.Fatalf("sluice restore: %v\n%s", err, out)
	}
	t.Logf("sluice restore:\n%s", out)
	b.Start()
	audit := &harness.Auditor{Addr: b.Addr, H: h}
	var parts []history.Partition
	for p := range floor {
		parts = append(parts, p)
	}
	swept, err := audit.SweepAll(parts, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(swept) == 0 {
		t.Fatal("no partition was named that has to come back")
	}
	for p, s := range swept {
		h.Restored(history.Restore{Partition: p, At: at, Floor: floor[p], Survived: s.End})
	}
}
