// FindCoordinator, versions 0 to 6: 1 has key types, 3 is flexible, 4 takes several keys, 6 share groups.
//
// Different from Apache Kafka, for now: transactions are refused with
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, so that a transactional producer fails at once and says why; groups have no coordinator yet.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	coordinatorGroup        = 0
	coordinatorTransaction  = 1
	coordinatorShare        = 2
	coordinatorShareVersion = 6
	coordinatorListVersion  = 4
)

func (b *Broker) findCoordinator(_ context.Context, c *call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	err := coordinatorError(c.version, req.CoordinatorType)
	resp.ErrorCode, resp.ErrorMessage = int16(codeOf(err)), messageOf(err)
	resp.NodeID, resp.Port = -1, -1
	if c.version < coordinatorListVersion {
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, kmsg.FindCoordinatorResponseCoordinator{
			Key: key, NodeID: -1, Port: -1, ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
		})
	}
	return resp
}

func coordinatorError(version int16, keyType int8) error {
	switch {
	case keyType == coordinatorGroup:
		return errNoCoordinator
	case keyType == coordinatorTransaction:
		return errUnauthorizedTxn
	case keyType == coordinatorShare && version >= coordinatorShareVersion:
		return errNoCoordinator
	default:
		return fmt.Errorf("%w: key type %d", errInvalidRequest, keyType)
	}
}
