// IncrementalAlterConfigs, versions 0 and 1 (1 is flexible): sets, deletes, appends to
// and subtracts from keys of topics; the others stay. Brokers' configurations are refused.
//
// Different from Apache Kafka: sluice.durability of an existing topic is refused.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) incrementalAlterConfigs(ctx context.Context, c *call, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	alterations := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		rr := &req.Resources[i]
		alterations[i] = alteration{rr.ResourceType, rr.ResourceName, func(set map[string]string) error { return changeConfigs(set, rr.Configs) }}
	}
	for i, err := range b.alterAll(ctx, c, alterations, req.ValidateOnly) {
		resp.Resources = append(resp.Resources, kmsg.IncrementalAlterConfigsResponseResource{
			ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
			ResourceType: req.Resources[i].ResourceType, ResourceName: req.Resources[i].ResourceName,
		})
	}
	return resp
}

func changeConfigs(set map[string]string, configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	seen := map[string]bool{}
	for _, rc := range configs {
		if seen[rc.Name] {
			return fmt.Errorf("%w: %s stands twice", errInvalidRequest, rc.Name)
		}
		seen[rc.Name] = true
		if err := changeConfig(set, rc); err != nil {
			return err
		}
	}
	return nil
}

func changeConfig(set map[string]string, rc kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	if rc.Op == kmsg.IncrementalAlterConfigOpDelete {
		delete(set, rc.Name)
		return nil
	}
	if rc.Value == nil {
		return fmt.Errorf("%w: %s is null", errInvalidRequest, rc.Name)
	}
	switch rc.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		set[rc.Name] = *rc.Value
		return nil
	case kmsg.IncrementalAlterConfigOpAppend:
		return alterList(set, rc.Name, *rc.Value, true)
	case kmsg.IncrementalAlterConfigOpSubtract:
		return alterList(set, rc.Name, *rc.Value, false)
	default:
		return fmt.Errorf("%w: operation %d on %s", errInvalidRequest, rc.Op, rc.Name)
	}
}
