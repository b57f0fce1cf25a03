package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// RawProducer is an idempotent producer on a raw connection, whose sequence numbers the harness
// knows. It repeats batches that were answered, which must be answered as before. It also sends
// batches that must be refused and never be seen.
type RawProducer struct {
	Load // Idempotent is ignored

	id      int64
	epoch   int16
	next    map[history.Partition]int32 // the next sequence
	counter uint64
	rng     *rand.Rand
	conn    *Conn
}

// The Kafka codes on which the raw producer depends.
const (
	codeCorrupt     = 2
	codeOutOfOrder  = 45
	codeDuplicate   = 46
	rawTimeoutMilli = 10_000
)

// Produce sends until ctx ends. A batch in doubt is repeated until its outcome is known.
func (r *RawProducer) Produce(ctx context.Context) error {
	r.rng = rand.New(rand.NewPCG(r.Seed, r.Client))
	r.next = make(map[history.Partition]int32)
	defer r.hangUp()
	err := Until(drainLimit, func() (err error) {
		r.id, r.epoch, err = ProducerID(r.Addr)
		return err
	})
	if err != nil {
		return err
	}
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := r.step(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func (r *RawProducer) step(ctx context.Context) error {
	part := r.Partitions[r.rng.IntN(len(r.Partitions))]
	switch n := r.rng.IntN(20); {
	case n == 0 && r.next[part] > 0:
		return r.refused(part, "sequence gap", r.next[part]+1000, false, codeOutOfOrder)
	case n == 1:
		return r.refused(part, "damaged batch", r.next[part], true, codeCorrupt)
	default:
		return r.good(ctx, part, n == 2)
	}
}

// batch makes values, and records that they are about to be sent.
func (r *RawProducer) batch(part history.Partition) (values [][]byte, sends []*history.Send) {
	for range 1 + r.rng.IntN(5) {
		r.counter++
		id := history.ID{Client: r.Client, Counter: r.counter}
		value := Value(id, size(r.rng, r.Large))
		values = append(values, value)
		sends = append(sends, r.H.Began(history.Send{ID: id, Partition: part, Hash: Hash(nil, value), Idempotent: true, Acks: -1, Invoke: r.H.Now()}))
	}
	return values, sends
}

// good sends a batch until it is accepted, and perhaps once more after that.
func (r *RawProducer) good(ctx context.Context, part history.Partition, again bool) error {
	values, sends := r.batch(part)
	raw := encodeBatch(values, numbered{r.id, r.epoch, r.next[part]}, time.Now().UnixMilli())
	for answered := 0; ; {
		code, base, err := r.try(part, raw)
		switch {
		case err != nil || kerr.IsRetriable(kerr.ErrorForCode(code)):
			if ctx.Err() != nil {
				return nil // in doubt for ever, as the history says
			}
			if err := r.pause(ctx); err != nil {
				return nil
			}
			continue
		case code == codeDuplicate:
			base = -1 // written, but too long ago for the broker to know where
		case code != 0:
			return fmt.Errorf("raw producer: a good batch with sequence %d for %s was refused: %w", r.next[part], part, kerr.ErrorForCode(code))
		}
		for i, s := range sends {
			offset := base
			if base >= 0 {
				offset += int64(i)
			}
			r.H.Ended(s, history.OK, 0, offset)
		}
		if answered++; !again || answered == 2 {
			break
		}
	}
	r.Acked.Add(int64(len(sends)))
	r.next[part] += int32(len(sends))
	return nil
}

// refused sends a batch that must not be written.
func (r *RawProducer) refused(part history.Partition, what string, sequence int32, damage bool, want int16) error {
	values, sends := r.batch(part)
	raw := encodeBatch(values, numbered{r.id, r.epoch, sequence}, time.Now().UnixMilli())
	if damage {
		raw[len(raw)-2] ^= 0x40
	}
	code, _, err := r.try(part, raw)
	if err != nil || kerr.IsRetriable(kerr.ErrorForCode(code)) && code != want {
		return nil // the broker is away: the outcome stays open, and the batch is not sent again
	}
	if code != want {
		return fmt.Errorf("raw producer: a %s for %s got code %d, want %d", what, part, code, want)
	}
	for _, s := range sends {
		r.H.Ended(s, history.Fail, code, -1)
	}
	return nil
}

// try sends a batch once.
func (r *RawProducer) try(part history.Partition, raw []byte) (code int16, base int64, err error) {
	if r.conn == nil {
		if r.conn, err = Dial(r.Addr); err != nil {
			r.conn = nil
			return 0, 0, err
		}
	}
	code, base, err = r.conn.Produce(part.Topic, part.Index, raw)
	if err != nil {
		r.hangUp()
	}
	return code, base, err
}

func (r *RawProducer) hangUp() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// pause waits before the next attempt.
func (r *RawProducer) pause(ctx context.Context) error {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Produce sends one batch with acks=all and returns the partition's code and base offset.
func (c *Conn) Produce(topic string, partition int32, raw []byte) (code int16, base int64, err error) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = -1, rawTimeoutMilli
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, raw
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := do[*kmsg.ProduceResponse](c, req)
	if err != nil {
		return 0, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, 0, fmt.Errorf("produce answers for %d topics, sent one", len(resp.Topics))
	}
	got := resp.Topics[0].Partitions[0]
	return got.ErrorCode, got.BaseOffset, nil
}

// Quiet is an idempotent producer that sends one batch to each partition and nothing new after
// that. Whether a batch is a repetition is then known only from what the broker keeps outside of
// its log.
type Quiet struct {
	raw   *RawProducer
	sent  map[history.Partition][]byte
	sends map[history.Partition][]*history.Send
}

// NewQuiet sends the batches.
func NewQuiet(addr string, h *history.History, parts []history.Partition) (*Quiet, error) {
	q := &Quiet{
		raw:  &RawProducer{Load: Load{Addr: addr, H: h, Client: h.Client(), Partitions: parts}},
		sent: make(map[history.Partition][]byte), sends: make(map[history.Partition][]*history.Send),
	}
	q.raw.rng = rand.New(rand.NewPCG(0, q.raw.Client))
	var id int64
	var epoch int16
	err := Until(drainLimit, func() (err error) {
		id, epoch, err = ProducerID(addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		values, sends := q.raw.batch(p)
		q.sent[p], q.sends[p] = encodeBatch(values, numbered{id, epoch, 0}, time.Now().UnixMilli()), sends
	}
	return q, q.Repeat(drainLimit)
}

// Repeat sends the batches once more. The history compares the answers with the first ones.
func (q *Quiet) Repeat(limit time.Duration) error {
	defer q.raw.hangUp()
	for p, raw := range q.sent {
		var code int16
		var base int64
		err := Until(limit, func() (err error) {
			if code, base, err = q.raw.try(p, raw); err == nil && kerr.IsRetriable(kerr.ErrorForCode(code)) {
				err = kerr.ErrorForCode(code)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("quiet producer, %s: %w", p, err)
		}
		if code != 0 && code != codeDuplicate {
			return fmt.Errorf("quiet producer: the repeat of a batch that was answered is refused in %s: %w", p, kerr.ErrorForCode(code))
		}
		for i, s := range q.sends[p] {
			if code == 0 {
				q.raw.H.Ended(s, history.OK, 0, base+int64(i))
			}
		}
	}
	return nil
}
