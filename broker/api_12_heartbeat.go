// Heartbeat, versions 0 to 4: 3 has group.instance.id, 4 is flexible.
//
// While the group is being loaded the answer is success, as in Kafka: a restart of the broker must
// not make a member rejoin.

package broker

import (
	"context"
	"errors"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) heartbeat(ctx context.Context, c *call, req *kmsg.HeartbeatRequest) kmsg.Response {
	resp := kmsg.NewPtrHeartbeatResponse()
	err := c.groupError(req.Group)
	if err == nil {
		err = b.groups.Heartbeat(ctx, group.HeartbeatRequest{
			Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		})
	}
	if !errors.Is(err, coordinator.ErrLoading) {
		resp.ErrorCode = c.groupCode(req.Group, err)
	}
	return resp
}
