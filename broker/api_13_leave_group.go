// LeaveGroup, versions 0 to 5: 3 takes a list of members, static ones by group.instance.id, 4 is
// flexible, 5 has reasons, which are ignored.

package broker

import (
	"context"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const leaveListVersion = 3

func (b *Broker) leaveGroup(ctx context.Context, c *call, req *kmsg.LeaveGroupRequest) kmsg.Response {
	resp := kmsg.NewPtrLeaveGroupResponse()
	r := group.LeaveRequest{Group: req.Group}
	if c.version < leaveListVersion {
		r.Members = []group.LeaveMember{{MemberID: req.MemberID}}
	}
	for _, m := range req.Members {
		r.Members = append(r.Members, group.LeaveMember{MemberID: m.MemberID, InstanceID: m.InstanceID})
	}
	a, err := b.leave(ctx, c, r)
	if err == nil && c.version < leaveListVersion {
		err = a.Members[0]
	}
	resp.ErrorCode = c.groupCode(req.Group, err)
	if err != nil || c.version < leaveListVersion {
		return resp
	}
	for i, m := range req.Members {
		resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{
			MemberID: m.MemberID, InstanceID: m.InstanceID, ErrorCode: c.groupCode(req.Group, a.Members[i]),
		})
	}
	return resp
}

// leave returns the outcome of each member, or the reason why there is none.
func (b *Broker) leave(ctx context.Context, c *call, r group.LeaveRequest) (*group.LeaveAnswer, error) {
	if err := c.groupError(r.Group); err != nil {
		return nil, err
	}
	a, err := b.groups.Leave(ctx, r)
	if err != nil {
		return nil, err
	}
	return a, a.Err
}
