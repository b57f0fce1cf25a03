// OffsetDelete, version 0.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) offsetDelete(ctx context.Context, c *call, req *kmsg.OffsetDeleteRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	r := group.DeleteOffsetsRequest{Group: req.Group}
	var slots []commitSlot
	var topics []kmsg.OffsetDeleteResponseTopic
	for i := range req.Topics {
		rt := &req.Topics[i]
		topic, err := b.groupTopic(false, rt.Topic, [16]byte{}, topicRead)
		out := kmsg.OffsetDeleteResponseTopic{Topic: rt.Topic, Partitions: make([]kmsg.OffsetDeleteResponseTopicPartition, len(rt.Partitions))}
		for j := range rt.Partitions {
			index := rt.Partitions[j].Partition
			out.Partitions[j].Partition = index
			if perr := partitionError(topic, index, err); perr != nil {
				out.Partitions[j].ErrorCode = c.groupCode(req.Group, perr)
				continue
			}
			r.Partitions = append(r.Partitions, group.PartitionName{Topic: rt.Topic, Partition: index})
			slots = append(slots, commitSlot{i, j})
		}
		topics = append(topics, out)
	}
	errs, err := b.deleteOffsets(ctx, c, r)
	if err != nil {
		resp.ErrorCode = c.groupCode(req.Group, err)
		return resp
	}
	for i, slot := range slots {
		topics[slot.topic].Partitions[slot.partition].ErrorCode = c.groupCode(req.Group, errs[i])
	}
	resp.Topics = topics
	return resp
}

// deleteOffsets returns the outcome of each partition, or the reason why there is none.
func (b *Broker) deleteOffsets(ctx context.Context, c *call, r group.DeleteOffsetsRequest) ([]error, error) {
	if err := c.groupError(r.Group); err != nil {
		return nil, err
	}
	// Only here: in OffsetCommit and OffsetFetch the empty name is a name like any other.
	if r.Group == "" {
		return nil, group.ErrInvalidGroupID
	}
	a, err := b.groups.DeleteOffsets(ctx, r)
	if err != nil {
		return nil, err
	}
	return a.Partitions, a.Err
}
