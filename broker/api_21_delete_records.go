// DeleteRecords, versions 0 to 2: 1 and 2 (flexible) change no meaning.
//
// The log starts move in the metadata quorum before the request is answered. A topic whose records
// are only compacted, never deleted, is refused (POLICY_VIOLATION), and so is an internal topic
// (INVALID_TOPIC_EXCEPTION).

package broker

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecordsParallel is how many partitions of a request are decided at once. Each is a command
// of the quorum, and the quorum makes commands that come together durable together.
const deleteRecordsParallel = 16

func (b *Broker) deleteRecords(ctx context.Context, c *call, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	ctx, cancel := withRequestTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Topics = deletedOnce(req)
	var wg sync.WaitGroup
	slots := make(chan struct{}, deleteRecordsParallel)
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		for j := range rt.Partitions {
			p := &rt.Partitions[j]
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				start, err := b.deleteBelow(ctx, c, rt.Topic, p.Partition, ident.Offset(p.LowWatermark))
				p.LowWatermark, p.ErrorCode = int64(start), int16(codeOf(err))
			})
		}
	}
	wg.Wait()
	return resp
}

// deletedOnce lists the partitions that are asked for, each once. If a partition is named several
// times, the last offset counts, as in Kafka. The offset is stored in the place of the answer.
func deletedOnce(req *kmsg.DeleteRecordsRequest) (out []kmsg.DeleteRecordsResponseTopic) {
	topics := map[string]int{}
	type place struct{ topic, partition int }
	places := map[string]map[int32]place{}
	for i := range req.Topics {
		rt := &req.Topics[i]
		at, ok := topics[rt.Topic]
		if !ok {
			at = len(out)
			topics[rt.Topic], places[rt.Topic] = at, map[int32]place{}
			out = append(out, kmsg.DeleteRecordsResponseTopic{Topic: rt.Topic})
		}
		for _, rp := range rt.Partitions {
			p, ok := places[rt.Topic][rp.Partition]
			if !ok {
				p = place{at, len(out[at].Partitions)}
				places[rt.Topic][rp.Partition] = p
				out[at].Partitions = append(out[at].Partitions, kmsg.DeleteRecordsResponseTopicPartition{Partition: rp.Partition})
			}
			out[p.topic].Partitions[p.partition].LowWatermark = rp.Offset
		}
	}
	return out
}

// deleteBelow moves one log start and returns it, or -1 with an error.
func (b *Broker) deleteBelow(ctx context.Context, c *call, name string, partition int32, before ident.Offset) (ident.Offset, error) {
	if !c.allowed(name) {
		return -1, errUnauthorizedTopic
	}
	t, ok := b.topics.TopicByName(name)
	if !ok {
		return -1, storage.ErrUnknownPartition
	}
	switch {
	case !hasPartition(t, partition):
		return -1, storage.ErrUnknownPartition
	case internalTopics[name]:
		return -1, fmt.Errorf("%w: %s is internal", errInvalidTopic, name)
	}
	if policy := b.topicConfig(t).CleanupPolicy; policy.Compact && !policy.Delete {
		return -1, fmt.Errorf("%w: the records of a compacted topic are not deleted", errPolicy)
	}
	return b.log.DeleteRecords(ctx, ident.TopicPartition{Topic: t.ID, Index: partition}, before)
}
