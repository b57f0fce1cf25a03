package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/catalog"
)

// Setting is one key of this broker's configuration as DescribeConfigs shows it, with the value at
// the start of the broker. It has Kafka's name where Kafka has the key. The values that are set
// while the broker runs are laid over it (dynamic.go).
type Setting struct {
	Name string
	// Value is in force unless a value is set while the broker runs. It is nil if there is none.
	Value *string
	// Default is in force where the configuration has no value. It is nil if there is none.
	Default *string
	// Static says that Value comes from the configuration: file, environment or flag.
	Static bool
	Type   catalog.ConfigType
	// Sensitive values are never shown; nor are those of type ConfigSecret.
	Sensitive     bool
	Documentation string
}

// validateSettings reports keys without a name, and keys that occur twice.
func validateSettings(settings []Setting) error {
	seen := map[string]bool{}
	for i := range settings {
		if name := settings[i].Name; name == "" || seen[name] {
			return fmt.Errorf("broker: Settings[%d] is %q: want each key once", i, name)
		}
		seen[settings[i].Name] = true
	}
	return nil
}

// ownSettings returns what a broker without Settings shows: the keys that tools read
// (docs/kafka-behaviour.md) and that the broker itself knows, and the keys behind those of topics.
func (c *Config) ownSettings() []Setting {
	set := func(name, value, standard string, t catalog.ConfigType) Setting {
		return Setting{Name: name, Value: &value, Default: &standard, Static: value != standard, Type: t}
	}
	number := func(name string, value, standard int64) Setting {
		return set(name, strconv.FormatInt(value, 10), strconv.FormatInt(standard, 10), catalog.ConfigInt)
	}
	static := func(name, value string, t catalog.ConfigType) Setting {
		return Setting{Name: name, Value: &value, Static: true, Type: t}
	}
	id := strconv.Itoa(int(c.NodeID))
	out := []Setting{
		set("auto.create.topics.enable", strconv.FormatBool(!c.AutoCreateOff), "true", catalog.ConfigBoolean),
		set("broker.id", id, "-1", catalog.ConfigInt),
		number("connections.max.idle.ms", c.IdleTimeout.Milliseconds(), 600_000),
		number("default.replication.factor", int64(c.ReplicationDefault), 1),
		set("delete.topic.enable", strconv.FormatBool(!c.TopicDeletionOff), "true", catalog.ConfigBoolean),
		number("fetch.max.bytes", int64(c.FetchBytesMax), fetchBytesMax),
		number(keyConnectionsMax, int64(c.ConnectionsMax), 10_000),
		number(keyConnectionsPerIPMax, int64(c.ConnectionsPerIPMax), 2_000),
		static("node.id", id, catalog.ConfigInt),
		number("num.partitions", int64(c.PartitionsDefault), 1),
		static("process.roles", "broker,controller", catalog.ConfigList),
		number("socket.request.max.bytes", int64(c.FrameBytesMax), 100*mib),
	}
	if c.LogDir != "" {
		out = append(out, static("log.dirs", c.LogDir, catalog.ConfigList))
	}
	for _, k := range catalog.TopicConfigKeys() {
		if k.Synonym == "" {
			continue
		}
		s := Setting{Name: k.Synonym, Type: k.Type, Documentation: k.Doc}
		for _, y := range slices.Backward(c.TopicDefaults.Synonyms(&k)) {
			if y.Name != k.Synonym {
				continue
			}
			s.Value, s.Static = &y.Value, y.Source == catalog.SourceStatic
			if !s.Static {
				s.Default = &y.Value
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Setting) int { return strings.Compare(x.Name, y.Name) })
	return out
}
