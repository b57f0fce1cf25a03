package compat

import (
	"math/rand/v2"
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

// killRounds is how often the broker is killed; 300 as long evidence.
func killRounds(short int) int {
	if harness.Long() {
		return 300
	}
	return short
}

// I1, I2, I5, I7, I11, I16: what was acknowledged survives kill -9 at any moment, once
// and in order, also when the next start is killed too.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	kill(t, harness.Sluice(t, harness.Config{Dir: dir, Bucket: "file://" + t.TempDir(), Env: budgets()}), killRounds(10))
}

// The same against Apache Kafka: an anomaly here is one of the harness.
func TestKill_Oracle(t *testing.T) {
	kill(t, harness.Kafka(t, harness.Config{Dir: t.TempDir()}), 1)
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
	b.Start() // what a clean start serves is judged too
	crew.Sweep()
	harness.Verdict(t, h)
}

// stopLimit is how long a clean stop may take: its deadline and some air.
const stopLimit = 60 * time.Second

// killOnce kills the broker after a random number of answers and a random while, and one
// start in four before it serves.
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

// after lets a random while pass: the moment of a kill is not to depend on anything.
func after(d time.Duration) { <-time.After(d) }
