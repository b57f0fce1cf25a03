// OffsetCommit, versions 2 to 10.
//
//	2   retention_time_ms, up to 4
//	6   leader epoch of the last record
//	7   group.instance.id
//	8   flexible
//	9   GROUP_ID_NOT_FOUND instead of ILLEGAL_GENERATION for a group that does not exist
//	10  topic ids
//
// The answer waits until the offsets are durable.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	commitRetentionMaxVersion = 4
	commitNoGroupVersion      = 9
	commitTopicIDVersion      = 10
)

// commitSlot says where the outcome of an offset goes.
type commitSlot struct{ topic, partition int }

func (b *Broker) offsetCommit(ctx context.Context, c *call, req *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetCommitResponse()
	r := c.commitRequest(req)
	var slots []commitSlot
	denied := c.groupError(req.Group)
	for i := range req.Topics {
		rt := &req.Topics[i]
		topic, err := b.committedTopic(c, rt)
		if denied != nil {
			err = denied
		}
		out := kmsg.OffsetCommitResponseTopic{Topic: rt.Topic, TopicID: rt.TopicID, Partitions: make([]kmsg.OffsetCommitResponseTopicPartition, len(rt.Partitions))}
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			out.Partitions[j].Partition = rp.Partition
			if perr := partitionError(topic, rp.Partition, err); perr != nil {
				out.Partitions[j].ErrorCode = c.groupCode(req.Group, perr)
				continue
			}
			r.Partitions = append(r.Partitions, commitPartition(topic, rp))
			slots = append(slots, commitSlot{i, j})
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(slots) == 0 {
		return resp // the group is not asked, as in Kafka
	}
	a, err := b.groups.Commit(ctx, r)
	if err == nil {
		err = a.Err
	}
	for i, slot := range slots {
		perr := err
		if perr == nil {
			perr = a.Partitions[i]
		}
		resp.Topics[slot.topic].Partitions[slot.partition].ErrorCode = c.groupCode(req.Group, perr)
	}
	return resp
}

func (c *call) commitRequest(req *kmsg.OffsetCommitRequest) group.CommitRequest {
	r := group.CommitRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		Retention: -1, KnowsNoGroup: c.version >= commitNoGroupVersion,
	}
	if c.version <= commitRetentionMaxVersion && req.RetentionTimeMillis >= 0 {
		r.Retention = milliseconds(req.RetentionTimeMillis)
	}
	return r
}

// committedTopic finds the topic of an offset, by id from version 10 on.
func (b *Broker) committedTopic(c *call, rt *kmsg.OffsetCommitRequestTopic) (*catalog.Topic, error) {
	return b.groupTopic(c.version >= commitTopicIDVersion, rt.Topic, rt.TopicID, topicRead)
}

// groupTopic finds a topic that a request of a group names by name or by id.
func (b *Broker) groupTopic(byID bool, name string, id ident.TopicID, needs Need) (*catalog.Topic, error) {
	if byID {
		t, ok := b.topics.TopicByID(id)
		switch {
		case !ok:
			return nil, errUnknownTopicID
		case !b.authorize(needs, t.Name):
			return nil, errUnauthorizedTopic
		}
		return t, nil
	}
	if !b.authorize(needs, name) {
		return nil, errUnauthorizedTopic
	}
	t, ok := b.topics.TopicByName(name)
	if !ok {
		return nil, storage.ErrUnknownPartition
	}
	return t, nil
}

// partitionError returns the error of the topic, or an error if the topic has no such partition.
func partitionError(t *catalog.Topic, partition int32, err error) error {
	if err != nil {
		return err
	}
	if !hasPartition(t, partition) {
		return storage.ErrUnknownPartition
	}
	return nil
}

func commitPartition(t *catalog.Topic, rp *kmsg.OffsetCommitRequestTopicPartition) group.CommitPartition {
	p := group.CommitPartition{
		Topic: t.Name, TopicID: t.ID, Partition: rp.Partition, Offset: ident.Offset(rp.Offset), LeaderEpoch: requestEpoch(rp.LeaderEpoch),
	}
	if rp.Metadata != nil {
		p.Metadata = *rp.Metadata
	}
	return p
}
