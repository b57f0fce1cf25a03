// DescribeConfigs, versions 1 to 4: 1 has sources and synonyms, 3 types and documentation, 4 is
// flexible.
//
// A topic shows every key of Kafka 4.3 and our own keys. A broker shows its own configuration and
// has one logger. The empty name stands for all brokers and shows what is set on them while they
// run. Each value that is shown is in force.
//
// Different from Apache Kafka: client metrics and groups have no configuration. The level of the
// one logger cannot be changed. A resource that a request asks twice for all of its keys is
// answered once.

package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	describedConfig  = kmsg.DescribeConfigsResponseResourceConfig
	describedSynonym = kmsg.DescribeConfigsResponseResourceConfigConfigSynonym
)

func (b *Broker) describeConfigs(_ context.Context, c *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	// Asking twice for all of a resource does not make the answer longer.
	seen := map[resource]bool{}
	for i := range req.Resources {
		rr := &req.Resources[i]
		if r := (resource{rr.ResourceType, rr.ResourceName}); len(rr.ConfigNames) == 0 {
			if seen[r] {
				continue
			}
			seen[r] = true
		}
		configs, err := b.resourceConfigs(c, rr)
		out := kmsg.DescribeConfigsResponseResource{
			ErrorCode: int16(codeOf(err)), ErrorMessage: messageOf(err),
			ResourceType: rr.ResourceType, ResourceName: rr.ResourceName,
		}
		if err == nil {
			out.ErrorMessage = kmsg.StringPtr("") // Kafka's message is empty here, and never null
		}
		for _, k := range configs {
			if len(rr.ConfigNames) > 0 && !slices.Contains(rr.ConfigNames, k.Name) {
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

func (b *Broker) resourceConfigs(c *call, rr *kmsg.DescribeConfigsRequestResource) ([]describedConfig, error) {
	switch rr.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		t, err := b.configuredTopic(c, rr.ResourceName)
		if err != nil {
			return nil, err
		}
		return b.live.Load().describeTopicConfigs(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		if err := b.ownBroker(c, rr.ResourceName, true); err != nil {
			return nil, err
		}
		return b.describeBroker(rr.ResourceName), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		if err := b.ownBroker(c, rr.ResourceName, false); err != nil {
			return nil, err
		}
		return b.describeLoggers(), nil
	default:
		return nil, fmt.Errorf("%w: resource type %d has no configuration here", errInvalidRequest, rr.ResourceType)
	}
}

// configuredTopic finds the topic of a request about configs.
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
	return nil, fmt.Errorf("%w: topic %q does not exist", storage.ErrUnknownPartition, name)
}

func synonym(name, value string, source kmsg.ConfigSource) describedSynonym {
	return describedSynonym{Name: name, Value: &value, Source: source}
}

// topicConfigValue returns the effective value of a key and the value's source.
func (l *live) topicConfigValue(k *catalog.TopicConfigKey, set map[string]string) (string, kmsg.ConfigSource) {
	if v, ok := set[k.Name]; ok {
		return v, kmsg.ConfigSourceDynamicTopicConfig
	}
	if s := l.topics.Synonyms(k); len(s) > 0 {
		return s[0].Value, kmsg.ConfigSource(s[0].Source)
	}
	return l.topics.Value(k), kmsg.ConfigSourceDefaultConfig
}

func (l *live) describeTopicConfigs(set map[string]string) (out []describedConfig) {
	for _, k := range catalog.TopicConfigKeys() {
		v, source := l.topicConfigValue(&k, set)
		d := describedConfig{
			Name: k.Name, Value: &v, Source: source, IsDefault: source == kmsg.ConfigSourceDefaultConfig,
			ConfigType: kmsg.ConfigType(k.Type), Documentation: kmsg.StringPtr(k.Doc),
		}
		if source == kmsg.ConfigSourceDynamicTopicConfig {
			d.ConfigSynonyms = append(d.ConfigSynonyms, synonym(k.Name, v, source))
		}
		for _, s := range l.topics.Synonyms(&k) {
			d.ConfigSynonyms = append(d.ConfigSynonyms, synonym(s.Name, s.Value, kmsg.ConfigSource(s.Source)))
		}
		out = append(out, d)
	}
	return out
}

// describeBroker shows the configuration of this broker, or what is set on all brokers if the name
// is empty.
func (b *Broker) describeBroker(name string) (out []describedConfig) {
	l := b.live.Load()
	byName := make(map[string]*Setting, len(b.settings))
	for i := range b.settings {
		byName[b.settings[i].Name] = &b.settings[i]
	}
	if name == "" {
		for _, key := range slices.Sorted(maps.Keys(l.all)) {
			out = append(out, describeDefault(key, l.all[key], byName[key]))
		}
		return out
	}
	for i := range b.settings {
		out = append(out, b.settings[i].describe(l, byName))
	}
	return out
}

// describeDefault shows a key that is set on all brokers. s describes the key; it is nil if this
// broker does not show the key.
func describeDefault(key, value string, s *Setting) describedConfig {
	d := describedConfig{Name: key, Value: &value, Source: kmsg.ConfigSourceDynamicDefaultBrokerConfig}
	if s != nil {
		d.ConfigType, d.Documentation = kmsg.ConfigType(s.Type), kmsg.StringPtr(s.Documentation)
	}
	d.ConfigSynonyms = []describedSynonym{synonym(key, value, d.Source)}
	return d
}

func (s *Setting) describe(l *live, byName map[string]*Setting) describedConfig {
	d := describedConfig{
		Name: s.Name, Value: s.Value, ReadOnly: !ChangesWhileRunning(s.Name), Source: kmsg.ConfigSourceDefaultConfig,
		ConfigType: kmsg.ConfigType(s.Type), Documentation: kmsg.StringPtr(s.Documentation),
		ConfigSynonyms: s.synonyms(l, nil),
	}
	if v, ok := l.set(s.Name); ok {
		d.Value = &v
	}
	if len(d.ConfigSynonyms) > 0 {
		d.Source = d.ConfigSynonyms[0].Source
	} else if s.Static {
		d.Source = kmsg.ConfigSourceStaticBrokerConfig
	}
	d.IsDefault = d.Source == kmsg.ConfigSourceDefaultConfig
	if d.Value != nil {
		for _, name := range catalog.CoarserBrokerKeys(s.Name) {
			if coarser := byName[name]; coarser != nil {
				d.ConfigSynonyms = coarser.synonyms(l, d.ConfigSynonyms)
			}
		}
	}
	if s.Sensitive || s.Type == catalog.ConfigSecret {
		d.IsSensitive, d.Value = true, nil
		for j := range d.ConfigSynonyms {
			d.ConfigSynonyms[j].Value = nil
		}
	}
	return d
}

// synonyms appends the values that the key has in several places, the one that counts first. The
// places are: this running broker, all brokers, the configuration with which the broker started,
// and the default.
func (s *Setting) synonyms(l *live, to []describedSynonym) []describedSynonym {
	if v, ok := l.own[s.Name]; ok {
		to = append(to, synonym(s.Name, v, kmsg.ConfigSourceDynamicBrokerConfig))
	}
	if v, ok := l.all[s.Name]; ok {
		to = append(to, synonym(s.Name, v, kmsg.ConfigSourceDynamicDefaultBrokerConfig))
	}
	if s.Static && s.Value != nil {
		to = append(to, synonym(s.Name, *s.Value, kmsg.ConfigSourceStaticBrokerConfig))
	}
	if s.Default != nil {
		to = append(to, synonym(s.Name, *s.Default, kmsg.ConfigSourceDefaultConfig))
	}
	return to
}

// describeLoggers shows the level of the one logger that exists.
func (b *Broker) describeLoggers() []describedConfig {
	level := "FATAL" // Kafka's name for the level above ERROR
	for _, l := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if b.logger.Enabled(context.Background(), l) {
			level = l.String()
		}
	}
	return []describedConfig{{Name: "root", Value: &level, ReadOnly: true, Source: kmsg.ConfigSourceDynamicBrokerLoggerConfig}}
}
