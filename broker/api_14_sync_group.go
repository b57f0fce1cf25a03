// SyncGroup, versions 0 to 5: 3 has group.instance.id, 4 is flexible, 5 names the protocol type and
// the protocol, which must be those of the group.
//
// The answer waits until the leader's assignment has come and is durable.

package broker

import (
	"bytes"
	"context"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const syncProtocolVersion = 5

func (b *Broker) syncGroup(ctx context.Context, c *call, req *kmsg.SyncGroupRequest) kmsg.Response {
	resp := kmsg.NewPtrSyncGroupResponse()
	name := req.Group
	r, err := c.syncRequest(req)
	if err == nil {
		c.patiently(ctx, func(ctx context.Context) {
			a, asked := b.groups.Sync(ctx, r, c.release)
			if asked != nil {
				err = asked
				return
			}
			if err = c.reserveReply(2 * int64(len(a.Assignment))); err != nil {
				return
			}
			err = a.Err
			resp.ProtocolType, resp.Protocol, resp.MemberAssignment = a.ProtocolType, a.Protocol, a.Assignment
		})
	}
	resp.ErrorCode = c.groupCode(name, err)
	return resp
}

// syncRequest copies what the group keeps.
func (c *call) syncRequest(req *kmsg.SyncGroupRequest) (*group.SyncRequest, error) {
	r := &group.SyncRequest{Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation}
	if err := c.groupError(req.Group); err != nil {
		return r, err
	}
	if c.version >= syncProtocolVersion {
		if req.ProtocolType == nil || req.Protocol == nil {
			return r, group.ErrInconsistentProtocol
		}
		r.ProtocolType, r.Protocol = req.ProtocolType, req.Protocol
	}
	r.Assignments = make(map[string][]byte, len(req.GroupAssignment))
	for _, a := range req.GroupAssignment {
		r.Assignments[a.MemberID] = bytes.Clone(a.MemberAssignment)
	}
	return r, nil
}
