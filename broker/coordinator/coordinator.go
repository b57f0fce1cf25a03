package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// shardSet is the shards of one life of __consumer_offsets.
type shardSet struct {
	topic  ident.TopicID
	shards []*shard // by partition; as many as there were when it was opened: group names are spread over them
	cancel context.CancelFunc
}

// Open begins to load the groups that there are and returns at once: a group that is not loaded yet is answered with
// ErrLoading. cfg was validated. The coordinator works until Close, or until ctx ends.
func Open(ctx context.Context, cfg Config, deps Deps) *Coordinator {
	c := &Coordinator{cfg: cfg.WithDefaults(), deps: deps, slots: make(chan struct{}, loadParallel)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	_, _, _ = c.open() // before its first use the topic is not there
	return c
}

// Loading counts the partitions of __consumer_offsets whose groups answer nothing yet and will soon.
// One whose log cannot be read for now (the object store is away, or it is damaged) is not counted.
func (c *Coordinator) Loading() (partitions int) {
	set, _, err := c.open()
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

// open returns the shards of __consumer_offsets as it is now, and the topic.
func (c *Coordinator) open() (*shardSet, *catalog.Topic, error) {
	t, ok := c.deps.Topics.TopicByName(OffsetsTopic)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && (!ok || c.current.topic != t.ID) { // another life of the topic: its groups are not ours to show
		c.current.cancel()
		c.current = nil
	}
	if !ok || c.closed {
		return nil, nil, ErrNotCoordinator
	}
	if c.current == nil {
		c.current = c.startLocked(t)
	}
	return c.current, t, nil
}

func (c *Coordinator) startLocked(t *catalog.Topic) *shardSet {
	set := &shardSet{topic: t.ID, shards: make([]*shard, len(t.Partitions))}
	var ctx context.Context
	ctx, set.cancel = context.WithCancel(c.ctx)
	for i := range t.Partitions {
		if t.Partitions[i].Broker != c.deps.NodeID {
			continue
		}
		s := newShard(c, ident.TopicPartition{Topic: t.ID, Index: int32(i)})
		set.shards[i] = s
		c.work.Go(func() { s.run(ctx) })
	}
	return set
}

// shardOf finds the shard of a group.
func (c *Coordinator) shardOf(name string) (*shard, error) {
	set, t, err := c.open()
	if err != nil {
		return nil, err
	}
	i := PartitionOf(name, len(set.shards))
	if set.shards[i] == nil || t.Partitions[i].Broker != c.deps.NodeID { // I4
		return nil, ErrNotCoordinator
	}
	return set.shards[i], nil
}

// Find returns which broker coordinates a group. The first call ever creates __consumer_offsets.
func (c *Coordinator) Find(ctx context.Context, name string) (broker int32, err error) {
	set, t, err := c.open()
	if errors.Is(err, ErrNotCoordinator) {
		set, t, err = c.create(ctx)
	}
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrNotAvailable, err)
	}
	return t.Partitions[PartitionOf(name, len(set.shards))].Broker, nil
}

// create makes the topic, and waits a moment for its shards: a client that has found its coordinator joins at once.
func (c *Coordinator) create(ctx context.Context) (*shardSet, *catalog.Topic, error) {
	factor := min(int(c.cfg.ReplicationFactor), max(1, c.deps.Brokers()))
	err := c.deps.CreateTopic(ctx, OffsetsTopic, c.cfg.Partitions, int16(factor), offsetsTopicConfigs)
	if err != nil && !errors.Is(err, catalog.ErrTopicExists) {
		return nil, nil, fmt.Errorf("create %s: %w", OffsetsTopic, err)
	}
	set, t, err := c.open()
	if err != nil {
		return nil, nil, err
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
			return set, t, nil
		case <-ctx.Done():
			return set, t, nil
		}
	}
	return set, t, nil
}
