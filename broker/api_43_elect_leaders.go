// ElectLeaders, versions 0 to 2: 1 has the type of election, 2 is flexible. A request without
// topics means all topics; its answer then has only the partitions that needed an election.
//
// The cluster places the leaders. So a partition that a live broker leads needs no election of
// either type, and for a partition without a leader no broker is eligible.

package broker

import (
	"context"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	electionTypeSinceVersion = 1
	electionTypeLast         = 1 // 0 is preferred, 1 unclean
)

func (b *Broker) electLeaders(_ context.Context, c *call, req *kmsg.ElectLeadersRequest) kmsg.Response {
	resp := kmsg.NewPtrElectLeadersResponse()
	var err error
	if t := req.ElectionType; c.version >= electionTypeSinceVersion && (t < 0 || t > electionTypeLast) {
		err = fmt.Errorf("%w: no election of type %d", errInvalidRequest, t)
	} else if !c.allowed("") {
		err = errUnauthorizedCluster
	}
	resp.ErrorCode = int16(codeOf(err))
	var count namedPartitions
	nodes := b.topics.Brokers()
	if req.Topics == nil && err == nil {
		for _, t := range b.topics.AllTopics() {
			out := kmsg.ElectLeadersResponseTopic{Topic: t.Name}
			for i := range t.Partitions {
				if isLive(nodes, t.Partitions[i].Broker) {
					continue
				}
				out.Partitions = append(out.Partitions, elected(int32(i), election(t, int32(i), nodes)))
			}
			resp.Topics = append(resp.Topics, out)
		}
	}
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.ElectLeadersResponseTopic{Topic: rt.Topic}
		t, ok := b.topics.TopicByName(rt.Topic)
		for _, p := range rt.Partitions {
			outcome := err
			if err == nil {
				outcome = count.next()
			}
			switch {
			case outcome != nil:
			case !ok:
				outcome = noTopic(rt.Topic)
			default:
				outcome = election(t, p, nodes)
			}
			out.Partitions = append(out.Partitions, elected(p, outcome))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// election returns the outcome of an election for one partition.
func election(t *catalog.Topic, partition int32, nodes []Node) error {
	switch {
	case !hasPartition(t, partition):
		return fmt.Errorf("%w: no partition %d of topic %q", storage.ErrUnknownPartition, partition, t.Name)
	case isLive(nodes, t.Partitions[partition].Broker):
		return errElectionNotNeeded
	}
	return errNoEligibleLeader
}

func elected(partition int32, err error) kmsg.ElectLeadersResponseTopicPartition {
	return kmsg.ElectLeadersResponseTopicPartition{Partition: partition, ErrorCode: int16(codeOf(err)), ErrorMessage: partitionMessage(err)}
}
