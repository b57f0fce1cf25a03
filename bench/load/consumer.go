package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// subscription reads everything once.
type subscription struct {
	number    int
	f         *flow
	checker   *checker
	consumers []*consumer
	received  atomic.Int64
	errors    atomic.Int64
	paused    gate

	mu      sync.Mutex
	changed chan struct{} // holds a signal when the assignment of a consumer changed
	reason  error         // the first error
}

// consumer is one client and one goroutine of a subscription.
type consumer struct {
	s        *subscription
	client   *kgo.Client
	recorder *shard
	wire     wireCounter
	fair     int // its share of partitions when the group is complete; it may have one more
	assigned int // its current number of partitions, guarded by s.mu
}

// fetchBytes is OMB's max.partition.fetch.bytes of the Kafka drivers.
const fetchBytes = 10 * mib

func newSubscription(f *flow, number int) (*subscription, error) {
	w := &f.w
	s := &subscription{number: number, f: f, checker: newChecker(f.run, len(f.names)*w.Partitions), changed: make(chan struct{}, 1)}
	if w.OwnTopic { // a consumer reads one topic
		for i, name := range f.names {
			for n := range w.Consumers {
				if err := s.add(fmt.Sprintf("%s-%d-%d", f.prefix, number, i), []string{name}, n); err != nil {
					return s, err
				}
			}
		}
		return s, nil
	}
	for n := range w.Consumers {
		if err := s.add(fmt.Sprintf("%s-%d", f.prefix, number), f.names, n); err != nil {
			return s, err
		}
	}
	return s, nil
}

// add starts the nth consumer of a group.
func (s *subscription) add(group string, topics []string, n int) error {
	w := &s.f.w
	c := &consumer{s: s, recorder: s.f.recorder.shard(s.number + n), fair: len(topics) * w.Partitions / w.Consumers}
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.f.t.Seeds...), kgo.ClientID("bench"), kgo.WithHooks(&c.wire), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(fetchBytes), kgo.FetchMaxBytes(50 * mib),
	}
	if w.Direct {
		opts = append(opts, kgo.ConsumePartitions(share(topics, w.Partitions, n, w.Consumers)))
	} else {
		// A rebalance waits while records are looked at, and offsets are committed before
		// partitions are given away. So a rebalance repeats nothing, and duplicates are the
		// cluster's fault.
		opts = append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topics...), kgo.BlockRebalanceOnPoll(),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { c.assign(m, 1) }),
			kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, m map[string][]int32) {
				if err := cl.CommitUncommittedOffsets(ctx); err != nil {
					s.note(fmt.Errorf("commit before partitions go: %w", err))
				}
				c.assign(m, -1)
			}),
			kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { c.assign(m, -1) }))
	}
	var err error
	if c.client, err = kgo.NewClient(opts...); err != nil {
		return err
	}
	s.consumers = append(s.consumers, c)
	return nil
}

// share returns every nth partition.
func share(topics []string, partitions, n, of int) map[string]map[int32]kgo.Offset {
	offsets := make(map[string]map[int32]kgo.Offset)
	for t, topic := range topics {
		offsets[topic] = make(map[int32]kgo.Offset)
		for p := range partitions {
			if (t*partitions+p)%of == n {
				offsets[topic][int32(p)] = kgo.NewOffset().AtStart()
			}
		}
	}
	return offsets
}

func (c *consumer) assign(m map[string][]int32, sign int) {
	c.s.mu.Lock()
	for _, ps := range m {
		c.assigned += sign * len(ps)
	}
	c.s.mu.Unlock()
	select {
	case c.s.changed <- struct{}{}:
	default:
	}
}

// ready waits until every partition has a reader and every reader its share, that is, until the
// groups are complete.
func (s *subscription) ready(ctx context.Context) error {
	for want := len(s.f.names) * s.f.w.Partitions; !s.f.w.Direct; {
		s.mu.Lock()
		sum, short := 0, 0
		for _, c := range s.consumers {
			sum += c.assigned
			if c.assigned < c.fair {
				short++
			}
		}
		s.mu.Unlock()
		if sum == want && short == 0 {
			return nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return fmt.Errorf("subscription %d: %d of %d partitions are assigned, %d consumers wait for their share: %w", s.number, sum, want, short, ctx.Err())
		}
	}
	return nil
}

// run reads until the context ends.
func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil && c.s.paused.wait(ctx) {
		fetches := c.client.PollFetches(ctx)
		now := c.s.f.now()
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil && !errors.Is(err, kgo.ErrClientClosed) {
				c.s.note(fmt.Errorf("read %s/%d: %w", topic, partition, err))
			}
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { c.take(&p, now) })
		c.client.AllowRebalance()
	}
}

func (s *subscription) note(err error) {
	s.errors.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = err
	}
}

// take checks and records what was read of one partition.
func (c *consumer) take(p *kgo.FetchTopicPartition, now int64) {
	if len(p.Records) == 0 {
		return
	}
	f := c.s.f
	number := f.numbers[p.Topic] + uint32(p.Partition)
	check := &c.s.checker.partitions[number]
	timed := c.s.number == 0 // the first subscription is the one that always exists
	var good int64
	check.mu.Lock()
	c.recorder.mu.Lock()
	for _, r := range p.Records {
		e, ok := check.observeLocked(f.run, number, r.Value)
		if !ok {
			continue
		}
		good++
		if !timed {
			continue
		}
		h := c.recorder.intoLocked(e.intended)
		h.record(endToEnd, now-e.intended)
		if int(e.producer) >= len(f.producers) {
			continue
		}
		if ns, known := f.producers[e.producer].acks.received(e.partition, e.sequence, now, e.intended); known {
			h.record(afterAck, ns)
		}
	}
	c.recorder.mu.Unlock()
	check.mu.Unlock()
	c.s.received.Add(good)
}

// gate is open or closed.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // nil if the gate is open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// wait returns when the gate is open. It returns false if the context ended first.
func (g *gate) wait(ctx context.Context) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened == nil {
		return true
	}
	select {
	case <-opened:
		return true
	case <-ctx.Done():
		return false
	}
}
