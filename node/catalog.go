package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluicemq/sluice/broker"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/metadata/controller"
	"github.com/sluicemq/sluice/metadata/pb"
	"github.com/sluicemq/sluice/storage"
	"github.com/sluicemq/sluice/storage/object"
)

// Catalog answers storage (storage.Catalog) and broker (broker.Topics) from the quorum.
type Catalog struct {
	quorum    controller.Quorum
	broker    int32
	directory string
	now       func() time.Time
	self      broker.Node

	mu        sync.Mutex // guards the block of producer ids
	producers metadata.ProducerBlock
}

// NewCatalog connects one broker to the quorum. directory is the UUID of its data directory.
func NewCatalog(q controller.Quorum, self broker.Node, directory string, now func() time.Time) *Catalog {
	return &Catalog{quorum: q, broker: self.ID, directory: directory, now: now, self: self}
}

// propose returns a command's answer. A refusal is an error.
func (c *Catalog) propose(ctx context.Context, cmd *pb.Command) (metadata.Result, error) {
	res, err := c.quorum.Propose(ctx, cmd)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return res, fmt.Errorf("%s: %w", metadata.CommandName(cmd), err)
	}
	return res, nil
}

// decidePause keeps decide from asking a quorum in a tight loop that refuses at once because it is
// closing.
const decidePause = 20 * time.Millisecond

// decide proposes an administrative command. While the outcome is unknown, it proposes the command
// again under the same request id, so that a client gets the answer of the first application (I13).
func (c *Catalog) decide(ctx context.Context, cmd *pb.Command) (metadata.Result, error) {
	cmd.RequestId = make([]byte, 16)
	_, _ = rand.Read(cmd.RequestId) // never fails
	for {
		res, err := c.propose(ctx, cmd)
		if !errors.Is(err, catalog.ErrUnavailable) || !pause(ctx, decidePause) {
			return res, err
		}
	}
}

// ClusterID returns the cluster's id.
func (c *Catalog) ClusterID() (id string) {
	c.quorum.View(func(s *metadata.State) { id = s.ClusterID() })
	return id
}

// Local says what this broker's disk must hold.
func (c *Catalog) Local() (current ident.Incarnation, opened bool, tails []catalog.Tail) {
	c.quorum.View(func(s *metadata.State) {
		if b, ok := s.Broker(c.broker); ok {
			current, opened, tails = b.Incarnation, b.Opened, b.Tails
		}
	})
	return current, opened, tails
}

// Register seals previous at end and begins the next incarnation (E21).
func (c *Catalog) Register(ctx context.Context, previous ident.Incarnation, end ident.Position) (catalog.Registration, error) {
	res, err := c.propose(ctx, metadata.NewRegisterIncarnation(c.broker, c.directory, previous, end))
	return res.Registration, err
}

// OpenIncarnation allows placing and committing under inc (E27).
func (c *Catalog) OpenIncarnation(ctx context.Context, inc ident.Incarnation) error {
	_, err := c.propose(ctx, metadata.NewOpenIncarnation(inc))
	return err
}

// RetireTail forgets a tail.
func (c *Catalog) RetireTail(ctx context.Context, inc, tail ident.Incarnation) error {
	_, err := c.propose(ctx, metadata.NewRetireTail(inc, tail))
	return err
}

// Topics returns all topics, sorted by name.
func (c *Catalog) Topics() (topics []*catalog.Topic) {
	c.quorum.View(func(s *metadata.State) { topics = s.Topics() })
	return topics
}

// Topic returns the topic with this id.
func (c *Catalog) Topic(id ident.TopicID) (t *catalog.Topic, ok bool) {
	c.quorum.View(func(s *metadata.State) { t, ok = s.Topic(id) })
	return t, ok
}

// Head returns what the quorum knows about a partition.
func (c *Catalog) Head(tp ident.TopicPartition) (h catalog.Head, ok bool) {
	c.quorum.View(func(s *metadata.State) { h, ok = s.Head(tp) })
	return h, ok
}

// Barrier returns when everything that was committed before the call is applied here.
func (c *Catalog) Barrier(ctx context.Context) error { return c.quorum.Barrier(ctx) }

// ReserveObjects prepares object ids (E7).
func (c *Catalog) ReserveObjects(ctx context.Context, inc ident.Incarnation, count int) (ident.ObjectID, error) {
	res, err := c.propose(ctx, metadata.NewReserveObjects(inc, count, c.now().Add(storage.ObjectExpiry)))
	return res.FirstObject, err
}

// LastCommit returns the number of this broker's last commit under inc.
func (c *Catalog) LastCommit(inc ident.Incarnation) (number uint64) {
	c.quorum.View(func(s *metadata.State) {
		if b, ok := s.Broker(c.broker); ok && b.Incarnation == inc {
			number = b.LastCommit
		}
	})
	return number
}

// Commit makes bundles live, range by range (E12).
func (c *Catalog) Commit(ctx context.Context, commit catalog.Commit) (catalog.CommitResult, error) {
	res, err := c.propose(ctx, metadata.NewCommitFlush(commit))
	return res.Commit, err
}

// SwapManifest replaces a partition's manifest.
func (c *Catalog) SwapManifest(ctx context.Context, swap catalog.ManifestSwap) error {
	_, err := c.propose(ctx, metadata.NewSwapManifest(swap))
	return err
}

// ReleaseRanges takes ranges out of a partition's manifest (E30).
func (c *Catalog) ReleaseRanges(ctx context.Context, release catalog.RangeRelease) error {
	_, err := c.propose(ctx, metadata.NewReleaseRanges(release))
	return err
}

// AdvanceLogStart moves a partition's log start.
func (c *Catalog) AdvanceLogStart(ctx context.Context, inc ident.Incarnation, tp ident.TopicPartition, start ident.Offset) error {
	_, err := c.propose(ctx, metadata.NewAdvanceLogStart(inc, tp, start))
	return err
}

// DeadKeys lists the keys that a dead object may have: one key if a commit said what the object is,
// and the key of every kind if the object was prepared and never committed.
func DeadKeys(clusterID string, o *metadata.DeadObject) []string {
	switch o.Kind {
	case metadata.KindBundle:
		return []string{object.Key(clusterID, o.ID, o.Writer, object.KindBundle)}
	case metadata.KindManifest:
		return []string{object.Key(clusterID, o.ID, o.Writer, object.KindManifest)}
	}
	return object.Keys(clusterID, o.ID, o.Writer)
}

// TopicByName returns the topic with this name.
func (c *Catalog) TopicByName(name string) (t *catalog.Topic, ok bool) {
	c.quorum.View(func(s *metadata.State) { t, ok = s.TopicByName(name) })
	return t, ok
}

// TopicByID returns the topic with this id.
func (c *Catalog) TopicByID(id ident.TopicID) (*catalog.Topic, bool) { return c.Topic(id) }

// AllTopics returns every topic, sorted by name.
func (c *Catalog) AllTopics() []*catalog.Topic { return c.Topics() }

// CreateTopic creates a topic under a new id.
func (c *Catalog) CreateTopic(ctx context.Context, spec broker.TopicSpec) (*catalog.Topic, error) {
	var leaders []int32
	c.quorum.View(func(s *metadata.State) { leaders = controller.PlaceTopic(s, int(spec.Partitions)) })
	res, err := c.decide(ctx, metadata.NewCreateTopic(metadata.TopicSpec{
		ID: newTopicID(), Name: spec.Name, Partitions: spec.Partitions, ReplicationFactor: spec.ReplicationFactor,
		Configs: spec.Configs, Leaders: leaders,
	}))
	return res.Topic, err
}

// newTopicID returns a random version 4 UUID.
func newTopicID() (id ident.TopicID) {
	_, _ = rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// DeleteTopic deletes the topic with this id.
func (c *Catalog) DeleteTopic(ctx context.Context, id ident.TopicID) error {
	_, err := c.decide(ctx, metadata.NewDeleteTopic(id))
	return err
}

// CreatePartitions grows a topic.
func (c *Catalog) CreatePartitions(ctx context.Context, id ident.TopicID, count int32) error {
	for {
		var leaders []int32
		c.quorum.View(func(s *metadata.State) {
			if t, ok := s.Topic(id); ok && int(count) > len(t.Partitions) {
				leaders = controller.PlacePartitions(s, t.Creation, len(t.Partitions), int(count))
			}
		})
		_, err := c.decide(ctx, metadata.NewCreatePartitions(id, count, leaders...))
		// On a conflict the topic has grown meanwhile.
		if !errors.Is(err, catalog.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// SetConfigs replaces everything that is set on a topic. The error is catalog.ErrConflict if
// previous is not what is set now.
func (c *Catalog) SetConfigs(ctx context.Context, id ident.TopicID, previous, configs map[string]string) error {
	_, err := c.decide(ctx, metadata.NewSetConfigs(id, previous, configs))
	return err
}

// BrokerConfigs returns what is set on a broker, or on catalog.AllBrokers. The map is read-only.
func (c *Catalog) BrokerConfigs(id int32) (set map[string]string) {
	c.quorum.View(func(s *metadata.State) { set = s.BrokerConfigs(id) })
	return set
}

// SetBrokerConfigs replaces everything that is set on a broker, or on catalog.AllBrokers. The error
// is catalog.ErrConflict if previous is not what is set now.
func (c *Catalog) SetBrokerConfigs(ctx context.Context, id int32, previous, configs map[string]string) error {
	_, err := c.decide(ctx, metadata.NewSetBrokerConfigs(id, previous, configs))
	return err
}

// AllocateProducerID returns an id that nobody else gets, from a block that the quorum gave to this
// broker.
func (c *Catalog) AllocateProducerID(ctx context.Context) (ident.ProducerID, error) {
	if id, ok := c.takeProducer(); ok {
		return id, nil
	}
	res, err := c.propose(ctx, metadata.NewAllocateProducerIds())
	if err != nil {
		return ident.NoProducer, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// If another caller fetched a block meanwhile, the ids that are left of it are given up.
	block := res.Producers
	c.producers = metadata.ProducerBlock{First: block.First + 1, Count: block.Count - 1}
	return block.First, nil
}

func (c *Catalog) takeProducer() (ident.ProducerID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.producers.Count == 0 {
		return ident.NoProducer, false
	}
	id := c.producers.First
	c.producers.First++
	c.producers.Count--
	return id, true
}

// Brokers returns the live brokers: this one.
func (c *Catalog) Brokers() []broker.Node { return []broker.Node{c.self} }
