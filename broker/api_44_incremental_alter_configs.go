// IncrementalAlterConfigs, versions 0 and 1 (1 is flexible). It sets and deletes keys of topics, of
// this broker or of all brokers, and appends to and subtracts from them. All other keys stay.
//
// Different from Apache Kafka: the same as for AlterConfigs. In addition, the level of the logger
// is not changed while the broker runs, and an operation that does not exist is an invalid request.

package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) incrementalAlterConfigs(ctx context.Context, c *call, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	alterations := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		rr := &req.Resources[i]
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName}
		for _, rc := range rr.Configs {
			a.edits = append(a.edits, edit{rc.Name, rc.Op, rc.Value})
		}
		alterations[i] = a
	}
	for i, err := range b.alterAll(ctx, c, alterations, req.ValidateOnly) {
		resp.Resources = append(resp.Resources, kmsg.IncrementalAlterConfigsResponseResource{
			ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
			ResourceType: req.Resources[i].ResourceType, ResourceName: req.Resources[i].ResourceName,
		})
	}
	return resp
}
