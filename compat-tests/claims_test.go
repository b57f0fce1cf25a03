package compat

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// TestClaimsRetentionAndProducers: retention deletes batches whose header claims no largest time
// once their records are old, as Apache Kafka does. Beside them a backfill is sent again: here it
// is answered as the first time, also after a restart. Kafka has forgotten its producer, whose
// records are older than a producer is remembered.
func TestClaimsRetentionAndProducers(t *testing.T) {
	t.Parallel()
	kafka := harness.Kafka(t, harness.Config{Dir: t.TempDir(), Properties: map[string]string{
		"log.retention.check.interval.ms": "200", "log.initial.task.delay.ms": "100", "producer.id.expiration.check.interval.ms": "200",
	}})
	if err := kafka.Launch(); err != nil { // the JVM takes its time
		t.Fatal(err)
	}
	ours := startSluice(t) // its retention runs every second
	o := newClaimSide(t, ours.Addr)
	o.backfill("the first time", 0)
	o.retains()
	o.backfill("after turns of retention", 0)
	ours.Kill()
	ours.Start()
	o.connect(ours.Addr)
	o.retains()
	o.backfill("after a restart", 0)

	if err := kafka.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	k := newClaimSide(t, kafka.Addr)
	k.backfill("the first time", 0)
	k.retains()
	k.until("Kafka never forgot the producer", func() bool { return k.send() > 0 })
}

// claimSide is one broker with a topic for a backfill and one whose records expire.
type claimSide struct {
	t              testing.TB
	wire           *wire
	kept, retained topicRef
}

func newClaimSide(t testing.TB, addr string) *claimSide {
	s := &claimSide{t: t}
	s.kept = mustCreate(t, addr, "backfill", 1, "retention.ms", "-1")
	s.retained = mustCreate(t, addr, "retained", 1, "retention.ms", "3600000")
	s.connect(addr)
	return s
}

func (s *claimSide) connect(addr string) { s.wire = dialWire(s.t, addr) }

// send sends the backfill's only batch and returns the offset that it is answered with.
func (s *claimSide) send() int64 {
	s.t.Helper()
	b := surfaceBatch{Producer: 77, Timestamp: claimTime, Values: []string{"one", "two"}}
	got := s.wire.produceTo(s.kept, 0, 9, b.bytes())
	if got.ErrorCode != 0 {
		s.t.Fatalf("the backfill is refused: %d", got.ErrorCode)
	}
	return got.BaseOffset
}

func (s *claimSide) backfill(when string, want int64) {
	s.t.Helper()
	if got := s.send(); got != want {
		s.t.Errorf("%s the backfill is at %d, want %d", when, got, want)
	}
}

// retains waits until retention has deleted a batch that claims no largest time, twice: so at least
// one of its turns began and ended meanwhile.
func (s *claimSide) retains() {
	s.t.Helper()
	for range 2 {
		b := lying(func(c *claimed) { c.largest = -1 })()
		got := s.wire.produceTo(s.retained, 0, 9, b.bytes())
		if got.ErrorCode != 0 {
			s.t.Fatalf("refused: %d", got.ErrorCode)
		}
		end := got.BaseOffset + int64(len(b.times))
		s.until(fmt.Sprintf("the log never starts at its end %d", end), func() bool {
			return s.wire.listOffset(s.retained, 0, -2, -1, 7).Offset == end
		})
	}
}

func (s *claimSide) until(what string, ok func() bool) {
	s.t.Helper()
	err := harness.Until(30*time.Second, func() error {
		if !ok() {
			return fmt.Errorf("%s", what)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
