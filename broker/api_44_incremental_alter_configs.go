// IncrementalAlterConfigs, versions 0 and 1 (1 is flexible): sets, deletes, appends to
// and subtracts from keys of topics; the others stay.
//
// Different from Apache Kafka: brokers' keys and log levels are not changed while they run; an operation that does not exist is an
// invalid request; sluice.durability of an existing topic is refused.

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
		a := alteration{kind: rr.ResourceType, name: rr.ResourceName}
		a.change = func(set map[string]string) error { return b.changeConfigs(a.kind, set, rr.Configs) }
		for _, rc := range rr.Configs {
			if rc.Op != kmsg.IncrementalAlterConfigOpDelete {
				a.writes = append(a.writes, rc.Name)
			}
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

func (b *Broker) changeConfigs(kind kmsg.ConfigResourceType, set map[string]string, configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	seen := map[string]bool{}
	for _, rc := range configs {
		if seen[rc.Name] {
			return fmt.Errorf("%w: %s stands twice", errInvalidRequest, rc.Name)
		}
		seen[rc.Name] = true
		if rc.Value == nil && rc.Op != kmsg.IncrementalAlterConfigOpDelete {
			return fmt.Errorf("%w: %s is null", errInvalidRequest, rc.Name)
		}
	}
	if kind != kmsg.ConfigResourceTypeTopic {
		return nil // nothing is set there
	}
	for _, rc := range configs {
		if err := b.changeConfig(set, rc); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) changeConfig(set map[string]string, rc kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	switch rc.Op {
	case kmsg.IncrementalAlterConfigOpDelete:
		delete(set, rc.Name)
		return nil
	case kmsg.IncrementalAlterConfigOpSet:
		set[rc.Name] = *rc.Value
		return nil
	case kmsg.IncrementalAlterConfigOpAppend:
		return b.alterList(set, rc.Name, *rc.Value, true)
	case kmsg.IncrementalAlterConfigOpSubtract:
		return b.alterList(set, rc.Name, *rc.Value, false)
	default:
		return fmt.Errorf("%w: operation %d on %s", errInvalidRequest, rc.Op, rc.Name)
	}
}
