package compat

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
	"github.com/sluicemq/sluice/compat-tests/history"
)

// budgets make a broker roll, flush and trim within seconds.
func budgets() map[string]string {
	return map[string]string{
		"SLUICE_FLUSH_INTERVAL":           "1s",
		"SLUICE_FLUSH_BYTES":              "1048576",
		"SLUICE_WAL_SEGMENT_BYTES":        "4194304",
		"SLUICE_RETENTION_CHECK_INTERVAL": "1s",
		"SLUICE_SNAPSHOT_INTERVAL":        "5s",
	}
}

// killRounds is how often the broker is killed: 300 times for the long evidence.
func killRounds(short int) int {
	if harness.Long() {
		return 300
	}
	return short
}

// I1, I2, I5, I7, I11, I16: what was acknowledged survives kill -9 at any moment, once and in
// order, even if the next start is killed, too.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	kill(t, harness.Sluice(t, harness.Config{Dir: dir, Bucket: "file://" + t.TempDir(), Env: budgets()}), killRounds(10))
}

// tinyBudgets make everything happen all the time: flushes, manifests, rolled and trimmed segments,
// reads that miss memory, retention, snapshots, deletions.
func tinyBudgets() map[string]string {
	return map[string]string{
		"SLUICE_FLUSH_INTERVAL":           "100ms",
		"SLUICE_FLUSH_BYTES":              "262144",
		"SLUICE_WAL_SEGMENT_BYTES":        "1048576",
		"SLUICE_HOT_BYTES":                "1048576",
		"SLUICE_RETENTION_CHECK_INTERVAL": "300ms",
		"SLUICE_DELETE_DELAY":             "1s",
		"SLUICE_SNAPSHOT_INTERVAL":        "1s",
		"SLUICE_SNAPSHOT_AFTER_CHANGE":    "100ms",
	}
}

// I1, I8, I9, I10, I13: the same with tiny budgets, a topic that retention cuts, a topic of class
// object, and two topics that are deleted and created again all the time. Every round may die in a
// flush, a manifest, a deletion or a new life.
func TestKill_TinyBudgets(t *testing.T) {
	seed := harness.Seed(t)
	objects := t.TempDir()
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Bucket: "file://" + objects, Env: tinyBudgets()})
	b.Start()
	for topic, configs := range map[string][]string{
		"tiny": nil, "tiny-cut": {"retention.bytes", "100000"}, "tiny-object": {"sluice.durability", "object"},
	} {
		if err := harness.CreateTopic(b.Addr, topic, 2, configs...); err != nil {
			t.Fatal(err)
		}
	}
	h := history.New()
	// These are enough large values to fill a segment in a fraction of a second.
	crew := harness.NewHeavyCrew(t, b.Addr, h, seed, harness.Partitions(2, "tiny", "tiny-cut", "tiny-object"), 3, 1, 5)
	lives := []*harness.Lives{
		{Addr: b.Addr, Topic: "again", Seed: seed},
		{Addr: b.Addr, Topic: "again-object", Seed: seed + 1, Configs: []string{"sluice.durability", "object"}},
	}
	for _, l := range lives {
		crew.Also(l.Live)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var early []string // objects that existed in an early round
	for round, rounds := 0, killRounds(10); round < rounds; round++ {
		t.Logf("%v: round %d of %d, %d records answered", h.Now().Round(time.Millisecond), round+1, rounds, crew.Acked.Load())
		killOnce(t, b, crew, rng)
		if round == 2 {
			early = files(t, objects)
		}
	}
	crew.AwaitAcks(500)
	for _, l := range lives {
		if err := harness.Until(time.Minute, func() error { return secondLife(l) }); err != nil {
			t.Error(err)
		}
	}
	crew.Rest()
	crew.Sweep()
	t.Logf("stopped in %v", b.Stop(stopLimit))
	b.Start()
	cut := crew.Sweep()[history.Partition{Topic: "tiny-cut"}]
	for _, l := range lives {
		t.Logf("topic %s had %d lives", l.Topic, l.Count.Load())
		if err := l.Verify(time.Minute); err != nil {
			t.Error(err)
		}
	}
	if cut.Start == 0 {
		t.Error("retention has cut nothing")
	}
	if err := harness.Until(time.Minute, func() error { return someGone(t, objects, early) }); err != nil {
		t.Error(err)
	}
	harness.Verdict(t, h)
}

// secondLife returns an error as long as a topic has not been deleted and created again.
func secondLife(l *harness.Lives) error {
	if n := l.Count.Load(); n < 2 {
		return fmt.Errorf("topic %s has had %d lives", l.Topic, n)
	}
	return nil
}

// files lists the files in a folder, at any depth.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// someGone returns an error as long as all earlier bundles still exist.
func someGone(t *testing.T, dir string, before []string) error {
	t.Helper()
	now := files(t, dir)
	gone := 0
	for _, name := range before {
		if !strings.HasPrefix(name, "snap/") && !strings.HasPrefix(name, "probe/") && !slices.Contains(now, name) {
			gone++
		}
	}
	if gone == 0 {
		return fmt.Errorf("none of %d early objects was deleted; now there are %d", len(before), len(now))
	}
	return nil
}

// The same against Apache Kafka: an anomaly here comes from the harness.
func TestKill_Oracle(t *testing.T) {
	longOnly(t)
	kill(t, harness.Kafka(t, harness.Config{Dir: t.TempDir()}), 1)
}

// longOnly leaves tests that use Apache Kafka to judge our tests to the long evidence, since they
// say nothing about Sluice. Kafka that is killed under an idempotent kcat sometimes refuses its
// sequences (45 after the client has raised its epoch itself). kcat then gives up, and the rest of
// its input is never sent.
func longOnly(t *testing.T) {
	t.Helper()
	if !harness.Long() {
		t.Skip("part of the long evidence: SLUICE_LONG=1")
	}
}

func kill(t *testing.T, b *harness.Broker, rounds int) {
	seed := harness.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	parts := harness.Partitions(3, "kill-a", "kill-b")
	b.Start()
	for _, topic := range []string{"kill-a", "kill-b"} {
		if err := harness.CreateTopic(b.Addr, topic, 3); err != nil {
			t.Fatal(err)
		}
	}
	h := history.New()
	crew := harness.NewCrew(t, b.Addr, h, seed, parts, 3, 1)
	quiet, err := harness.NewQuiet(b.Addr, h, parts)
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		t.Logf("%v: round %d of %d, %d records answered", h.Now().Round(time.Millisecond), round+1, rounds, crew.Acked.Load())
		killOnce(t, b, crew, rng)
		if err := quiet.Repeat(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	crew.AwaitAcks(500)
	crew.Rest()
	crew.Sweep()
	t.Logf("stopped in %v", b.Stop(stopLimit))
	b.Start() // what a clean start serves is judged, too
	crew.Sweep()
	harness.Verdict(t, h)
}

// stopLimit is how long a clean stop may take: its deadline and some more.
const stopLimit = 60 * time.Second

// killOnce kills the broker after a random number of answers and a random time. It kills one start
// in four before the broker serves.
func killOnce(t *testing.T, b *harness.Broker, crew *harness.Crew, rng *rand.Rand) {
	t.Helper()
	crew.AwaitAcks(1 + rng.Int64N(3000))
	after(time.Duration(rng.IntN(20_000)) * time.Microsecond)
	b.Kill()
	for rng.IntN(4) == 0 {
		if err := b.Launch(); err != nil {
			t.Fatal(err)
		}
		after(time.Duration(rng.IntN(150_000)) * time.Microsecond)
		b.Kill()
	}
	b.Start()
}

// after waits for a random time, so that the moment of a kill does not depend on anything.
func after(d time.Duration) { <-time.After(d) }
