package config

import (
	"regexp"
	"slices"
	"strings"
)

// The prefixes of the variables that are read.
const (
	ourPrefix   = "SLUICE_"
	kafkaPrefix = "KAFKA_"
)

// notKeys are variables with our prefixes that are not keys. They belong to the build, the tests
// and the client commands, or give options to the Java virtual machine and its logging in container
// images of Kafka.
var notKeys = []string{
	"SLUICE_BIN", "SLUICE_TOOLS", "SLUICE_LONG", "SLUICE_SEED", "SLUICE_GOLDEN", "SLUICE_BROKERS",
	"KAFKA_HOME", "KAFKA_VERSION", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_GC_LOG_OPTS",
	"KAFKA_JMX_OPTS", "KAFKA_JMX_PORT", "KAFKA_JMX_HOSTNAME", "KAFKA_LOG4J_OPTS", "KAFKA_LOG4J_LOGGERS",
	"KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_TOOLS_LOG4J_LOGLEVEL", "KAFKA_DEBUG",
}

// serviceLink matches variables that Kubernetes adds to the environment of pods beside a service
// named "sluice" or "kafka".
var serviceLink = regexp.MustCompile(`^(SLUICE|KAFKA)_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$`)

// FromEnvironment reads variables as the container images of Kafka do: KAFKA_NUM_PARTITIONS is
// num.partitions; __ stands for _ and ___ for -. SLUICE_… works in the same way and needs no second
// "sluice": SLUICE_FLUSH_INTERVAL is sluice.flush.interval. If both prefixes name one key, SLUICE_
// counts. An unknown KAFKA_… variable may belong to a tool.
func FromEnvironment(environ []string) (layers [2][]Entry) {
	environ = slices.Sorted(slices.Values(environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if slices.Contains(notKeys, name) || serviceLink.MatchString(name) || strings.HasPrefix(name, "SLUICE_TEST_") {
			continue
		}
		if rest, ok := strings.CutPrefix(name, kafkaPrefix); ok {
			layers[0] = append(layers[0], Entry{Key: dotted(rest), Value: value, At: name, Foreign: true})
		} else if rest, ok := strings.CutPrefix(name, ourPrefix); ok {
			layers[1] = append(layers[1], Entry{Key: ourName(dotted(rest)), Value: value, At: name})
		}
	}
	return layers
}

// dotted turns the name of a variable into that of a key.
func dotted(name string) string {
	return strings.NewReplacer("___", "-", "__", "_", "_", ".").Replace(strings.ToLower(name))
}

// ourName returns our key of that name if there is one, and otherwise Kafka's.
func ourName(name string) string {
	ours := "sluice." + name
	if _, ok := keyed[ours]; !ok {
		if _, ok := find(name); ok {
			return name
		}
	}
	return ours
}
