// AlterConfigs, versions 0 to 2 (2 is flexible): replaces all that is set on a
// topic; keys that are not named return to their defaults.
//
// Different from Apache Kafka: brokers' keys are not changed while they run; a resource that stands twice is refused, where Kafka
// does not answer at all; sluice.durability of an existing topic is refused.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) alterConfigs(ctx context.Context, c *call, req *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterConfigsResponse()
	alterations := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		rr := &req.Resources[i]
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName}
		a.change = func(set map[string]string) error { return replaceConfigs(set, rr.Configs) }
		for _, rc := range rr.Configs {
			a.writes = append(a.writes, rc.Name)
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

func replaceConfigs(set map[string]string, configs []kmsg.AlterConfigsRequestResourceConfig) error {
	clear(set)
	for _, rc := range configs {
		if _, twice := set[rc.Name]; twice {
			return fmt.Errorf("%w: %s stands twice", errInvalidRequest, rc.Name)
		}
		if rc.Value == nil {
			return fmt.Errorf("%w: %s is null", errInvalidRequest, rc.Name)
		}
		set[rc.Name] = *rc.Value
	}
	return nil
}
