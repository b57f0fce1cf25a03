package metadata

import (
	"maps"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata/pb"
)

// This file has the commands on topics: creating and deleting them, their partitions, their configs
// and their log starts.

// partitionsMax bounds the number of partitions of a topic: what one command can create must fit
// into memory and into a snapshot.
const partitionsMax = 100_000

func (s *State) applyCreateTopic(c *pb.CreateTopic) Result {
	id, ok := topicID(c.Topic)
	_, taken := s.topics[id]
	switch {
	case !ok || id.IsZero() || taken || c.Name == "" || len(c.Name) > 249:
		return Result{Err: ErrInvalidCommand}
	case c.PartitionCount < 1 || c.PartitionCount > partitionsMax:
		return Result{Err: catalog.ErrInvalidPartitions}
	}
	if _, exists := s.searchName(c.Name); exists {
		return Result{Err: catalog.ErrTopicExists}
	}
	leaders, err := s.placed(c.Leaders, int(c.PartitionCount), s.nextCreation)
	if err != nil {
		return Result{Err: err}
	}
	t := s.addTopic(&catalog.Topic{
		ID: id, Name: c.Name, Creation: s.nextCreation,
		ReplicationFactor: int16(c.ReplicationFactor), Configs: configsFrom(c.Configs),
	})
	s.nextCreation++
	s.addPartitions(t, leaders)
	return Result{Topic: t.info, Changes: []Change{{Kind: TopicCreated, Topic: t.info}}}
}

// placed returns the leaders of count new partitions: the brokers that the command names or, if it
// names none, all brokers in turn. Each broker leads under its current incarnation. A broker
// without an incarnation cannot lead.
func (s *State) placed(named []int32, count int, turn uint64) ([]catalog.Leadership, error) {
	if len(named) == 0 {
		named = InTurn(s.Leaders(), count, turn)
	}
	switch {
	case len(named) == 0:
		return nil, ErrNoBroker
	case len(named) != count: // the topic has grown since the placement was made
		return nil, catalog.ErrConflict
	}
	leaders := make([]catalog.Leadership, count)
	for i, node := range named {
		b, ok := s.Broker(node)
		if !ok || b.Incarnation == 0 {
			return nil, ErrNoBroker
		}
		leaders[i] = catalog.Leadership{Broker: node, Incarnation: b.Incarnation}
	}
	return leaders, nil
}

// Leaders returns the brokers that may lead partitions, by rising node id.
func (s *State) Leaders() (nodes []int32) {
	for _, b := range s.brokers {
		if b.incarnation != 0 {
			nodes = append(nodes, b.node)
		}
	}
	return nodes
}

// InTurn names a broker for each of count partitions, one after another, beginning with another
// broker for each turn. It returns nil if there are no brokers.
func InTurn(brokers []int32, count int, turn uint64) (named []int32) {
	if len(brokers) == 0 {
		return nil
	}
	for i := range uint64(count) {
		named = append(named, brokers[(turn+i)%uint64(len(brokers))])
	}
	return named
}

// addTopic adds a topic that has no partitions yet.
func (s *State) addTopic(info *catalog.Topic) *topic {
	t := &topic{info: info}
	s.topics[info.ID] = t
	i, _ := s.searchName(info.Name)
	list := s.editable()
	list.topics = slices.Insert(list.topics, i, info)
	return t
}

// addPartitions adds a partition to t for each of the leaders.
func (s *State) addPartitions(t *topic, leaders []catalog.Leadership) {
	for _, leader := range leaders {
		i := len(t.heads)
		leader.Class = catalog.ClassOf(t.info.Configs)
		t.heads = append(t.heads, &catalog.Head{
			Partition: ident.TopicPartition{Topic: t.info.ID, Index: int32(i)},
			Leader:    leader,
		})
	}
	s.republish([]*topic{t})
}

// republish replaces the catalog topics of those topics whose heads changed in leader or in number.
func (s *State) republish(changed []*topic) {
	if len(changed) == 0 {
		return
	}
	list := s.editable()
	for _, t := range changed {
		info := *t.info
		info.Partitions = make([]catalog.Leadership, len(t.heads))
		for i, h := range t.heads {
			info.Partitions[i] = h.Leader
		}
		t.info = &info
		i, ok := s.searchName(info.Name)
		if !ok {
			panic("BUG: topic " + info.Name + " is not in the sorted list")
		}
		list.topics[i] = t.info
	}
}

// applyDeleteTopic frees the name at once. The ranges in a partition's manifest stay counted until
// ReleaseRanges has removed them (E30).
func (s *State) applyDeleteTopic(c *pb.DeleteTopic) Result {
	id, ok := topicID(c.Topic)
	t := s.topics[id]
	if !ok || t == nil {
		return Result{Err: catalog.ErrTopicNotFound}
	}
	s.dropTopic(t)
	return Result{Changes: []Change{{Kind: TopicDeleted, Topic: t.info}}}
}

func (s *State) dropTopic(t *topic) {
	for _, h := range t.heads {
		s.dropHead(h)
	}
	delete(s.topics, t.info.ID)
	i, _ := s.searchName(t.info.Name)
	list := s.editable()
	list.topics = slices.Delete(list.topics, i, i+1)
}

func (s *State) dropHead(h *catalog.Head) {
	for i := range h.Ranges {
		s.unref(h.Ranges[i].Object)
	}
	s.unrefState(h.State)
	s.unrefState(h.Base)
	if h.Manifest.Object == 0 {
		return
	}
	leader := h.Leader
	leader.Class = catalog.ClassUnset // nothing is acknowledged any more
	s.released[h.Partition] = &catalog.Head{
		Partition: h.Partition, Leader: leader, Manifest: h.Manifest,
		LogStart: h.CommittedEnd, CommittedEnd: h.CommittedEnd,
	}
}

func (s *State) applyCreatePartitions(c *pb.CreatePartitions) Result {
	id, ok := topicID(c.Topic)
	t := s.topics[id]
	switch {
	case !ok || t == nil:
		return Result{Err: catalog.ErrTopicNotFound}
	case int(c.PartitionCount) <= len(t.heads) || c.PartitionCount > partitionsMax:
		return Result{Err: catalog.ErrInvalidPartitions}
	}
	have := len(t.heads)
	leaders, err := s.placed(c.Leaders, int(c.PartitionCount)-have, t.info.Creation+uint64(have))
	if err != nil {
		return Result{Err: err}
	}
	first := ident.TopicPartition{Topic: id, Index: int32(have)}
	s.addPartitions(t, leaders)
	return Result{Topic: t.info, Changes: []Change{{Kind: PartitionsAdded, Topic: t.info, Partition: first}}}
}

func (s *State) applySetConfigs(c *pb.SetConfigs) Result {
	id, ok := topicID(c.Topic)
	t := s.topics[id]
	if !ok || t == nil {
		return Result{Err: catalog.ErrTopicNotFound}
	}
	configs := configsFrom(c.Configs)
	switch {
	case maps.Equal(configs, t.info.Configs):
		return Result{Topic: t.info}
	case c.Compares && !maps.Equal(configsFrom(c.Previous), t.info.Configs):
		return Result{Err: catalog.ErrConflict}
	}
	info := *t.info
	info.Configs = configs
	t.info = &info
	s.republish([]*topic{t})
	return Result{Topic: t.info, Changes: []Change{{Kind: ConfigsSet, Topic: t.info}}}
}

// applySetBrokerConfigs replaces the configs that are set on one broker or on all of them. It is a
// compare-and-set. The broker may be unknown: its configs belong to its node id.
func (s *State) applySetBrokerConfigs(c *pb.SetBrokerConfigs) Result {
	configs, now := configsFrom(c.Configs), s.brokerConfigs[c.Broker]
	switch {
	case c.Broker < catalog.AllBrokers:
		return Result{Err: ErrInvalidCommand}
	case maps.Equal(configs, now):
		return Result{}
	case !maps.Equal(configsFrom(c.Previous), now):
		return Result{Err: catalog.ErrConflict}
	}
	s.brokerConfigs[c.Broker] = configs
	if len(configs) == 0 {
		delete(s.brokerConfigs, c.Broker)
	}
	return Result{Changes: []Change{{Kind: BrokerConfigsSet}}}
}

// applyAdvanceLogStart moves a log start up, never back. The log start may pass the committed end,
// which then follows it (E12). Ranges of the head that lie wholly below the log start go; ranges in
// the manifest stay counted until ReleaseRanges.
func (s *State) applyAdvanceLogStart(c *pb.AdvanceLogStart) Result {
	tp, ok := partitionFrom(c.Partition)
	t, h := s.head(tp)
	inc := ident.Incarnation(c.Incarnation)
	switch {
	case !ok || c.Start < 0:
		return Result{Err: ErrInvalidCommand}
	case h == nil:
		return Result{Err: catalog.ErrTopicNotFound}
	case s.committer(inc) == nil || h.Leader.Incarnation != inc: // I4
		return Result{Err: catalog.ErrFenced}
	}
	if !s.moveLogStart(t, h, ident.Offset(c.Start)) {
		return Result{Repeated: true}
	}
	return Result{Changes: []Change{{Kind: LogStartMoved, Topic: t.info, Partition: tp}}}
}

// moveLogStart moves the log start of h up to start, and reports whether it did. A repeated call
// changes nothing, so that no range is counted down twice (E30).
func (s *State) moveLogStart(t *topic, h *catalog.Head, start ident.Offset) bool {
	if start <= h.LogStart {
		return false
	}
	next := *h
	next.LogStart = start
	next.CommittedEnd = max(h.CommittedEnd, start)
	gone := 0
	for gone < len(h.Ranges) && h.Ranges[gone].End <= start {
		gone++
	}
	next.Ranges = slices.Clone(h.Ranges[gone:])
	t.heads[h.Partition.Index] = &next
	for _, r := range h.Ranges[:gone] {
		s.unref(r.Object)
	}
	return true
}
