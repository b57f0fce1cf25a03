// DescribeQuorum, versions 0 to 2, all flexible: 1 has the times of voters, 2 messages and the
// addresses of nodes. The quorum has the name that Kafka gives to its own: partition 0 of
// __cluster_metadata. A request that names anything else or anything more gets the answer
// that none of it exists.
//
// Different from Apache Kafka: an offset is an index of the metadata's Raft log, and the epoch is
// its term. Voters are reached at the addresses of clients.

package broker

import (
	"context"
	"slices"
	"time"

	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// QuorumState describes where the metadata's quorum stands.
type QuorumState struct {
	Leader        int32 // id of a broker; -1 if none is known
	Epoch         int32
	HighWatermark int64 // one above the last index that is committed
	Voters        []QuorumVoter
}

// QuorumVoter is one voter as the leader sees it.
type QuorumVoter struct {
	Broker   int32
	End      int64 // one above the last index of the voter's log
	CaughtUp time.Time
}

const quorumMessagesSinceVersion = 2

func (b *Broker) describeQuorum(_ context.Context, c *call, req *kmsg.DescribeQuorumRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeQuorumResponse()
	if c.version >= quorumMessagesSinceVersion {
		resp.ErrorMessage = kmsg.StringPtr("")
	}
	if !c.allowed("") {
		resp.ErrorCode, resp.ErrorMessage = int16(codeOf(errUnauthorizedCluster)), messageOf(errUnauthorizedCluster)
		return resp
	}
	var count namedPartitions
	asked := len(req.Topics) == 1 && req.Topics[0].Topic == metadataTopic &&
		len(req.Topics[0].Partitions) == 1 && req.Topics[0].Partitions[0].Partition == 0
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.DescribeQuorumResponseTopic{Topic: rt.Topic}
		for _, rp := range rt.Partitions {
			if asked && b.quorum != nil {
				out.Partitions = append(out.Partitions, c.describeVoters(b.quorum()))
				resp.Nodes = c.voters()
				continue
			}
			p := kmsg.NewDescribeQuorumResponseTopicPartition()
			err := count.next()
			if err == nil {
				err = storage.ErrUnknownPartition
			}
			p.Partition, p.ErrorCode = rp.Partition, int16(codeOf(err))
			if c.version >= quorumMessagesSinceVersion {
				p.ErrorMessage = partitionMessage(err)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *call) describeVoters(q QuorumState) kmsg.DescribeQuorumResponseTopicPartition {
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = q.Leader, q.Epoch, q.HighWatermark
	if c.version >= quorumMessagesSinceVersion {
		p.ErrorMessage = kmsg.StringPtr("")
	}
	for _, v := range q.Voters {
		r := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		r.ReplicaID, r.LogEndOffset = v.Broker, v.End
		r.LastFetchTimestamp, r.LastCaughtUpTimestamp = v.CaughtUp.UnixMilli(), v.CaughtUp.UnixMilli()
		p.CurrentVoters = append(p.CurrentVoters, r)
	}
	return p
}

// voters returns the addresses of the nodes of the quorum, which are all brokers.
func (c *call) voters() (nodes []kmsg.DescribeQuorumResponseNode) {
	for _, n := range c.brokers() {
		name := "CONTROLLER"
		if c.conn != nil && c.conn.listener != "" {
			name = c.conn.listener
		}
		nodes = append(nodes, kmsg.DescribeQuorumResponseNode{NodeID: n.ID,
			Listeners: []kmsg.DescribeQuorumResponseNodeListener{{Name: name, Host: n.Host, Port: uint16(n.Port)}}})
	}
	slices.SortFunc(nodes, func(a, b kmsg.DescribeQuorumResponseNode) int { return int(a.NodeID) - int(b.NodeID) })
	return nodes
}
