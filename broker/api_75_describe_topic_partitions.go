// DescribeTopicPartitions, version 0: topics by name, cut off at a number of partitions and
// continued by a cursor.

package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describedPartitionsMax is Kafka's max.request.partition.size.limit.
const describedPartitionsMax = 2000

func (b *Broker) describeTopicPartitions(_ context.Context, c *call, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	names := b.describedNames(c, req)
	from := int32(0)
	if cur := req.Cursor; cur != nil {
		at, found := slices.BinarySearch(names, cur.Topic)
		if cur.Partition < 0 || len(req.Topics) > 0 && !found {
			return describeError(resp, req, fmt.Errorf("%w: cursor", errInvalidRequest))
		}
		names = names[at:]
		if found {
			from = cur.Partition
		}
	}
	left := max(1, min(describedPartitionsMax, int(req.ResponsePartitionLimit)))
	nodes := b.topics.Brokers()
	for _, name := range names {
		if left == 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name}
			break
		}
		out, next := b.describeNamed(c, name, from, left, nodes)
		resp.Topics = append(resp.Topics, out)
		left -= len(out.Partitions)
		from = 0
		if next > 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			break
		}
	}
	return resp
}

// describedNames returns the topics that are asked for, sorted, each once. If none is named, it
// returns all that the caller may see.
func (b *Broker) describedNames(c *call, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(req.Topics) == 0 {
		for _, t := range b.topics.AllTopics() {
			if c.allowed(t.Name) {
				names = append(names, t.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names) // the cursor needs the order of names
}

// describeError gives the error to every topic that was named.
func describeError(resp *kmsg.DescribeTopicPartitionsResponse, req *kmsg.DescribeTopicPartitionsRequest, err error) kmsg.Response {
	for _, rt := range req.Topics {
		out := kmsg.NewDescribeTopicPartitionsResponseTopic()
		out.Topic, out.ErrorCode = kmsg.StringPtr(rt.Topic), int16(codeOf(err))
		out.AuthorizedOperations = operationsNotAsked
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// describeNamed describes up to limit partitions of a topic, and returns the partition at which to
// continue, or 0 if there are no more.
func (b *Broker) describeNamed(c *call, name string, from int32, limit int, nodes []Node) (out kmsg.DescribeTopicPartitionsResponseTopic, next int32) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = kmsg.StringPtr(name)
	t, err := b.describedTopic(c, name)
	out.AuthorizedOperations = b.authorizedOperations(OnTopic, name)
	if err != nil {
		out.ErrorCode = int16(codeOf(err))
		return out, 0
	}
	out.TopicID, out.IsInternal = t.ID, internalTopics[name]
	end := min(int(from)+limit, len(t.Partitions))
	for i := int(from); i < end; i++ {
		v := describePartition(t, int32(i), nodes)
		out.Partitions = append(out.Partitions, kmsg.DescribeTopicPartitionsResponseTopicPartition{
			ErrorCode: v.code, Partition: int32(i), LeaderID: v.leader, LeaderEpoch: v.epoch, Replicas: v.replicas, ISR: v.replicas,
			EligibleLeaderReplicas: []int32{}, LastKnownELR: []int32{}, OfflineReplicas: v.offline,
		})
	}
	if end < len(t.Partitions) {
		next = int32(end)
	}
	return out, next
}

func (b *Broker) describedTopic(c *call, name string) (*catalog.Topic, error) {
	if !c.allowed(name) {
		return nil, errUnauthorizedTopic
	}
	if t, ok := b.topics.TopicByName(name); ok {
		return t, nil
	}
	if err := validateTopicName(name); err != nil {
		return nil, err
	}
	return nil, storage.ErrUnknownPartition
}
