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

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
)

// Log is the part of storage that the coordinator needs.
type Log interface {
	// Append places batches. It calls req.Done once, when all of them are durable and visible, or
	// have failed.
	Append(req *storage.AppendRequest)
	// Read fills in the batches that are there now.
	Read(ctx context.Context, f *storage.Fetch)
	// ListOffset looks an offset up by time.
	ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, isolation storage.Isolation) (storage.OffsetAt, error)
	// DeleteRecords moves a partition's log start up to before.
	DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (ident.Offset, error)
}

// Topics is the part of the metadata quorum that the coordinator needs.
type Topics interface {
	// TopicByName finds a topic that exists now. The lookup is local and cheap.
	TopicByName(name string) (*catalog.Topic, bool)
}

// Deps are the parts that a coordinator works with.
type Deps struct {
	Log    Log
	Topics Topics
	// CreateTopic creates a topic, or returns catalog.ErrTopicExists if the name is taken.
	CreateTopic func(ctx context.Context, name string, partitions int32, replicationFactor int16, configs map[string]string) error
	// Brokers returns the number of live brokers.
	Brokers func() int
	NodeID  int32
	Logger  *slog.Logger
}

// offsetsTopicConfigs are the configs with which Apache Kafka creates the topic.
var offsetsTopicConfigs = map[string]string{
	"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": strconv.Itoa(100 * mib),
}

// createWait is how long Find waits for the shards of a topic that it has just created. They are
// empty, so they load fast.
const createWait = time.Second

// Coordinator serves the groups whose partition of __consumer_offsets this broker leads.
type Coordinator struct {
	cfg    Config
	deps   Deps
	slots  chan struct{} // each shard that loads holds one
	memory *group.Memory // counts the groups of all shards

	ctx    context.Context // parent of the context of every shard: Close ends it
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	current *shardSet // nil if none are open
	closed  bool
}

// shardSet holds the shards of one life of __consumer_offsets, under its leaders of one moment. A
// set is never changed: the next set replaces it.
type shardSet struct {
	topic *catalog.Topic
	// shards has one element per partition. Their number is fixed when the topic is opened, because
	// group names are spread over the partitions. An element is nil if another broker leads the
	// partition.
	shards []*shard
}

// of returns the partition of a group.
func (set *shardSet) of(group string) int32 { return PartitionOf(group, len(set.shards)) }

// Open starts to load the groups and returns at once. Until a group is loaded, a request for it is
// answered with ErrLoading. The caller has validated cfg. The coordinator works until Close, or
// until ctx ends.
func Open(ctx context.Context, cfg Config, deps Deps) *Coordinator {
	c := &Coordinator{cfg: cfg.WithDefaults(), deps: deps, slots: make(chan struct{}, loadParallel)}
	c.memory = group.NewMemory(c.cfg.MemoryBytesMax)
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.Follow() // it does nothing if the topic does not exist yet
	return c
}

// Loading returns the number of partitions of __consumer_offsets whose groups answer nothing yet
// but will soon. A partition whose log cannot be read for now is not counted: the object store may
// be away, or the log damaged.
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

// MemoryUsed returns how many bytes of Config.MemoryBytesMax the groups take.
func (c *Coordinator) MemoryUsed() int64 { return c.memory.Used() }

// Close answers every waiting caller with ErrNotCoordinator, and returns when nothing of the
// coordinator runs any more. It may be called twice.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	c.current = nil
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// Follow opens and closes shards so that they match the present leaders of __consumer_offsets. A
// caller that hears of a change calls Follow; a request that comes earlier notices the change by
// itself.
func (c *Coordinator) Follow() { _, _ = c.open() }

// open returns the shards of __consumer_offsets under its present leaders.
func (c *Coordinator) open() (*shardSet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The lookup is under mu, so that no caller goes back to an older topic.
	t, ok := c.deps.Topics.TopicByName(OffsetsTopic)
	// The old life's groups must not show.
	if c.current != nil && (!ok || c.current.topic.ID != t.ID) {
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

// followLocked returns a set in which one shard is open for each partition that this broker leads
// now, and closes the shards whose leadership has ended. A shard belongs to one leader epoch:
// before another epoch began, some other broker may have written to the partition, so the groups
// are loaded again.
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

// Find returns the broker that coordinates a group. The first call in a cluster's life creates
// __consumer_offsets.
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

// create makes the topic and waits a moment for its shards, so that a client that has found its
// coordinator can join at once.
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
