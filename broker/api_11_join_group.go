// JoinGroup, versions 0 to 9.
//
//	0  the rebalance timeout is the session timeout
//	1  rebalance timeout
//	4  MEMBER_ID_REQUIRED: a new member joins twice (KIP-394)
//	5  group.instance.id (KIP-345)
//	6  flexible
//	7  protocol type in the answer
//	8  reason, which is ignored
//	9  skip_assignment (KIP-814)
//
// The answer may take as long as the rebalance timeout.

package broker

import (
	"bytes"
	"context"
	"time"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	joinRebalanceVersion    = 1
	joinKnownMemberVersion  = 4
	joinNullProtocolVersion = 7
	joinSkipVersion         = 9
)

func (b *Broker) joinGroup(ctx context.Context, c *call, req *kmsg.JoinGroupRequest) kmsg.Response {
	resp := kmsg.NewPtrJoinGroupResponse()
	name, member := req.Group, req.MemberID
	a := &group.JoinAnswer{Generation: -1, MemberID: member}
	err := c.groupError(name)
	if err == nil {
		r := c.joinRequest(req)
		c.patiently(ctx, func(ctx context.Context) {
			if answer, asked := b.groups.Join(ctx, r, c.release); asked != nil {
				err = asked
			} else {
				a, err = answer, answer.Err
			}
		})
	}
	resp.ErrorCode = c.groupCode(name, err)
	resp.Generation, resp.ProtocolType, resp.Protocol = a.Generation, a.ProtocolType, a.Protocol
	resp.LeaderID, resp.SkipAssignment, resp.MemberID = a.Leader, a.SkipAssignment, a.MemberID
	if resp.Protocol == nil && c.version < joinNullProtocolVersion {
		resp.Protocol = kmsg.StringPtr("")
	}
	if stopped := c.reserveReply(joinedBytes(a)); stopped != nil {
		resp.ErrorCode = c.groupCode(name, stopped)
		return resp
	}
	for _, m := range a.Members {
		resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{MemberID: m.MemberID, InstanceID: m.InstanceID, ProtocolMetadata: m.Metadata})
	}
	return resp
}

// joinedBytes is what building an answer takes: the frame, as it grows.
func joinedBytes(a *group.JoinAnswer) (bytes int64) {
	for _, m := range a.Members {
		bytes += replyPartBytes + 2*int64(len(m.MemberID)+len(m.Metadata))
	}
	return bytes
}

// joinRequest copies what the group keeps: a frame must not live as long as a member.
func (c *call) joinRequest(req *kmsg.JoinGroupRequest) *group.JoinRequest {
	r := &group.JoinRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, ProtocolType: req.ProtocolType,
		ClientHost:         c.host(),
		ClientID:           c.header.ClientID,
		SessionTimeout:     milliseconds(int64(req.SessionTimeoutMillis)),
		RebalanceTimeout:   milliseconds(int64(req.RebalanceTimeoutMillis)),
		RequireKnownMember: c.version >= joinKnownMemberVersion,
		CanSkipAssignment:  c.version >= joinSkipVersion,
	}
	if c.version < joinRebalanceVersion {
		r.RebalanceTimeout = r.SessionTimeout
	}
	for _, p := range req.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	return r
}

// milliseconds returns a duration of so many milliseconds, or the longest duration there is.
func milliseconds(ms int64) time.Duration {
	const longest = 1<<63 - 1
	if ms > longest/int64(time.Millisecond) {
		return longest
	}
	return time.Duration(ms) * time.Millisecond
}
