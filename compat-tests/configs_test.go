package compat

import (
	"fmt"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestConfigsSentBack sends every key of a topic, of the broker as it really is configured, and of
// all brokers back as it was described, one by one and all at once. None may be refused, and none
// may change.
func TestConfigsSentBack(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	mustCreate(t, b.Addr, "plain", 1)
	mustCreate(t, b.Addr, "object", 1, "sluice.durability", "object", "cleanup.policy", "compact,delete")
	w := dialWire(t, b.Addr)
	defer w.nc.Close()
	describe := func(kind kmsg.ConfigResourceType, name string) (all []kmsg.DescribeConfigsResponseResourceConfig, values map[string]string) {
		t.Helper()
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		values = map[string]string{}
		all = w.do(req, 4).(*kmsg.DescribeConfigsResponse).Resources[0].Configs
		for _, c := range all {
			values[c.Name] = "null"
			if c.Value != nil {
				values[c.Name] = *c.Value
			}
		}
		return all, values
	}
	alter := func(kind kmsg.ConfigResourceType, name, key string, value *string) kmsg.IncrementalAlterConfigsResponseResource {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Value: value}}}}
		return w.do(req, 1).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
	}
	if r := alter(brokerKind, allBrokers, "log.retention.ms", kmsg.StringPtr("500000000")); r.ErrorCode != 0 {
		t.Fatal(*r.ErrorMessage)
	}
	for _, r := range []struct {
		kind kmsg.ConfigResourceType
		name string
		keys int // at least
	}{{topicKind, "plain", 34}, {topicKind, "object", 34}, {brokerKind, "1", 250}, {brokerKind, allBrokers, 1}} {
		all, before := describe(r.kind, r.name)
		if len(all) < r.keys {
			t.Errorf("%d %q shows %d keys", r.kind, r.name, len(all))
		}
		req := kmsg.NewPtrAlterConfigsRequest()
		rr := kmsg.AlterConfigsRequestResource{ResourceType: r.kind, ResourceName: r.name}
		for _, c := range all {
			rr.Configs = append(rr.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: c.Name, Value: c.Value})
			if out := alter(r.kind, r.name, c.Name, c.Value); out.ErrorCode != 0 {
				t.Errorf("%d %q: %s is refused as it was described: %s", r.kind, r.name, c.Name, *out.ErrorMessage)
			}
		}
		req.Resources = append(req.Resources, rr)
		if out := w.do(req, 2).(*kmsg.AlterConfigsResponse).Resources[0]; out.ErrorCode != 0 {
			t.Errorf("%d %q: all at once is refused: %s", r.kind, r.name, *out.ErrorMessage)
		}
		if _, now := describe(r.kind, r.name); !maps.Equal(now, before) {
			t.Errorf("%d %q: it was %v and is %v", r.kind, r.name, before, fmt.Sprint(now))
		}
	}
}
