package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// E1, E22: the broker's directory is lost, after a clean stop and after kill -9. The bucket gives
// back what was committed, under its offsets, and no id or epoch is given twice.
func TestE1_E22_Restore(t *testing.T) {
	for _, killed := range []bool{false, true} {
		name := "clean stop"
		if killed {
			name = "kill -9"
		}
		t.Run(name, func(t *testing.T) { restore(t, killed) })
	}
}

func restore(t *testing.T, killed bool) {
	url := "file://" + t.TempDir()
	seed := harness.Seed(t)
	first := filepath.Join(t.TempDir(), "data")
	b := harness.Sluice(t, harness.Config{Dir: first, Bucket: url, Env: budgets()})
	b.Start()
	parts := harness.Partitions(3, "a", "b")
	for _, topic := range []string{"a", "b"} {
		if err := harness.CreateTopic(b.Addr, topic, 3); err != nil {
			t.Fatal(err)
		}
	}
	h := history.New()
	work(t, b, h, seed, parts)
	before := given(t, b)
	if killed {
		b.Stop(stopLimit)
	}
	floor := h.Acked() // a clean stop commits everything
	if killed {
		// Records that are written now are acknowledged and stay in the write-ahead log only.
		b.Env["SLUICE_FLUSH_INTERVAL"], b.Env["SLUICE_FLUSH_BYTES"] = "1h", "1073741824"
		b.Start()
		work(t, b, h, seed+1, parts)
		before = given(t, b)
		b.Kill()
	} else {
		b.Stop(stopLimit)
	}
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, first, old)
	if err := os.RemoveAll(first); err != nil {
		t.Fatal(err)
	}

	emptyDirectoryRefuses(t, url)
	b.Env = budgets()
	comeBack(t, b, url, h, floor)
	after := given(t, b)
	if after.producer <= before.producer {
		t.Errorf("producer id %d was given after a restore, and %d before it", after.producer, before.producer)
	}
	if after.epoch < before.epoch+10_000 {
		t.Errorf("leader epoch %d after a restore, %d before it: want 10,000 more", after.epoch, before.epoch)
	}
	work(t, b, h, seed+2, parts)
	revivedStops(t, old, url)
	audit := &harness.Auditor{Addr: b.Addr, H: h}
	if _, err := audit.SweepAll(parts, time.Minute); err != nil {
		t.Fatal(err)
	}
	harness.Verdict(t, h)
}

// work lets producers run for a while and finish.
func work(t *testing.T, b *harness.Broker, h *history.History, seed uint64, parts []history.Partition) {
	t.Helper()
	crew := harness.NewCrew(t, b.Addr, h, seed, parts, 2, 1)
	crew.AwaitAcks(3000)
	crew.Rest()
	crew.Sweep()
}

// ids are the numbers that must go up with a restore.
type ids struct {
	producer int64
	epoch    int32
}

// given asks for a producer id and for the newest leader epoch.
func given(t *testing.T, b *harness.Broker) ids {
	t.Helper()
	producer, _, err := harness.ProducerID(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := harness.LeaderEpoch(b.Addr, "a")
	if err != nil {
		t.Fatal(err)
	}
	return ids{producer, epoch}
}

// revivedStops: the directory that was thought lost comes back, and must not go on.
func revivedStops(t *testing.T, dir, url string) {
	t.Helper()
	b := harness.Sluice(t, harness.Config{Dir: dir, Bucket: url, Env: budgets()})
	if err := b.Launch(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Process().Exited():
	case <-time.After(time.Minute):
		t.Fatalf("an old directory goes on beside the restored one:\n%s", b.Process().Tail())
	}
	if b.Process().ExitCode() == 0 {
		t.Errorf("an old directory ended with code 0, as if all were well:\n%s", b.Process().Tail())
	}
}

// emptyDirectoryRefuses: an empty directory on a used prefix does not start, and the message names
// the way out.
func emptyDirectoryRefuses(t *testing.T, url string) {
	t.Helper()
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: url, Env: budgets()})
	if err := b.Launch(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Process().Exited():
	case <-time.After(time.Minute):
		t.Fatalf("an empty directory on a used prefix serves:\n%s", b.Process().Tail())
	}
	if out := b.Process().Output(); !strings.Contains(out, "sluice restore") || b.Process().ExitCode() == 0 {
		t.Errorf("an empty directory on a used prefix ended with code %d and without naming `sluice restore`:\n%s", b.Process().ExitCode(), out)
	}
}

// copyDir copies a folder as it is.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}
