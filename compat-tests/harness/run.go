package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Seed returns the seed of a test's run, SLUICE_SEED or a new one, and prints it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64() >> 16
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SLUICE_SEED: %v", err)
		}
	}
	t.Logf("seed: SLUICE_SEED=%d", seed)
	return seed
}

// Long reports whether the long evidence was asked for.
func Long() bool { return os.Getenv("SLUICE_LONG") == "1" }

// Crew is a set of producers and an auditor that work on one broker.
type Crew struct {
	H     *history.History
	Acked atomic.Int64
	Loads []*Load

	t       testing.TB
	ctx     context.Context // context of the work; ends with Rest
	cancel  context.CancelFunc
	work    sync.WaitGroup
	mu      sync.Mutex
	errs    []error
	auditor *Auditor
	parts   []history.Partition
}

// NewCrew starts producers on the partitions (idempotent and plain ones of franz-go, and a raw one)
// and an auditor that follows them.
func NewCrew(t testing.TB, addr string, h *history.History, seed uint64, parts []history.Partition, idempotent, plain int) *Crew {
	return NewHeavyCrew(t, addr, h, seed, parts, idempotent, plain, 0)
}

// NewHeavyCrew is NewCrew with large additional large values in a hundred.
func NewHeavyCrew(t testing.TB, addr string, h *history.History, seed uint64, parts []history.Partition, idempotent, plain, large int) *Crew {
	ctx, cancel := context.WithCancel(t.Context())
	abort, abandon := context.WithCancel(context.WithoutCancel(t.Context()))
	c := &Crew{H: h, t: t, cancel: cancel, auditor: &Auditor{Addr: addr, H: h}, parts: parts}
	t.Cleanup(func() { // a test that failed half-way leaves nothing running
		cancel()
		abandon()
		c.work.Wait()
	})
	c.ctx = ctx
	load := func(idempotent bool) *Load {
		l := &Load{Addr: addr, H: h, Client: h.Client(), Seed: seed, Idempotent: idempotent, Partitions: parts, Large: large, Acked: &c.Acked, Abort: abort}
		c.Loads = append(c.Loads, l)
		return l
	}
	for i := range idempotent + plain {
		l := load(i < idempotent)
		c.run(func() error { return l.Produce(ctx) })
	}
	raw := &RawProducer{Load: Load{Addr: addr, H: h, Client: h.Client(), Seed: seed, Partitions: parts, Acked: &c.Acked, Abort: abort}}
	c.run(func() error { return raw.Produce(ctx) })
	c.run(func() error {
		(&Auditor{Addr: addr, H: h}).Follow(ctx, parts)
		return nil
	})
	return c
}

// Also adds one more worker until Rest. Its error fails the test.
func (c *Crew) Also(work func(context.Context) error) {
	c.run(func() error { return work(c.ctx) })
}

func (c *Crew) run(f func() error) {
	c.work.Go(func() {
		if err := f(); err != nil {
			c.mu.Lock()
			c.errs = append(c.errs, err)
			c.mu.Unlock()
		}
	})
}

// ackLimit is how long records may take to be acknowledged while a broker is there.
const ackLimit = 60 * time.Second

// AwaitAcks waits until the given number of further records are acknowledged.
func (c *Crew) AwaitAcks(more int64) {
	c.t.Helper()
	want := c.Acked.Load() + more
	err := Until(ackLimit, func() error {
		if got := c.Acked.Load(); got < want {
			return fmt.Errorf("%d records answered after %v, waiting for %d", got, ackLimit, want)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// Rest ends the producers, after they have sent what they have, and the auditor.
func (c *Crew) Rest() {
	c.t.Helper()
	c.cancel()
	c.work.Wait()
	for _, err := range c.errs {
		c.t.Error(err)
	}
	for _, l := range c.Loads {
		for i, err := range l.Failures() {
			if i == 5 {
				c.t.Errorf("and %d more of producer %d", len(l.Failures())-i, l.Client)
				break
			}
			c.t.Errorf("a client that may retry was told of an error: %v", err)
		}
	}
}

// Sweep reads all partitions once from start to end.
func (c *Crew) Sweep() map[history.Partition]history.Sweep {
	c.t.Helper()
	swept, err := c.auditor.SweepAll(c.parts, ackLimit)
	if err != nil {
		c.t.Fatal(err)
	}
	return swept
}

// Verdict checks the history and reports every anomaly.
func Verdict(t testing.TB, h *history.History) {
	t.Helper()
	counts := h.Counts()
	for _, a := range h.Check() {
		t.Errorf("anomaly: %s", a)
	}
	t.Logf("history: %+v", counts)
	if counts.Acked == 0 || counts.Records == 0 {
		t.Error("nothing was acknowledged or read: the test shows nothing")
	}
}

// Partitions returns the names of all partitions of topics.
func Partitions(count int32, topics ...string) []history.Partition {
	var parts []history.Partition
	for _, topic := range topics {
		for i := range count {
			parts = append(parts, history.Partition{Topic: topic, Index: i})
		}
	}
	return parts
}
