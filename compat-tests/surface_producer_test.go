package compat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// sequenced is an idempotent producer on one partition, written by hand.
type sequenced struct {
	w     *wire
	topic topicRef
	id    int64
	epoch int16
	sent  []sequencedBatch
	next  int32
}

type sequencedBatch struct {
	raw  []byte
	base int64
}

func newSequenced(t testing.TB, b *harness.Broker, topic topicRef) *sequenced {
	t.Helper()
	var id int64
	var epoch int16
	// Apache Kafka's coordinator loads for a while.
	err := harness.Until(wireLimit, func() (err error) {
		id, epoch, err = harness.ProducerID(b.Addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return &sequenced{w: dialWire(t, b.Addr), topic: topic, id: id, epoch: epoch}
}

// batch makes a batch of two records with the given sequence.
func (s *sequenced) batch(epoch int16, sequence int32) []byte {
	return surfaceBatch{Producer: s.id, Epoch: epoch, Sequence: sequence, Values: []string{fmt.Sprint(sequence), "-"}}.bytes()
}

// good sends the next batch, and requires that it is accepted.
func (s *sequenced) good(what string) {
	s.w.t.Helper()
	raw := s.batch(s.epoch, s.next)
	got := s.w.produceTo(s.topic, 0, 9, raw)
	wantCode(s.w.t, what, got.ErrorCode, nil)
	if n := len(s.sent); n > 0 && got.BaseOffset < s.sent[n-1].base+2 {
		s.w.t.Errorf("%s: offset %d after %d", what, got.BaseOffset, s.sent[n-1].base)
	}
	s.sent = append(s.sent, sequencedBatch{raw, got.BaseOffset})
	s.next += 2
}

// wantState repeats batches that were answered, and sends batches that must be refused. Nothing of
// that is written.
func (s *sequenced) wantState(when string) {
	t := s.w.t
	t.Helper()
	end := s.w.listOffset(s.topic, 0, -1, -1, 6).Offset
	for _, b := range s.sent[max(0, len(s.sent)-5):] {
		got := s.w.produceTo(s.topic, 0, 9, b.raw)
		wantCode(t, when+": a repeat", got.ErrorCode, nil)
		if got.BaseOffset != b.base {
			t.Errorf("%s: a repeat is answered with offset %d, the original was %d", when, got.BaseOffset, b.base)
		}
	}
	for _, c := range []struct {
		what     string
		epoch    int16
		sequence int32
		want     *kerr.Error
	}{
		{"a gap", s.epoch, s.next + 2, kerr.OutOfOrderSequenceNumber},
		{"half of a batch again", s.epoch, s.next - 1, kerr.OutOfOrderSequenceNumber},
		{"a new epoch that does not start at 0", s.epoch + 1, s.next, kerr.OutOfOrderSequenceNumber},
		{"a stale epoch", s.epoch - 1, 0, kerr.InvalidProducerEpoch},
	} {
		if c.epoch >= 0 {
			wantCode(t, when+": "+c.what, s.w.produceTo(s.topic, 0, 9, s.batch(c.epoch, c.sequence)).ErrorCode, c.want)
		}
	}
	if len(s.sent) > 5 {
		old := s.w.produceTo(s.topic, 0, 9, s.sent[len(s.sent)-6].raw)
		wantCode(t, when+": the sixth from the end", old.ErrorCode, kerr.OutOfOrderSequenceNumber)
	}
	if now := s.w.listOffset(s.topic, 0, -1, -1, 6).Offset; now != end {
		t.Errorf("%s: repeats and refusals moved the end from %d to %d", when, end, now)
	}
}

// TestSurfaceIdempotence (I11): the last five batches of a producer are recognised, a gap and a
// stale epoch are refused, and a client may raise its epoch itself. That holds also after kill -9,
// and when the records are only in the bucket.
func TestSurfaceIdempotence(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	s := idempotence(t, b)
	b.Kill()
	b.Start()
	s.w = dialWire(t, b.Addr)
	s.wantState("after kill -9")
	s.good("after kill -9")
	b.Stop(stopLimit)
	b.Start()
	s.w = dialWire(t, b.Addr)
	s.wantState("after a flush and a start")
	s.good("after a flush and a start")

	s.epoch, s.next, s.sent = s.epoch+1, 0, nil // KIP-360: no coordinator knows about it
	for range 3 {
		s.good("under an epoch of the client's own")
	}
	s.wantState("in the new epoch")
	b.Kill()
	b.Start()
	b.Kill() // now there are two tails
	b.Start()
	s.w = dialWire(t, b.Addr)
	s.wantState("in the new epoch, after two kills")

	wrap := newSequenced(t, b, s.topic)
	wrap.next = 1<<31 - 4 // nobody knows this producer, so it may start at any sequence
	wrap.good("the first")
	wrap.good("up to the highest sequence")
	wrap.next = 0
	wrap.good("after the wrap")
	wrap.wantState("after the wrap")
}

// idempotence is what must hold for a broker without faults. Apache Kafka is asked as well.
func idempotence(t *testing.T, b *harness.Broker) *sequenced {
	t.Helper()
	s := newSequenced(t, b, mustCreate(t, b.Addr, "once", 1))
	for range 7 {
		s.good("in order")
	}
	s.wantState("in memory")
	return s
}

// TestSurfaceFiveInFlight: requests of a connection that overlap are applied in order. What comes
// after a gap is refused, and all answers come in order.
func TestSurfaceFiveInFlight(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "five", 1)
	s := newSequenced(t, b, topic)
	for round := range 20 {
		var reqs []*kmsg.ProduceRequest
		var ids []int32
		for range 5 {
			req := produceOf(topic, -1, s.batch(0, s.next))
			reqs, ids = append(reqs, req), append(ids, s.w.send(req, 9))
			s.next += 2
		}
		for i := range reqs {
			got := s.w.receive(reqs[i], ids[i]).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			wantCode(t, "in flight", got.ErrorCode, nil)
			if want := int64(round*10 + i*2); got.BaseOffset != want {
				t.Fatalf("request %d of round %d got offset %d, want %d", i, round, got.BaseOffset, want)
			}
		}
	}
	s.next += 2 // one is lost on the way, so those behind it are refused
	var reqs []*kmsg.ProduceRequest
	for range 4 {
		reqs = append(reqs, produceOf(topic, -1, s.batch(0, s.next)))
		s.w.send(reqs[len(reqs)-1], 9)
		s.next += 2
	}
	for i, req := range reqs {
		got := s.w.receive(req, s.w.next-3+int32(i)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		wantCode(t, "behind a gap", got.ErrorCode, kerr.OutOfOrderSequenceNumber)
	}
}

// TestSurfaceLeaderEpochs: each start leads with a higher epoch. Batches have the epoch under which
// they were written, and OffsetForLeaderEpoch says where each epoch ended, at every version.
func TestSurfaceLeaderEpochs(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "epochs", 1)
	last := int32(-1)
	for start := range 4 {
		w := dialWire(t, b.Addr)
		epoch := askTopic(t, b.Addr, topic.name).Partitions[0].LeaderEpoch
		if epoch <= last {
			t.Errorf("start %d leads with epoch %d, the one before with %d", start, epoch, last)
		}
		last = epoch
		for range start + 1 {
			wantCode(t, "produce", w.produceTo(topic, 0, 9, plain("a", "b").bytes()).ErrorCode, nil)
		}
		wantEpochs(t, w, topic, epoch)
		if start%2 == 0 {
			b.Kill()
		} else {
			b.Stop(stopLimit)
		}
		b.Start()
	}
	wantEpochs(t, dialWire(t, b.Addr), topic, askTopic(t, b.Addr, topic.name).Partitions[0].LeaderEpoch)
}

// wantEpochs compares OffsetForLeaderEpoch with the batches.
func wantEpochs(t *testing.T, w *wire, topic topicRef, current int32) {
	t.Helper()
	ends, end := map[int32]int64{}, int64(0)
	previous := int32(-1)
	for _, batch := range w.fetchAll(topic, 0, 0, 12) {
		epoch := epochOf(batch)
		if epoch < previous || epoch > current {
			t.Errorf("a batch at %d bears epoch %d after %d; the leader's is %d", baseOf(batch), epoch, previous, current)
		}
		end = baseOf(batch) + 2
		ends[epoch], previous = end, epoch
	}
	for version := int16(2); version <= 4; version++ {
		for epoch, want := range ends {
			got := w.epochEnd(topic, epoch, -1, version)
			wantCode(t, "OffsetForLeaderEpoch", got.ErrorCode, nil)
			if got.EndOffset != want || got.LeaderEpoch != epoch {
				t.Errorf("v%d: epoch %d ends at %d (epoch %d), its batches at %d", version, epoch, got.EndOffset, got.LeaderEpoch, want)
			}
		}
		if got := w.epochEnd(topic, current, current, version); got.EndOffset != end {
			t.Errorf("v%d: the current epoch %d ends at %d, want the log's end %d", version, current, got.EndOffset, end)
		}
		if got := w.epochEnd(topic, current+5, -1, version); got.EndOffset != -1 || got.LeaderEpoch != -1 {
			t.Errorf("v%d: an epoch that is not known yet ends at %d (epoch %d), want -1", version, got.EndOffset, got.LeaderEpoch)
		}
		wantCode(t, "a current epoch from ahead", w.epochEnd(topic, 0, current+1, version).ErrorCode, kerr.UnknownLeaderEpoch)
		if current > 0 {
			wantCode(t, "a current epoch of the past", w.epochEnd(topic, 0, current-1, version).ErrorCode, kerr.FencedLeaderEpoch)
		}
	}
}

func (w *wire) epochEnd(topic topicRef, epoch, current int32, version int16) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	w.t.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = topic.name
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.LeaderEpoch, rp.CurrentLeaderEpoch = epoch, current
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return w.do(req, version).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
}

func mustDelete(t testing.TB, addr, name string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis, req.TopicNames = 10_000, []string{name}
	wantCode(t, "delete "+name, dialWire(t, addr).do(req, 5).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, nil)
}

// TestSurfaceRecreate: a topic that is created again under the same name is another topic. It has a
// new id, offsets from 0, an epoch of its own, and no records or producers of the old one. The old
// id is unknown at once, also for a fetch that waits.
func TestSurfaceRecreate(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	old := mustCreate(t, b.Addr, "again", 1)
	s := newSequenced(t, b, old)
	for range 3 {
		s.good("before")
	}
	waiting := dialWire(t, b.Addr)
	poll := fetchOf(old, 0, 6)
	poll.MaxWaitMillis = 15_000
	correlation := waiting.send(poll, 13)
	mustDelete(t, b.Addr, "again")
	began := time.Now()
	got := waiting.receive(poll, correlation).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	wantCode(t, "a fetch that waits", got.ErrorCode, kerr.UnknownTopicID)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it was answered %v after the deletion", took)
	}
	wantCode(t, "no topic", askTopic(t, b.Addr, "again").ErrorCode, kerr.UnknownTopicOrPartition)

	next := mustCreate(t, b.Addr, "again", 1)
	if next.id == old.id {
		t.Fatal("the new topic has the old one's id")
	}
	for _, restart := range []bool{false, true} {
		if restart {
			b.Kill()
			b.Start()
		}
		w := dialWire(t, b.Addr)
		wantCode(t, "produce to the old id", w.produceTo(old, 0, 13, plain("lost").bytes()).ErrorCode, kerr.UnknownTopicID)
		wantCode(t, "fetch by the old id", w.fetchFrom(old, 0, 0, 13).ErrorCode, kerr.UnknownTopicID)
		if batches := w.fetchAll(next, 0, 0, 13); len(batches) != 0 {
			t.Errorf("the new topic has %d batches already", len(batches))
		}
	}
	s.w, s.topic, s.next, s.sent = dialWire(t, b.Addr), next, 0, nil
	s.good("the same producer, in the new topic")
	if s.sent[0].base != 0 {
		t.Errorf("the new topic begins at %d", s.sent[0].base)
	}
}

// TestSurfaceRecreateUnderTraffic: a topic is deleted and created again several times, while a
// stock idempotent producer and a stock consumer work on it. Both continue with the new topic once
// they are told to forget the old one, which is how this client treats a new id. Offsets begin
// again.
func TestSurfaceRecreateUnderTraffic(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	const name = "churn"
	ids := map[[16]byte]bool{mustCreate(t, b.Addr, name, 1).id: true}
	client := func(more ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(more, kgo.SeedBrokers(b.Addr), kgo.MetadataMinAge(20*time.Millisecond), kgo.MetadataMaxAge(200*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	traffic := &churn{cl: client(kgo.ProducerLinger(0), kgo.UnknownTopicRetries(2)), topic: name}
	var work sync.WaitGroup
	work.Go(func() { traffic.produce(t, ctx) })
	consumer := client(kgo.ConsumeTopics(name), kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	consumePast(t, ctx, consumer, name, 0)
	for range 4 {
		before := traffic.count.Load()
		mustDelete(t, b.Addr, name)
		ref := mustCreate(t, b.Addr, name, 1)
		if ids[ref.id] {
			t.Fatal("a topic has an id that was given before")
		}
		ids[ref.id] = true
		r := consumePast(t, ctx, consumer, name, traffic.count.Load())
		if n, _ := strconv.ParseInt(string(r.Value), 10, 64); r.Offset > n-before {
			t.Errorf("record %d, %d after the deletion, is at offset %d: the new topic did not begin at 0", n, n-before, r.Offset)
		}
	}
	cancel()
	work.Wait()
}

// churn is a producer whose topic comes and goes. Its records are numbered.
type churn struct {
	cl    *kgo.Client
	topic string
	count atomic.Int64
}

// produce sends one record after another. When the client says that the topic is a new one, produce
// makes it forget the old one.
func (c *churn) produce(t *testing.T, ctx context.Context) {
	for ctx.Err() == nil {
		n := c.count.Add(1)
		err := c.cl.ProduceSync(ctx, &kgo.Record{Topic: c.topic, Value: strconv.AppendInt(nil, n, 10)}).FirstErr()
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition):
			c.cl.PurgeTopicsFromProducing(c.topic)
		default:
			t.Errorf("producing record %d: %v", n, err)
			return
		}
	}
}

// consumePast reads until it gets a record with a higher number.
func consumePast(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, number int64) *kgo.Record {
	t.Helper()
	var found *kgo.Record
	for found == nil {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("no record after number %d was read: %v", number, fetches.Err())
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, kerr.UnknownTopicID) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Fatalf("consuming: %v", err)
			}
			cl.PurgeTopicsFromConsuming(topic)
			cl.AddConsumeTopics(topic)
		})
		fetches.EachRecord(func(r *kgo.Record) {
			if n, _ := strconv.ParseInt(string(r.Value), 10, 64); n > number && found == nil {
				found = r
			}
		})
	}
	return found
}
