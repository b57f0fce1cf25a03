// Metadata, versions 0 to 13.
//
//	0   an empty list means all topics; from 1 on null does, and empty means none
//	4   auto-creation can be declined
//	5   offline replicas
//	7   leader epochs
//	8   authorised operations
//	9   flexible
//	10  topic ids; 12 asks by id
//	13  top-level error code
//
// Different from Apache Kafka: if the request creates a topic, the first answer already has the
// topic. As many replicas are listed as the topic asks for, whatever the number of brokers.

package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	metadataNullIsAllVersion = 1
	metadataAutoVersion      = 4
	metadataByIDVersion      = 12
)

func (b *Broker) metadata(ctx context.Context, c *call, req *kmsg.MetadataRequest) kmsg.Response {
	resp := kmsg.NewPtrMetadataResponse()
	nodes := c.brokers()
	for _, n := range nodes {
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port, Rack: n.Rack})
	}
	resp.ClusterID = kmsg.StringPtr(b.topics.ClusterID())
	resp.ControllerID = controllerID(nodes)
	resp.AuthorizedOperations = operationsNotAsked
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = b.authorizedOperations(OnCluster, "")
	}
	resp.Topics = b.metadataTopics(ctx, c, req, nodes)
	return resp
}

func (b *Broker) metadataTopics(ctx context.Context, c *call, req *kmsg.MetadataRequest, nodes []Node) []kmsg.MetadataResponseTopic {
	topics := []kmsg.MetadataResponseTopic{}
	if req.Topics == nil || len(req.Topics) == 0 && c.version < metadataNullIsAllVersion {
		for _, t := range b.topics.AllTopics() {
			if c.allowed(t.Name) {
				topics = append(topics, b.describeTopic(t, req, nodes))
			}
		}
		return topics
	}
	type asked struct {
		name string
		id   [16]byte
	}
	seen := map[asked]bool{} // naming a topic twice does not make the answer longer
	for i := range req.Topics {
		rt := &req.Topics[i]
		a := asked{id: rt.TopicID}
		if rt.Topic != nil {
			a.name = *rt.Topic
		}
		if seen[a] {
			continue
		}
		seen[a] = true
		t, err := b.metadataTopic(ctx, c, req, rt)
		if err != nil {
			topics = append(topics, topicWithError(rt, err))
			continue
		}
		topics = append(topics, b.describeTopic(t, req, nodes))
	}
	return topics
}

// metadataTopic finds one topic by name or id. If the request wants that, it creates the topic by
// name.
func (b *Broker) metadataTopic(ctx context.Context, c *call, req *kmsg.MetadataRequest, rt *kmsg.MetadataRequestTopic) (*catalog.Topic, error) {
	id := ident.TopicID(rt.TopicID)
	switch {
	case rt.Topic != nil && id.IsZero():
		return b.metadataByName(ctx, c, req, *rt.Topic)
	case rt.Topic != nil || id.IsZero() || c.version < metadataByIDVersion:
		return nil, fmt.Errorf("%w: either a name or an id, and ids from version %d on", errInvalidRequest, metadataByIDVersion)
	}
	t, ok := b.topics.TopicByID(id)
	switch {
	case !ok:
		return nil, errUnknownTopicID
	case !c.allowed(t.Name):
		return nil, errUnauthorizedTopic
	}
	return t, nil
}

func (b *Broker) metadataByName(ctx context.Context, c *call, req *kmsg.MetadataRequest, name string) (*catalog.Topic, error) {
	if !c.allowed(name) {
		return nil, errUnauthorizedTopic
	}
	if t, ok := b.topics.TopicByName(name); ok {
		return t, nil
	}
	if err := validateTopicName(name); err != nil {
		return nil, err
	}
	if b.cfg.AutoCreateOff || c.version >= metadataAutoVersion && !req.AllowAutoTopicCreation || internalTopics[name] && name != coordinator.OffsetsTopic ||
		!b.authorize(topicCreate, name) {
		return nil, storage.ErrUnknownPartition
	}
	if err := b.waitOpened(); err != nil {
		return nil, err
	}
	if name == coordinator.OffsetsTopic {
		return b.createOffsetsTopic(ctx)
	}
	return b.autoCreate(ctx, name)
}

func (b *Broker) autoCreate(ctx context.Context, name string) (*catalog.Topic, error) {
	if err := b.checkCollision(name); err != nil {
		return nil, err
	}
	t, err := b.topics.CreateTopic(ctx, TopicSpec{Name: name, Partitions: b.cfg.PartitionsDefault, ReplicationFactor: b.cfg.ReplicationDefault})
	if errors.Is(err, catalog.ErrTopicExists) {
		if t, ok := b.topics.TopicByName(name); ok {
			return t, nil
		}
	}
	if err != nil {
		b.logger.Warn("topic not created on first use", "topic", name, "err", err)
		// Clients retry this error, unlike some of the errors that may be behind it.
		return nil, storage.ErrUnknownPartition
	}
	return t, nil
}

func topicWithError(rt *kmsg.MetadataRequestTopic, err error) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.ErrorCode = int16(codeOf(err))
	out.Topic, out.TopicID = rt.Topic, rt.TopicID
	out.Partitions = []kmsg.MetadataResponseTopicPartition{}
	return out
}

func (b *Broker) describeTopic(t *catalog.Topic, req *kmsg.MetadataRequest, nodes []Node) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, internalTopics[t.Name]
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p := describePartition(t, int32(i), nodes)
		out.Partitions[i] = kmsg.MetadataResponseTopicPartition{
			ErrorCode: p.code, Partition: int32(i), Leader: p.leader, LeaderEpoch: p.epoch,
			Replicas: p.replicas, ISR: p.replicas, OfflineReplicas: p.offline,
		}
	}
	out.AuthorizedOperations = operationsNotAsked
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = b.authorizedOperations(OnTopic, t.Name)
	}
	return out
}

// partitionView is a partition as Metadata and DescribeTopicPartitions show it.
type partitionView struct {
	code     int16
	leader   int32
	epoch    int32
	replicas []int32
	offline  []int32
}

func describePartition(t *catalog.Topic, index int32, nodes []Node) partitionView {
	l := t.Partitions[index]
	v := partitionView{leader: l.Broker, epoch: int32(l.Epoch), replicas: replicas(l.Broker, t.ReplicationFactor, nodes), offline: []int32{}}
	if !isLive(nodes, l.Broker) {
		v.code, v.offline, v.leader = int16(codeOf(storage.ErrNotReady)), []int32{l.Broker}, -1
	}
	return v
}
