// FindCoordinator, versions 0 to 6: 1 has key types, 3 is flexible, 4 takes several keys, 6 share
// groups.
//
// Different from Apache Kafka:
//
//   - If __consumer_offsets does not exist yet, it is created before the answer. Kafka answers
//     COORDINATOR_NOT_AVAILABLE first.
//   - Transactions are refused, for now, with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, so that a
//     transactional producer fails at once and says why.
//   - Share groups have no coordinator.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	coordinatorGroup          = 0
	coordinatorTransaction    = 1
	coordinatorShare          = 2
	coordinatorMessageVersion = 1
	coordinatorListVersion    = 4
	coordinatorShareVersion   = 6
)

func (b *Broker) findCoordinator(ctx context.Context, c *call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if c.version >= coordinatorListVersion {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, b.coordinatorOf(ctx, c, req.CoordinatorType, key))
		}
		return resp
	}
	one := b.coordinatorOf(ctx, c, req.CoordinatorType, req.CoordinatorKey)
	resp.NodeID, resp.Host, resp.Port = one.NodeID, one.Host, one.Port
	resp.ErrorCode, resp.ErrorMessage = one.ErrorCode, one.ErrorMessage
	if one.ErrorCode == 0 {
		resp.ErrorMessage = kmsg.StringPtr("NONE") // the text that Kafka sends there
	}
	return resp
}

// coordinatorOf answers one key.
func (b *Broker) coordinatorOf(ctx context.Context, c *call, keyType int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1}
	node, err := b.findNode(ctx, c, keyType, key)
	if err == nil {
		out.NodeID, out.Host, out.Port = node.ID, node.Host, node.Port
		out.ErrorMessage = kmsg.StringPtr("")
		return out
	}
	out.ErrorCode, out.ErrorMessage = c.groupCode(key, err), messageOf(err)
	return out
}

// findNode returns the broker that coordinates a group.
func (b *Broker) findNode(ctx context.Context, c *call, keyType int8, key string) (Node, error) {
	if c.version < coordinatorMessageVersion {
		keyType = coordinatorGroup
	}
	switch {
	case keyType == coordinatorTransaction:
		return Node{}, errUnauthorizedTxn
	case keyType == coordinatorShare && c.version >= coordinatorShareVersion:
		return Node{}, errNoCoordinator
	case keyType != coordinatorGroup:
		return Node{}, fmt.Errorf("%w: key type %d", errInvalidRequest, keyType)
	}
	if err := c.groupError(key); err != nil {
		return Node{}, err
	}
	id, err := b.groups.Find(ctx, key)
	if err != nil {
		return Node{}, err
	}
	for _, n := range c.brokers() {
		if n.ID == id {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("%w: broker %d is not alive", errNoCoordinator, id)
}
