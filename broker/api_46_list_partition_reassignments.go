// ListPartitionReassignments, version 0, flexible. Nothing is ever on its way from one broker to
// another (see AlterPartitionReassignments): the list is empty, whatever it is asked of.

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
