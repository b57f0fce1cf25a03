// DescribeProducers, version 0, flexible. It lists the producers that a partition remembers for
// idempotence. Transactions are not served: no producer has a coordinator or an open transaction.
//
// Different from Apache Kafka: the time of a producer is the moment at which its last batch was
// placed, by the broker's clock, and not a time that the client claims. A partition that is named
// twice is refused the second time, so that asking twice does not make an answer longer.

package broker

import (
	"context"
	"fmt"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) describeProducers(_ context.Context, c *call, req *kmsg.DescribeProducersRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeProducersResponse()
	var count namedPartitions
	seen := map[ident.TopicPartition]bool{}
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.DescribeProducersResponseTopic{Topic: rt.Topic}
		for _, index := range rt.Partitions {
			var producers []kmsg.DescribeProducersResponseTopicPartitionActiveProducer
			err := count.next()
			if err == nil {
				producers, err = b.producersOf(c, rt.Topic, index, seen)
			}
			out.Partitions = append(out.Partitions, kmsg.DescribeProducersResponseTopicPartition{
				Partition: index, ErrorCode: int16(codeOf(err)), ErrorMessage: partitionMessage(err), ActiveProducers: producers,
			})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Broker) producersOf(c *call, name string, index int32, seen map[ident.TopicPartition]bool) (out []kmsg.DescribeProducersResponseTopicPartitionActiveProducer, err error) {
	if err := validateTopicName(name); err != nil {
		return nil, err
	}
	t, err := b.partitionNamed(c, name, index)
	if err != nil {
		return nil, err
	}
	tp := ident.TopicPartition{Topic: t.ID, Index: index}
	if seen[tp] {
		return nil, fmt.Errorf("%w: the partition stands twice", errInvalidRequest)
	}
	seen[tp] = true
	producers, err := b.log.Producers(tp)
	if err != nil {
		return nil, err
	}
	for _, p := range producers {
		out = append(out, activeProducer(p))
	}
	return out, nil
}

func activeProducer(p storage.Producer) kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
	a.ProducerID, a.ProducerEpoch, a.LastSequence = int64(p.ID), int32(p.Epoch), p.LastSequence
	a.LastTimestamp = p.Placed.UnixMilli()
	a.CoordinatorEpoch, a.CurrentTxnStartOffset = -1, -1
	return a
}
