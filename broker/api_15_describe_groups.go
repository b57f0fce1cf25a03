// DescribeGroups, versions 0 to 6: 3 has authorised operations, 4 group.instance.id, 5 is flexible,
// 6 answers GROUP_ID_NOT_FOUND where older versions describe a group in state Dead.
//
// Different from Apache Kafka: a group that is named twice is answered once.

package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const describeNotFoundVersion = 6

func (b *Broker) describeGroups(ctx context.Context, c *call, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	seen := map[string]bool{} // naming a group twice does not make the answer longer
	for _, name := range req.Groups {
		if seen[name] {
			continue
		}
		seen[name] = true
		resp.Groups = append(resp.Groups, b.describeGroup(ctx, c, name, req.IncludeAuthorizedOperations))
	}
	return resp
}

func (b *Broker) describeGroup(ctx context.Context, c *call, name string, withOperations bool) kmsg.DescribeGroupsResponseGroup {
	out := kmsg.NewDescribeGroupsResponseGroup()
	out.Group = name
	d, err := b.description(ctx, c, name)
	if errors.Is(err, group.ErrNotFound) {
		out.State = group.Dead.String()
		if c.version >= describeNotFoundVersion {
			out.ErrorCode, out.ErrorMessage = c.groupCode(name, err), messageOf(fmt.Errorf("group %q not found", name))
			return out
		}
		err = nil
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = c.groupCode(name, err), messageOf(err)
		return out
	}
	if withOperations {
		out.AuthorizedOperations = b.authorizedOperations(OnGroup, name)
	}
	out.State, out.ProtocolType, out.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		out.Members = append(out.Members, kmsg.DescribeGroupsResponseGroupMember{
			MemberID: m.MemberID, InstanceID: m.InstanceID, ClientID: m.ClientID, ClientHost: m.ClientHost,
			ProtocolMetadata: m.Metadata, MemberAssignment: m.Assignment,
		})
	}
	return out
}

// description asks the group. It describes a group that does not exist as group.Dead, in addition
// to the error.
func (b *Broker) description(ctx context.Context, c *call, name string) (group.Description, error) {
	dead := group.Description{State: group.Dead}
	if err := c.groupError(name); err != nil {
		return dead, err
	}
	d, err := b.groups.Describe(ctx, name)
	if err != nil {
		return dead, err
	}
	if d.Err != nil {
		return dead, d.Err
	}
	return d, nil
}
