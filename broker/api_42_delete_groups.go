// DeleteGroups, versions 0 to 2: 2 is flexible. A group that is named twice is answered once.

package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) deleteGroups(ctx context.Context, c *call, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	seen := map[string]bool{}
	for _, name := range req.Groups {
		if seen[name] {
			continue
		}
		seen[name] = true
		resp.Groups = append(resp.Groups, kmsg.DeleteGroupsResponseGroup{Group: name, ErrorCode: c.groupCode(name, b.deleteGroup(ctx, c, name))})
	}
	return resp
}

func (b *Broker) deleteGroup(ctx context.Context, c *call, name string) error {
	if err := c.groupError(name); err != nil {
		return err
	}
	a, err := b.groups.Delete(ctx, name)
	if err != nil {
		return err
	}
	if a.Err == nil {
		b.logger.Info("group deleted", "group", name)
	}
	return a.Err
}
