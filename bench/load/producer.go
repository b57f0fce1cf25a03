package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producer is one client and the records that it sends. Records are made once, and an
// acknowledgement gives the record back. So sending costs the client no memory and 60 bytes of
// writing.
type producer struct {
	number   int
	f        *flow
	client   *kgo.Client
	topics   []*sticky // the topics that it writes, in turn
	turn     int
	recorder *shard
	acks     *ackTimes // nil if nobody reads
	done     func(*kgo.Record, error)
	wire     wireCounter

	// The fields below are owned by the goroutine that sends.
	ready []*kgo.Record
	made  int
	limit int   // the most records in flight
	count int64 // number of records sent since the pace was set
	quota int64 // number of records to send without a pace; 0 for no end

	acknowledged, errors atomic.Int64

	mu      sync.Mutex
	given   []*kgo.Record // records that acknowledgements gave back
	waiting bool
	enough  int // how many returned records are worth waking the sender
	wake    sync.Cond
	failed  map[failedRecord]bool
	reason  error // the first error
}

type failedRecord struct {
	partition uint32
	sequence  int64
}

// The limits of records in flight. The bytes are for all producers together, since a hundred
// producers would otherwise need all memory.
const (
	inFlightRecords = 50_000
	inFlightBytes   = 128 * mib
	inFlightLeast   = 64
	recordsMade     = 64 // at a time
	wakeRecords     = 1024
)

func newProducer(f *flow, number int) (*producer, error) {
	w := &f.w
	p := &producer{number: number, f: f, recorder: f.recorder.shard(number), failed: make(map[failedRecord]bool)}
	p.done = p.acked
	p.wake.L = &p.mu
	p.limit = min(inFlightRecords, max(inFlightLeast, inFlightBytes/w.Producers/w.RecordBytes))
	p.enough = min(wakeRecords, p.limit/8)
	seed := rand.New(rand.NewPCG(uint64(f.run), uint64(number)))
	for i, name := range f.names {
		if w.OwnTopic && i != number%len(f.names) {
			continue
		}
		p.topics = append(p.topics, &sticky{name: name, base: uint32(i * w.Partitions), on: -1, next: make([]int64, w.Partitions), random: seed})
	}
	if w.Subscriptions > 0 {
		p.acks = newAckTimes(len(f.names) * w.Partitions)
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(f.t.Seeds...), kgo.ClientID("bench"), kgo.WithHooks(&p.wire), kgo.RecordPartitioner((*placer)(p)),
		kgo.ProducerBatchCompression(codecs[w.Codec]()), kgo.ProducerLinger(w.Linger), kgo.RequiredAcks(*acks[w.Acks]),
		kgo.MaxBufferedRecords(p.limit + 1024), // never reached: our own limit comes first
	}
	if w.BatchBytes > 0 {
		opts = append(opts, kgo.ProducerBatchMaxBytes(w.BatchBytes))
	}
	if !w.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if w.InFlight > 0 {
		opts = append(opts, kgo.MaxProduceRequestsInflightPerBroker(w.InFlight))
	} else if !w.Idempotent {
		// This is what the idempotent producer has, and Kafka's default.
		opts = append(opts, kgo.MaxProduceRequestsInflightPerBroker(5))
	}
	var err error
	p.client, err = kgo.NewClient(opts...)
	return p, err
}

var codecs = map[string]func() kgo.CompressionCodec{
	"none": kgo.NoCompression, "gzip": kgo.GzipCompression, "snappy": kgo.SnappyCompression, "lz4": kgo.Lz4Compression, "zstd": kgo.ZstdCompression,
}

var acks = map[string]*kgo.Acks{"all": new(kgo.AllISRAcks()), "leader": new(kgo.LeaderAck()), "none": new(kgo.NoAck())}

// take returns a record to send, or nil if all are in flight.
func (p *producer) take(wait bool) *kgo.Record {
	if len(p.ready) == 0 {
		p.refill(wait)
	}
	if len(p.ready) == 0 {
		return nil
	}
	r := p.ready[len(p.ready)-1]
	p.ready = p.ready[:len(p.ready)-1]
	return r
}

// refill takes the records that came back and makes more, up to the limit. If there are none, it
// waits until enough have come back.
func (p *producer) refill(wait bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		p.ready, p.given = p.given, p.ready[:0]
		if len(p.ready) > 0 {
			return
		}
		if p.made < p.limit {
			p.make()
			return
		}
		if !wait || p.f.stopping.Load() {
			return
		}
		p.waiting = true
		p.wake.Wait()
	}
}

func (p *producer) make() {
	for range min(recordsMade, p.limit-p.made) {
		// Producers begin at different payloads.
		body := p.f.pool[(p.number*7919+p.made)%len(p.f.pool)]
		p.ready = append(p.ready, &kgo.Record{Value: newValue(body, p.f.run, uint32(p.number))})
		p.made++
	}
}

// stop wakes the sender, which then finds that the run is over.
func (p *producer) stop() {
	p.mu.Lock()
	p.waiting = false
	p.wake.Signal()
	p.mu.Unlock()
}

// send hands a record to the client. It never waits, since fewer records are in flight than the
// client buffers.
func (p *producer) send(r *kgo.Record, intended, sent int64) {
	setTimes(r.Value, intended, sent)
	r.Topic = p.topics[p.turn].name
	if p.turn++; p.turn == len(p.topics) {
		p.turn = 0
	}
	r.Timestamp = p.f.wall(sent)
	p.client.Produce(context.Background(), r, p.done)
}

// acked is called by the client for each record, one after the other.
func (p *producer) acked(r *kgo.Record, err error) {
	now := p.f.now()
	e := peek(r.Value)
	if err != nil {
		p.note(e, err)
	} else {
		p.acknowledged.Add(1)
		early := p.acks != nil && p.acks.acked(e.partition, e.sequence, now)
		s := p.recorder
		s.mu.Lock()
		h := s.intoLocked(e.intended)
		h.record(publish, now-e.intended)
		if p.f.paced {
			h.record(ack, now-e.sent)
			h.record(delay, e.sent-e.intended)
		}
		if early {
			h.record(afterAck, 0)
		}
		s.mu.Unlock()
	}
	p.mu.Lock()
	p.given = append(p.given, r)
	if p.waiting && len(p.given) >= p.enough {
		p.waiting = false
		p.wake.Signal()
	}
	p.mu.Unlock()
}

func (p *producer) note(e envelope, err error) {
	p.errors.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == nil {
		p.reason = err
	}
	if e.partition != unstamped {
		p.failed[failedRecord{e.partition, e.sequence}] = true
	}
}

// written returns what the producer sent to a partition. It is called when nothing is sent any
// more.
func (p *producer) written(partition int) written {
	w := written{failed: make(map[int64]bool)}
	for _, t := range p.topics {
		if n := partition - int(t.base); n >= 0 && n < len(t.next) {
			w.end = t.next[n]
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.failed {
		if f.partition == uint32(partition) {
			w.failed[f.sequence] = true
		}
	}
	return w
}

// placer makes the client's partitioners.
type placer producer

// ForTopic implements kgo.Partitioner.
func (p *placer) ForTopic(topic string) kgo.TopicPartitioner {
	for _, t := range p.topics {
		if t.name != topic {
			continue
		}
		if p.f.w.Spread {
			return spread{t}
		}
		return t
	}
	panic("BUG: a record of topic " + topic)
}

// sticky stays on a partition until a batch is full or sent and then picks another at random, as
// Kafka clients do for records without a key. It also numbers the records, since here the client
// decides in which order a partition gets them.
type sticky struct {
	name   string
	base   uint32 // the number of partition 0
	on     int    // the current partition; -1 to pick another
	last   int
	next   []int64 // the next sequence per partition
	random *rand.Rand
}

// RequiresConsistency makes kgo choose among all partitions, so that a choice is a partition's
// number.
func (s *sticky) RequiresConsistency(*kgo.Record) bool { return true }

// Partition implements kgo.TopicPartitioner. It is called once more for a record that would have
// begun a new batch; see OnNewBatch.
func (s *sticky) Partition(r *kgo.Record, n int) int {
	if s.on < 0 {
		s.on = s.random.IntN(n)
		if n > 1 && s.on == s.last {
			s.on = (s.on + 1) % n
		}
	}
	setPlace(r.Value, s.base+uint32(s.on), s.next[s.on])
	s.next[s.on]++
	return s.on
}

// OnNewBatch takes the sequence number back, since the record goes to another partition.
func (s *sticky) OnNewBatch() {
	s.next[s.on]--
	s.last, s.on = s.on, -1
}

// spread gives each record to the next partition, as records with keys go.
type spread struct{ s *sticky }

// RequiresConsistency makes kgo choose among all partitions.
func (r spread) RequiresConsistency(*kgo.Record) bool { return true }

// Partition implements kgo.TopicPartitioner.
func (r spread) Partition(rec *kgo.Record, n int) int {
	r.s.on = (r.s.on + 1) % n
	setPlace(rec.Value, r.s.base+uint32(r.s.on), r.s.next[r.s.on])
	r.s.next[r.s.on]++
	return r.s.on
}

// wireCounter counts what the client writes and reads.
type wireCounter struct {
	produced, fetched, requests atomic.Int64
}

// OnProduceBatchWritten implements a hook of kgo.
func (c *wireCounter) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	c.produced.Add(int64(m.CompressedBytes))
}

// OnFetchBatchRead implements a hook of kgo.
func (c *wireCounter) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	c.fetched.Add(int64(m.CompressedBytes))
}

// OnBrokerE2E implements a hook of kgo.
func (c *wireCounter) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if (key == keyProduce || key == keyFetch) && e.Err() == nil {
		c.requests.Add(1)
	}
}

const (
	keyProduce = 0
	keyFetch   = 1
)
