// AlterPartitionReassignments, versions 0 and 1, both flexible: 1 says whether the replication
// factor may change. Null replicas cancel a reassignment.
//
// The cluster places the leaders and the data lies in the bucket, so nothing ever moves from one
// broker to another. A request that names the replicas which the partition shows succeeds, any
// other is refused, and there is no reassignment to cancel.
//
// Different from Apache Kafka: a topic keeps the replication factor with which it was created. A
// timeout of zero means a short moment, which is enough.

package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) alterPartitionReassignments(_ context.Context, c *call, req *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	var err error
	if !c.allowed("") {
		err = errUnauthorizedCluster
	}
	resp.ErrorCode, resp.ErrorMessage = int16(codeOf(err)), messageOf(err)
	if len(req.Topics) == 0 && err == nil {
		resp.ErrorMessage = kmsg.StringPtr("") // Kafka's message is empty here, and null elsewhere
	}
	var count namedPartitions
	nodes := b.topics.Brokers()
	for i := range req.Topics {
		rt := &req.Topics[i]
		out := kmsg.AlterPartitionAssignmentsResponseTopic{Topic: rt.Topic}
		t, ok := b.topics.TopicByName(rt.Topic)
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			outcome := err
			if err == nil {
				outcome = count.next()
			}
			switch {
			case outcome != nil:
			case !ok:
				outcome = noTopic(rt.Topic)
			default:
				outcome = reassign(t, rp, nodes)
			}
			out.Partitions = append(out.Partitions, kmsg.AlterPartitionAssignmentsResponseTopicPartition{
				Partition: rp.Partition, ErrorCode: int16(codeOf(outcome)), ErrorMessage: partitionMessage(outcome),
			})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// reassign judges the replicas that a request wants for one partition.
func reassign(t *catalog.Topic, rp *kmsg.AlterPartitionAssignmentsRequestTopicPartition, nodes []Node) error {
	if !hasPartition(t, rp.Partition) {
		return fmt.Errorf("%w: no partition %d of topic %q", storage.ErrUnknownPartition, rp.Partition, t.Name)
	}
	if rp.Replicas == nil {
		return errNoReassignment
	}
	now := replicas(t.Partitions[rp.Partition].Broker, t.ReplicationFactor, nodes)
	if slices.Equal(rp.Replicas, now) {
		return nil
	}
	if err := checkReplicas(rp.Replicas, len(rp.Replicas)); err != nil {
		return err
	}
	for _, id := range rp.Replicas {
		if !isLive(nodes, id) {
			return fmt.Errorf("%w: there is no broker %d", errInvalidAssignment, id)
		}
	}
	return fmt.Errorf("%w: leaders are placed by the cluster, and the replicas stay %v", errInvalidAssignment, now)
}
