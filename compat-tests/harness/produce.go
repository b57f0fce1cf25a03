package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Load is one producer that goes on whatever happens to its broker, and records what it sends.
type Load struct {
	Addr       string
	H          *history.History
	Client     uint64 // unique in the history; also seeds what the producer does
	Seed       uint64
	Idempotent bool
	Partitions []history.Partition
	Acked      *atomic.Int64 // counts acknowledged records; shared by all loads
	// Large is how many of a hundred values are large, in addition to one.
	Large int
	// Abort ends a producer that is still trying to send its last records.
	Abort context.Context

	mu       sync.Mutex
	failures []error
}

// burstEvery and burstMax pace a producer to about a thousand records a second, so that a long run
// stays small enough to be checked.
const (
	burstEvery = 4 * time.Millisecond
	burstMax   = 8
)

// drainLimit is how long a producer may take to send its last records.
const drainLimit = 60 * time.Second

// Failures returns the errors that the client reported for records. A stock client that may retry
// should report none, whatever happens to the broker.
func (l *Load) Failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

// Produce sends with franz-go until ctx ends, then sends what is left.
func (l *Load) Produce(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(l.Seed, l.Client))
	cl, err := kgo.NewClient(l.options(rng)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	counter := uint64(0)
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		for range 1 + rng.IntN(burstMax) {
			counter++
			l.send(ctx, cl, history.ID{Client: l.Client, Counter: counter}, rng)
		}
	}
	drain, cancel := context.WithTimeout(l.Abort, drainLimit)
	defer cancel()
	if err := cl.Flush(drain); err != nil {
		return fmt.Errorf("producer %d could not get its last %d records through in %v: %w", l.Client, cl.BufferedProduceRecords(), drainLimit, err)
	}
	return nil
}

func (l *Load) options(rng *rand.Rand) []kgo.Opt {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	opts := []kgo.Opt{
		kgo.SeedBrokers(l.Addr),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[rng.IntN(len(codecs))]),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(2000),
		kgo.UnknownTopicRetries(-1),
		// A broker that is killed right after it accepted a connection looks like a TLS port, and
		// the client would give up.
		kgo.AlwaysRetryEOF(),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}
	if l.Idempotent {
		return append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	return append(opts, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
}

func (l *Load) send(ctx context.Context, cl *kgo.Client, id history.ID, rng *rand.Rand) {
	part := l.Partitions[rng.IntN(len(l.Partitions))]
	value := Value(id, size(rng, l.Large))
	acks := int16(1)
	if l.Idempotent {
		acks = -1
	}
	s := l.H.Began(history.Send{ID: id, Partition: part, Hash: Hash(nil, value), Idempotent: l.Idempotent, Acks: acks, Invoke: l.H.Now()})
	r := &kgo.Record{Topic: part.Topic, Partition: part.Index, Value: value}
	// The record must not fail when ctx ends: it is tried until it is acknowledged.
	cl.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
		if err != nil {
			// An earlier attempt may have been written, so an error is never definite.
			l.H.Ended(s, history.Indefinite, 0, -1)
			l.mu.Lock()
			l.failures = append(l.failures, fmt.Errorf("%s to %s: %w", id, part, err))
			l.mu.Unlock()
			return
		}
		l.H.Ended(s, history.OK, 0, r.Offset)
		l.Acked.Add(1)
	})
}

// size is mostly small, and sometimes large.
func size(rng *rand.Rand, large int) int {
	if rng.IntN(100) <= large {
		return 20_000
	}
	return valueHeaderBytes + rng.IntN(400)
}
