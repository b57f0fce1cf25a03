// DescribeConfigs, versions 1 to 4: 1 has sources and synonyms, 3 types and documentation, 4 is flexible.
//
// Topics have every key of Kafka 4.3 and ours; brokers have those that tools read, all read-only.

package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (b *Broker) describeConfigs(_ context.Context, c *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for i := range req.Resources {
		rr := &req.Resources[i]
		configs, err := b.resourceConfigs(c, rr)
		out := kmsg.DescribeConfigsResponseResource{
			ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
			ResourceType: rr.ResourceType, ResourceName: rr.ResourceName,
		}
		for _, k := range configs {
			if rr.ConfigNames != nil && !slices.Contains(rr.ConfigNames, k.Name) {
				continue
			}
			if !req.IncludeSynonyms {
				k.ConfigSynonyms = nil
			}
			if !req.IncludeDocumentation {
				k.Documentation = nil
			}
			out.Configs = append(out.Configs, k)
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (b *Broker) resourceConfigs(c *call, rr *kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch rr.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		t, err := b.configuredTopic(c, rr.ResourceName)
		if err != nil {
			return nil, err
		}
		return describeTopicConfigs(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		if !b.authorize(Need{c.row.needs.Op, OnCluster}, "") {
			return nil, errUnauthorizedCluster
		}
		return b.brokerConfigs(rr.ResourceName)
	default:
		return nil, fmt.Errorf("%w: resource type %d has no configuration here", errInvalidRequest, rr.ResourceType)
	}
}

// configuredTopic finds the topic of a configuration request.
func (b *Broker) configuredTopic(c *call, name string) (*catalog.Topic, error) {
	if !c.allowed(name) {
		return nil, errUnauthorizedTopic
	}
	if t, ok := b.topics.TopicByName(name); ok {
		return t, nil
	}
	if err := validateTopicName(name); err != nil {
		return nil, err
	}
	return nil, storage.ErrUnknownPartition
}

// topicConfigValue returns a key's effective value and where it comes from.
func topicConfigValue(k *catalog.TopicConfigKey, set map[string]string) (string, kmsg.ConfigSource) {
	if v, ok := set[k.Name]; ok {
		return v, kmsg.ConfigSourceDynamicTopicConfig
	}
	return k.Default, kmsg.ConfigSourceDefaultConfig
}

func describeTopicConfigs(set map[string]string) []kmsg.DescribeConfigsResponseResourceConfig {
	var out []kmsg.DescribeConfigsResponseResourceConfig
	for _, k := range catalog.TopicConfigKeys() {
		v, source := topicConfigValue(&k, set)
		d := kmsg.DescribeConfigsResponseResourceConfig{
			Name: k.Name, Value: kmsg.StringPtr(v), Source: source, IsDefault: source == kmsg.ConfigSourceDefaultConfig,
			ConfigType: kmsg.ConfigType(k.Type), Documentation: kmsg.StringPtr(k.Doc),
		}
		if source == kmsg.ConfigSourceDynamicTopicConfig {
			d.ConfigSynonyms = append(d.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: k.Name, Value: kmsg.StringPtr(v), Source: source})
		}
		if k.Synonym != "" {
			d.ConfigSynonyms = append(d.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{
				Name: k.Synonym, Value: kmsg.StringPtr(k.Default), Source: kmsg.ConfigSourceDefaultConfig})
		}
		out = append(out, d)
	}
	return out
}

// brokerConfigs describes this broker; the empty name stands for cluster-wide dynamic values, of which there are none.
func (b *Broker) brokerConfigs(name string) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	if name == "" {
		return nil, nil
	}
	if id, err := strconv.ParseInt(name, 10, 32); err != nil || int32(id) != b.cfg.NodeID {
		return nil, fmt.Errorf("%w: this is broker %d: ask broker %q itself", errInvalidRequest, b.cfg.NodeID, name)
	}
	values := b.brokerConfigValues()
	for _, k := range catalog.TopicConfigKeys() {
		if k.Synonym != "" {
			values = append(values, brokerConfig{k.Synonym, k.Default, kmsg.ConfigType(k.Type), false})
		}
	}
	slices.SortFunc(values, func(x, y brokerConfig) int { return strings.Compare(x.name, y.name) })
	out := make([]kmsg.DescribeConfigsResponseResourceConfig, len(values))
	for i, v := range values {
		source := kmsg.ConfigSourceDefaultConfig
		if v.static {
			source = kmsg.ConfigSourceStaticBrokerConfig
		}
		out[i] = kmsg.DescribeConfigsResponseResourceConfig{
			Name: v.name, Value: kmsg.StringPtr(v.value), ReadOnly: true, Source: source, IsDefault: !v.static, ConfigType: v.kind,
			ConfigSynonyms: []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{{Name: v.name, Value: kmsg.StringPtr(v.value), Source: source}},
		}
	}
	return out, nil
}

type brokerConfig struct {
	name, value string
	kind        kmsg.ConfigType
	static      bool // set for this broker, rather than a default
}

// brokerConfigValues are the keys that tools read from a broker (kafka-protocol.md 4.2), with what is true here.
func (b *Broker) brokerConfigValues() []brokerConfig {
	id := strconv.Itoa(int(b.cfg.NodeID))
	return []brokerConfig{
		{"auto.create.topics.enable", strconv.FormatBool(!b.cfg.AutoCreateOff), kmsg.ConfigTypeBoolean, b.cfg.AutoCreateOff},
		{"broker.id", id, kmsg.ConfigTypeInt, true},
		{"connections.max.idle.ms", strconv.FormatInt(b.cfg.IdleTimeout.Milliseconds(), 10), kmsg.ConfigTypeLong, false},
		{"default.replication.factor", strconv.Itoa(int(b.cfg.ReplicationDefault)), kmsg.ConfigTypeInt, b.cfg.ReplicationDefault != 1},
		{"delete.topic.enable", "true", kmsg.ConfigTypeBoolean, false},
		{"fetch.max.bytes", strconv.Itoa(fetchBytesMax), kmsg.ConfigTypeInt, false},
		{"node.id", id, kmsg.ConfigTypeInt, true},
		{"num.partitions", strconv.Itoa(int(b.cfg.PartitionsDefault)), kmsg.ConfigTypeInt, b.cfg.PartitionsDefault != 1},
		{"process.roles", "broker,controller", kmsg.ConfigTypeList, true},
		{"socket.request.max.bytes", strconv.Itoa(b.cfg.FrameBytesMax), kmsg.ConfigTypeInt, false},
	}
}
