// ListOffsets, versions 1 to 11.
//
//	2   isolation level
//	4   leader epochs
//	6   flexible
//	7   max timestamp (−3)
//	8   earliest local (−4), the same as earliest
//	9   latest tiered (−5), always none
//	10  timeout
//	11  earliest pending upload (−6), always none
//
// A lookup by time finds a record, not a batch. Replica ids are ignored: no client sees beyond
// the high watermark.

package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// timestampSince maps each special timestamp to the first version in which a client may ask for it.
var timestampSince = map[int64]int16{
	storage.TimestampLatest: 1, storage.TimestampEarliest: 1, storage.TimestampMax: 7,
	storage.TimestampEarliestLocal: 8, storage.TimestampLatestTiered: 9, storage.TimestampEarliestUpload: 11,
}

// offsetNotAvailableVersion is the first ListOffsets version whose clients know
// OFFSET_NOT_AVAILABLE.
const offsetNotAvailableVersion = 5

// lookupsParallel is how many partitions of one request are looked up by time at once. Each may
// have to wait for the bucket.
const lookupsParallel = 16

func (b *Broker) listOffsets(ctx context.Context, c *call, req *kmsg.ListOffsetsRequest) kmsg.Response {
	if req.TimeoutMillis > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutMillis)*time.Millisecond)
		defer cancel()
	}
	resp := kmsg.NewPtrListOffsetsResponse()
	counts := map[namedPartition]int{}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			counts[namedPartition{req.Topics[i].Topic, req.Topics[i].Partitions[j].Partition}]++
		}
	}
	var lookups errgroup.Group
	lookups.SetLimit(lookupsParallel)
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.ListOffsetsResponseTopic{Topic: rt.Topic, Partitions: make([]kmsg.ListOffsetsResponseTopicPartition, len(rt.Partitions))}
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			look := func() error {
				at, err := b.listOffset(ctx, c, req, rt.Topic, rp)
				out.Partitions[j] = listedOffset(c.version, rp.Partition, at, err)
				return nil
			}
			switch {
			case counts[namedPartition{rt.Topic, rp.Partition}] > 1:
				err := fmt.Errorf("%w: the partition stands twice", errInvalidRequest)
				out.Partitions[j] = listedOffset(c.version, rp.Partition, storage.OffsetAt{}, err)
			case rp.Timestamp >= 0 || rp.Timestamp == storage.TimestampMax:
				lookups.Go(look)
			default:
				_ = look() // the answer holds its error
			}
		}
		resp.Topics = append(resp.Topics, out)
	}
	_ = lookups.Wait() // the answer holds the errors
	return resp
}

type namedPartition struct {
	topic string
	index int32
}

func (b *Broker) listOffset(ctx context.Context, c *call, req *kmsg.ListOffsetsRequest, name string, rp *kmsg.ListOffsetsRequestTopicPartition) (storage.OffsetAt, error) {
	none := storage.OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}
	if rp.Timestamp < 0 {
		if since, ok := timestampSince[rp.Timestamp]; !ok || c.version < since {
			return none, fmt.Errorf("%w: timestamp %d", errUnsupportedVersion, rp.Timestamp)
		}
	}
	topic, err := b.partitionNamed(c, name, rp.Partition)
	if err != nil {
		return none, err
	}
	tp := ident.TopicPartition{Topic: topic.ID, Index: rp.Partition}
	timestamp := rp.Timestamp
	if timestamp == storage.TimestampEarliestLocal {
		timestamp = storage.TimestampEarliest
	}
	at, err := b.log.ListOffset(ctx, tp, timestamp, requestEpoch(rp.CurrentLeaderEpoch), isolation(req.IsolationLevel))
	if timestamp == storage.TimestampLatestTiered || timestamp == storage.TimestampEarliestUpload {
		return none, err // the log was asked only for its leadership
	}
	return at, err
}

// partitionNamed finds a topic by name and checks that it has the partition. Only the log knows
// whether this broker leads the partition.
func (b *Broker) partitionNamed(c *call, name string, index int32) (*catalog.Topic, error) {
	if !c.allowed(name) {
		return nil, errUnauthorizedTopic
	}
	topic, ok := b.topics.TopicByName(name)
	if !ok {
		return nil, storage.ErrUnknownPartition
	}
	if !hasPartition(topic, index) {
		return nil, storage.ErrUnknownPartition
	}
	return topic, nil
}

func listedOffset(version int16, index int32, at storage.OffsetAt, err error) kmsg.ListOffsetsResponseTopicPartition {
	out := kmsg.NewListOffsetsResponseTopicPartition()
	out.Partition = index
	code := codeOf(err)
	if code == protocol.CodeLeaderNotAvailable && version >= offsetNotAvailableVersion {
		code = protocol.CodeOffsetNotAvailable
	}
	out.ErrorCode = int16(code)
	out.Offset, out.Timestamp, out.LeaderEpoch = -1, -1, -1
	if err == nil {
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(at.Offset), at.Timestamp, int32(at.Epoch)
	}
	return out
}
