// OffsetFetch, versions 1 to 10.
//
//	2   null topics mean all that is committed; one error for the group
//	5   leader epoch
//	6   flexible
//	7   require_stable: nothing here is unstable as long as transactions are not served
//	8   several groups
//	9   member id and epoch, which groups of the classic protocol do not look at
//	10  topic ids
//
// A group or a partition without a committed offset is answered with offset -1 and no error.
//
// Different from Apache Kafka: a group that a request asks twice for all of its offsets is answered
// once.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	offsetsGroupErrorVersion = 2
	offsetsGroupsVersion     = 8
	offsetsTopicIDVersion    = 10
)

func (b *Broker) offsetFetch(ctx context.Context, c *call, req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetFetchResponse()
	room := max(c.answer.bytes, replyFreeBytes)
	if c.version >= offsetsGroupsVersion {
		seen := map[string]bool{} // asking twice for all of a group does not make the answer longer
		for i := range req.Groups {
			if name := req.Groups[i].Group; req.Groups[i].Topics == nil {
				if seen[name] {
					continue
				}
				seen[name] = true
			}
			resp.Groups = append(resp.Groups, b.fetchGroup(ctx, c, &req.Groups[i], &room))
		}
		return resp
	}
	one := b.fetchGroup(ctx, c, singleGroup(c, req), &room)
	resp.ErrorCode = one.ErrorCode
	if one.ErrorCode != 0 && c.version < offsetsGroupErrorVersion {
		resp.ErrorCode = 0
		resp.Topics = failedOffsets(req.Topics, one.ErrorCode)
		return resp
	}
	for _, t := range one.Topics {
		out := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// singleGroup puts a request of one group into the form for several groups.
func singleGroup(c *call, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchRequestGroup {
	g := &kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil || c.version < offsetsGroupErrorVersion {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	return g
}

// failedOffsets repeats the error of a group for each partition, as version 1 does.
func failedOffsets(asked []kmsg.OffsetFetchRequestTopic, code int16) (topics []kmsg.OffsetFetchResponseTopic) {
	for _, t := range asked {
		out := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: kmsg.StringPtr(""), ErrorCode: code,
			})
		}
		topics = append(topics, out)
	}
	return topics
}

// fetchGroup answers for one group. room is what is left for the texts beside offsets.
func (b *Broker) fetchGroup(ctx context.Context, c *call, rg *kmsg.OffsetFetchRequestGroup, room *int64) kmsg.OffsetFetchResponseGroup {
	out := kmsg.OffsetFetchResponseGroup{Group: rg.Group}
	err := c.groupError(rg.Group)
	if err == nil {
		if rg.Topics == nil {
			out.Topics, err = b.fetchAllOffsets(ctx, c, rg.Group)
		} else {
			out.Topics, err = b.fetchOffsets(ctx, c, rg, room)
		}
	}
	out.ErrorCode = c.groupCode(rg.Group, err)
	return out
}

// fetchAllOffsets leaves out what the caller may not see.
func (b *Broker) fetchAllOffsets(ctx context.Context, c *call, name string) (topics []kmsg.OffsetFetchResponseGroupTopic, err error) {
	offsets, err := b.groups.FetchAll(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range offsets {
		o := &offsets[i]
		if i == 0 || offsets[i-1].Topic != o.Topic || len(topics) == 0 {
			t, err := b.groupTopic(false, o.Topic, [16]byte{}, topicDescribe)
			if err != nil {
				continue // the caller may not see it, or it has just gone
			}
			topics = append(topics, groupTopicAnswer(c, t))
		}
		if last := &topics[len(topics)-1]; last.Topic == o.Topic {
			last.Partitions = append(last.Partitions, offsetAnswer(o))
		}
	}
	return forVersion(c, topics), nil
}

// forVersion leaves out the names in versions that have ids in their place.
func forVersion(c *call, topics []kmsg.OffsetFetchResponseGroupTopic) []kmsg.OffsetFetchResponseGroupTopic {
	if c.version >= offsetsTopicIDVersion {
		for i := range topics {
			topics[i].Topic = ""
		}
	}
	return topics
}

func groupTopicAnswer(_ *call, t *catalog.Topic) kmsg.OffsetFetchResponseGroupTopic {
	return kmsg.OffsetFetchResponseGroupTopic{Topic: t.Name, TopicID: t.ID}
}

func offsetAnswer(o *group.FetchedOffset) kmsg.OffsetFetchResponseGroupTopicPartition {
	return kmsg.OffsetFetchResponseGroupTopicPartition{
		Partition: o.Partition, Offset: int64(o.Offset), LeaderEpoch: int32(o.LeaderEpoch), Metadata: kmsg.StringPtr(o.Metadata),
	}
}

// fetchOffsets asks for the partitions that are named. A topic that is unknown by name has no
// offsets; one that is unknown by id is an error.
func (b *Broker) fetchOffsets(ctx context.Context, c *call, rg *kmsg.OffsetFetchRequestGroup, room *int64) ([]kmsg.OffsetFetchResponseGroupTopic, error) {
	errs := make([]error, len(rg.Topics))
	var asked []group.PartitionName
	for i := range rg.Topics {
		rt := &rg.Topics[i]
		name := rt.Topic
		if c.version >= offsetsTopicIDVersion {
			t, err := b.groupTopic(true, "", rt.TopicID, topicDescribe)
			if errs[i] = err; err != nil {
				continue
			}
			name = t.Name
		} else if !b.authorize(topicDescribe, name) {
			errs[i] = errUnauthorizedTopic
			continue
		}
		for _, p := range rt.Partitions {
			asked = append(asked, group.PartitionName{Topic: name, Partition: p})
		}
	}
	offsets, err := b.groups.Fetch(ctx, rg.Group, asked)
	if err != nil {
		return nil, err
	}
	for i := range offsets {
		*room -= int64(len(offsets[i].Metadata))
	}
	if *room < 0 { // partitions that stand many times in the request, each with a long text
		return nil, group.ErrNoMemory
	}
	topics := make([]kmsg.OffsetFetchResponseGroupTopic, len(rg.Topics))
	for i := range rg.Topics {
		rt := &rg.Topics[i]
		topics[i] = kmsg.OffsetFetchResponseGroupTopic{Topic: rt.Topic, TopicID: rt.TopicID}
		for _, p := range rt.Partitions {
			out := kmsg.OffsetFetchResponseGroupTopicPartition{
				Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: kmsg.StringPtr(""), ErrorCode: c.groupCode(rg.Group, errs[i]),
			}
			if errs[i] == nil {
				out, offsets = offsetAnswer(&offsets[0]), offsets[1:]
			}
			topics[i].Partitions = append(topics[i].Partitions, out)
		}
	}
	return topics, nil
}
