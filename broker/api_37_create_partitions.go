// CreatePartitions, versions 0 to 3: 2 is flexible, 3 may answer THROTTLING_QUOTA_EXCEEDED.
//
// Different from Apache Kafka: an internal topic does not grow (INVALID_TOPIC_EXCEPTION), because
// groups are found by its number of partitions.

package broker

import (
	"context"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) createPartitions(ctx context.Context, c *call, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	ctx, cancel := withRequestTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreatePartitionsResponse()
	counts := map[string]int{}
	for i := range req.Topics {
		counts[req.Topics[i].Topic]++
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		if counts[rt.Topic] == 0 {
			continue // it has its answer already
		}
		err := fmt.Errorf("%w: the topic stands twice", errInvalidRequest)
		if counts[rt.Topic] == 1 {
			err = b.growTopic(ctx, c, rt, req.ValidateOnly)
		}
		counts[rt.Topic] = 0
		resp.Topics = append(resp.Topics, kmsg.CreatePartitionsResponseTopic{Topic: rt.Topic, ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err)})
	}
	return resp
}

func (b *Broker) growTopic(ctx context.Context, c *call, rt *kmsg.CreatePartitionsRequestTopic, validateOnly bool) error {
	if !c.allowed(rt.Topic) {
		return errUnauthorizedTopic
	}
	t, ok := b.topics.TopicByName(rt.Topic)
	if !ok {
		return storage.ErrUnknownPartition
	}
	more := int(rt.Count) - len(t.Partitions)
	switch {
	case internalTopics[rt.Topic]:
		return fmt.Errorf("%w: %s is the broker's", errInvalidTopic, rt.Topic)
	case more <= 0:
		return fmt.Errorf("%w: the topic has %d, %d are asked for", catalog.ErrInvalidPartitions, len(t.Partitions), rt.Count)
	case more > partitionsPerRequestMax:
		return fmt.Errorf("%w: %d more partitions in one request, at most %d", errPolicy, more, partitionsPerRequestMax)
	case rt.Assignment != nil && len(rt.Assignment) != more:
		return fmt.Errorf("%w: %d assignments for %d new partitions", errInvalidAssignment, len(rt.Assignment), more)
	}
	for _, a := range rt.Assignment {
		if err := checkReplicas(a.Replicas, int(t.ReplicationFactor)); err != nil {
			return err
		}
	}
	if validateOnly {
		return nil
	}
	return b.topics.CreatePartitions(ctx, t.ID, rt.Count)
}
