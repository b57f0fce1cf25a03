// AlterConfigs, versions 0 to 2 (2 is flexible). It replaces everything that is set on a topic, on
// this broker or on all brokers. Keys that are not named return to their defaults.
//
// Different from Apache Kafka:
//
//   - A request may name a key of a broker that cannot change while the broker runs, if it has the
//     value that is in force. So a client can send back what was described.
//   - Unknown keys of brokers are refused.
//   - A resource that a request names twice is refused; Kafka does not answer at all.
//   - Another sluice.durability for an existing topic is refused.

package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) alterConfigs(ctx context.Context, c *call, req *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterConfigsResponse()
	alterations := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		rr := &req.Resources[i]
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName, replaces: true}
		for _, rc := range rr.Configs {
			a.edits = append(a.edits, edit{rc.Name, kmsg.IncrementalAlterConfigOpSet, rc.Value})
		}
		alterations[i] = a
	}
	for i, err := range b.alterAll(ctx, c, alterations, req.ValidateOnly) {
		resp.Resources = append(resp.Resources, kmsg.AlterConfigsResponseResource{
			ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
			ResourceType: req.Resources[i].ResourceType, ResourceName: req.Resources[i].ResourceName,
		})
	}
	return resp
}
