// ListGroups, versions 0 to 5: 3 is flexible, 4 filters by state, 5 by type. Filters ignore case.
//
// The answer lists only the groups that this broker coordinates: clients ask every broker.

package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// classicType is Kafka's name for the protocol of all groups here.
const classicType = "classic"

func (b *Broker) listGroups(ctx context.Context, c *call, req *kmsg.ListGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrListGroupsResponse()
	groups, err := b.groups.List(ctx)
	if err != nil {
		resp.ErrorCode = c.groupCode("", err)
		return resp
	}
	all := b.authorize(clusterDescribe, "")
	for _, g := range groups {
		if !matches(req.StatesFilter, g.State.String()) || !matches(req.TypesFilter, classicType) || !all && !c.allowed(g.Group) {
			continue
		}
		resp.Groups = append(resp.Groups, kmsg.ListGroupsResponseGroup{
			Group: g.Group, ProtocolType: g.ProtocolType, GroupState: g.State.String(), GroupType: classicType,
		})
	}
	return resp
}

// matches reports whether a filter is empty or names a value.
func matches(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
}
