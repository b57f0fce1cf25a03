package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

// Log is what the coordinator needs of storage.
type Log interface {
	// Append places batches; req.Done is called once, when all are durable and visible or failed.
	Append(req *storage.AppendRequest)
	// Read fills in what is there now.
	Read(ctx context.Context, f *storage.Fetch)
	// ListOffset looks an offset up by time.
	ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, isolation storage.Isolation) (storage.OffsetAt, error)
	// DeleteRecords moves a partition's log start up to before.
	DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (ident.Offset, error)
}

// Topics is what the coordinator needs of the metadata quorum.
type Topics interface {
	// TopicByName finds a topic that exists now; local and cheap.
	TopicByName(name string) (*catalog.Topic, bool)
}

// Deps are the parts that a coordinator is joined to.
type Deps struct {
	Log    Log
	Topics Topics
	// CreateTopic makes a topic; catalog.ErrTopicExists if there is one of that name.
	CreateTopic func(ctx context.Context, name string, partitions int32, replicationFactor int16, configs map[string]string) error
	// Brokers counts the live brokers.
	Brokers func() int
	NodeID  int32
	Logger  *slog.Logger
}

// offsetsTopicConfigs are what Apache Kafka creates the topic with.
var offsetsTopicConfigs = map[string]string{
	"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": strconv.Itoa(100 * mib),
}

// createWait is how long Find waits for the shards of a topic that it has just created: they are empty.
const createWait = time.Second

// Coordinator serves the groups whose partition of __consumer_offsets this broker leads.
type Coordinator struct {
	cfg   Config
	deps  Deps
	slots chan struct{} // of shards that load

	ctx    context.Context // of all shards: ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	current *shardSet // nil: none are open
	closed  bool
}

// shardSet is the shards of one life of __consumer_offsets, as its leaders are. A set is never
// changed: the next one takes its place.
type shardSet struct {
	topic *catalog.Topic
	// shards are by partition; as many as the topic had when it was opened, because group names are
	// spread over them. nil: another broker leads the partition.
	shards []*shard
}

// of returns the partition of a group.
func (set *shardSet) of(group string) int32 { return PartitionOf(group, len(set.shards)) }

// Open begins to load the groups that there are and returns at once: a group that is not loaded yet is answered with
// ErrLoading. cfg was validated. The coordinator works until Close, or until ctx ends.
func Open(ctx context.Context, cfg Config, deps Deps) *Coordinator {
	c := &Coordinator{cfg: cfg.WithDefaults(), deps: deps, slots: make(chan struct{}, loadParallel)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.Follow() // before its first use the topic is not there
	return c
}

// Loading counts the partitions of __consumer_offsets whose groups answer nothing yet and will soon.
// One whose log cannot be read for now (the object store is away, or it is damaged) is not counted.
func (c *Coordinator) Loading() (partitions int) {
	set, err := c.open()
	if err != nil {
		return 0 // no group was ever used
	}
	for _, s := range set.shards {
		if s != nil && s.loading() {
			partitions++
		}
	}
	return partitions
}

func (s *shard) loading() bool {
	select {
	case <-s.loaded:
		return false
	case <-s.ended:
		return false
	default:
		return !s.stuck.Load()
	}
}

// Close answers everybody who waits with ErrNotCoordinator and returns when nothing runs any more. It may be called twice.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	c.current = nil
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// Follow opens and closes shards as __consumer_offsets and its leaders are now. Whoever hears of a
// change calls it; a request that comes earlier finds the change by itself.
func (c *Coordinator) Follow() { _, _ = c.open() }

// open returns the shards of __consumer_offsets as it is now.
func (c *Coordinator) open() (*shardSet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.deps.Topics.TopicByName(OffsetsTopic)             // under mu: nobody goes back to an older topic
	if c.current != nil && (!ok || c.current.topic.ID != t.ID) { // its groups are not ours to show
		c.current.close()
		c.current = nil
	}
	switch {
	case !ok || c.closed:
		return nil, ErrNotCoordinator
	case c.current == nil:
		c.current = c.followLocked(make([]*shard, len(t.Partitions)), t)
	case c.current.topic != t:
		c.current = c.followLocked(c.current.shards, t)
	}
	return c.current, nil
}

// followLocked returns the shards with one opened for each partition that this broker leads now,
// and those closed whose leadership has ended. A shard belongs to one leader epoch: before
// another one, somebody else may have written to the partition, and its groups are loaded again.
func (c *Coordinator) followLocked(before []*shard, t *catalog.Topic) *shardSet {
	set := &shardSet{topic: t, shards: slices.Clone(before)}
	for i, s := range before {
		l := t.Partitions[i]
		led := l.Broker == c.deps.NodeID
		if s != nil && led && s.epoch == l.Epoch {
			continue
		}
		if s != nil {
			s.close() // I4
			set.shards[i] = nil
		}
		if led {
			set.shards[i] = c.startLocked(ident.TopicPartition{Topic: t.ID, Index: int32(i)}, l.Epoch)
		}
	}
	return set
}

func (c *Coordinator) startLocked(tp ident.TopicPartition, epoch ident.Epoch) *shard {
	s := newShard(c, tp, epoch)
	var ctx context.Context
	ctx, s.close = context.WithCancel(c.ctx)
	c.work.Go(func() { s.run(ctx) })
	return s
}

func (set *shardSet) close() {
	for _, s := range set.shards {
		if s != nil {
			s.close()
		}
	}
}

// shardOf finds the shard of a group.
func (c *Coordinator) shardOf(name string) (*shard, error) {
	set, err := c.open()
	if err != nil {
		return nil, err
	}
	s := set.shards[set.of(name)]
	if s == nil {
		return nil, ErrNotCoordinator
	}
	return s, nil
}

// Find returns which broker coordinates a group. The first call ever creates __consumer_offsets.
func (c *Coordinator) Find(ctx context.Context, name string) (broker int32, err error) {
	set, err := c.open()
	if errors.Is(err, ErrNotCoordinator) {
		set, err = c.create(ctx)
	}
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrNotAvailable, err)
	}
	return set.topic.Partitions[set.of(name)].Broker, nil
}

// create makes the topic, and waits a moment for its shards: a client that has found its coordinator joins at once.
func (c *Coordinator) create(ctx context.Context) (*shardSet, error) {
	factor := min(int(c.cfg.ReplicationFactor), max(1, c.deps.Brokers()))
	err := c.deps.CreateTopic(ctx, OffsetsTopic, c.cfg.Partitions, int16(factor), offsetsTopicConfigs)
	if err != nil && !errors.Is(err, catalog.ErrTopicExists) {
		return nil, fmt.Errorf("create %s: %w", OffsetsTopic, err)
	}
	set, err := c.open()
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(createWait)
	defer late.Stop()
	for _, s := range set.shards {
		if s == nil {
			continue
		}
		select {
		case <-s.loaded:
		case <-s.ended:
		case <-late.C:
			return set, nil
		case <-ctx.Done():
			return set, nil
		}
	}
	return set, nil
}
