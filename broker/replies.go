package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file bounds the answers that may be much larger than their requests: those of Metadata for
// all topics, of OffsetFetch for a whole group, of JoinGroup to a leader. Such an answer takes a
// share of Broker.replies before it is built, in the order of arrival. The share shrinks to the
// size of the frame once the frame is built, and is given back when the peer has taken the frame or
// has been cut. Answers in proportion to their requests need no share: until they are written, the
// request's own shares are held.

const (
	// repliesBytesMax bounds the answers that are being built or written.
	repliesBytesMax = 128 * mib
	// replyFreeBytes is the size up to which an answer takes no share. So heartbeats, commits and
	// metadata of some topics are answered while peers that do not read hold all shares.
	replyFreeBytes = 64 * kib
	// replyFrameFreeBytes is the frame of an answer without a share. The frame is at most a quarter
	// of what building the answer takes. It is part of what a connection costs.
	replyFrameFreeBytes = replyFreeBytes / 4

	// These are rough estimates of the memory that building an answer takes, its frame included.
	replyTopicBytes    = 512
	replyPartBytes     = 256
	replyResourceBytes = 64 * kib // all configs of a resource, with documentation and synonyms
	replyProducerBytes = 64 * kib // the producers of a partition
	replyGroupTimes    = 4        // an answer about a group, per byte that the group takes
)

// reserveReply takes a share for an answer that needs that many bytes to build. It takes no more
// than the whole budget, so that the largest answers are built one at a time.
func (c *call) reserveReply(bytes int64) (err error) {
	if bytes > replyFreeBytes {
		c.answer, err = c.b.replies.reserve(c.b.stopping, min(bytes, c.b.replies.bytes))
	}
	return err
}

// estimate returns roughly how many bytes building an answer takes.
type estimate[Q kmsg.Request] func(b *Broker, ctx context.Context, req Q) int64

// allTopicsBytes estimates an answer about every partition.
func (b *Broker) allTopicsBytes() (bytes int64) {
	for _, t := range b.topics.AllTopics() {
		bytes += topicBytes(len(t.Partitions))
	}
	return bytes
}

func topicBytes(partitions int) int64 { return replyTopicBytes + int64(partitions)*replyPartBytes }

func (b *Broker) metadataBytes(_ context.Context, req *kmsg.MetadataRequest) (bytes int64) {
	if len(req.Topics) == 0 {
		return b.allTopicsBytes()
	}
	seen := map[string]bool{} // the answer has each topic once
	for i := range req.Topics {
		rt := &req.Topics[i]
		t, ok := b.topics.TopicByID(rt.TopicID)
		if rt.Topic != nil {
			t, ok = b.topics.TopicByName(*rt.Topic)
		}
		if ok && !seen[t.Name] {
			seen[t.Name] = true
			bytes += topicBytes(len(t.Partitions))
		}
	}
	return bytes
}

func (b *Broker) logDirsBytes(_ context.Context, req *kmsg.DescribeLogDirsRequest) int64 {
	if req.Topics != nil {
		return 0 // the answer is in proportion to the request
	}
	return b.allTopicsBytes()
}

func (b *Broker) electLeadersBytes(_ context.Context, req *kmsg.ElectLeadersRequest) int64 {
	if req.Topics != nil {
		return 0
	}
	return b.allTopicsBytes()
}

func (b *Broker) topicPartitionsBytes(_ context.Context, req *kmsg.DescribeTopicPartitionsRequest) int64 {
	partitions := min(describedPartitionsMax, int(req.ResponsePartitionLimit))
	return min(topicBytes(partitions), b.allTopicsBytes())
}

func (b *Broker) describeConfigsBytes(_ context.Context, req *kmsg.DescribeConfigsRequest) (bytes int64) {
	for i := range req.Resources {
		if len(req.Resources[i].ConfigNames) == 0 {
			bytes += replyResourceBytes
		}
	}
	return bytes
}

func (b *Broker) describeProducersBytes(_ context.Context, req *kmsg.DescribeProducersRequest) (bytes int64) {
	for i := range req.Topics {
		bytes += int64(len(req.Topics[i].Partitions)) * replyProducerBytes
	}
	return bytes
}

func (b *Broker) listGroupsBytes(context.Context, *kmsg.ListGroupsRequest) int64 {
	return b.groups.MemoryUsed() // a group takes more memory than a line about it
}

func (b *Broker) describeGroupsBytes(ctx context.Context, req *kmsg.DescribeGroupsRequest) int64 {
	return b.groupsBytes(ctx, req.Groups...)
}

func (b *Broker) offsetFetchBytes(ctx context.Context, req *kmsg.OffsetFetchRequest) int64 {
	names := []string{req.Group}
	for i := range req.Groups {
		names = append(names, req.Groups[i].Group)
	}
	return b.groupsBytes(ctx, names...)
}

// groupsBytes estimates an answer about groups. A group whose size is not known is answered with an
// error, which counts as nothing.
func (b *Broker) groupsBytes(ctx context.Context, names ...string) (bytes int64) {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		if size, err := b.groups.Size(ctx, name); err == nil {
			bytes += replyGroupTimes * int64(size)
		}
	}
	return bytes
}
