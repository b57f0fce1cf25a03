// ListPartitionReassignments, version 0, flexible. Nothing ever moves from one broker to another
// (see AlterPartitionReassignments), so the list is empty whatever the request names.

package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) listPartitionReassignments(_ context.Context, c *call, _ *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	if !c.allowed("") {
		resp.ErrorCode, resp.ErrorMessage = int16(codeOf(errUnauthorizedCluster)), messageOf(errUnauthorizedCluster)
	}
	return resp
}
