// OffsetForLeaderEpoch, versions 2 to 4: 3 has a replica id, 4 is flexible.
// librdkafka speaks version 2 only.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) offsetForLeaderEpoch(_ context.Context, c *call, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.OffsetForLeaderEpochResponseTopic{Topic: rt.Topic, Partitions: make([]kmsg.OffsetForLeaderEpochResponseTopicPartition, len(rt.Partitions))}
		for j := range rt.Partitions {
			out.Partitions[j] = b.epochEnd(c, rt.Topic, &rt.Partitions[j])
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Broker) epochEnd(c *call, name string, rp *kmsg.OffsetForLeaderEpochRequestTopicPartition) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	out := kmsg.OffsetForLeaderEpochResponseTopicPartition{Partition: rp.Partition, LeaderEpoch: -1, EndOffset: -1}
	topic, err := b.partitionNamed(c, name, rp.Partition)
	if err == nil {
		var epoch ident.Epoch
		var end ident.Offset
		tp := ident.TopicPartition{Topic: topic.ID, Index: rp.Partition}
		if epoch, end, err = b.log.EpochEnd(tp, ident.Epoch(rp.LeaderEpoch), requestEpoch(rp.CurrentLeaderEpoch)); err == nil {
			out.LeaderEpoch, out.EndOffset = int32(epoch), int64(end)
		}
	}
	code := codeOf(err)
	if code == protocol.CodeLeaderNotAvailable {
		code = protocol.CodeOffsetNotAvailable
	}
	out.ErrorCode = int16(code)
	return out
}
