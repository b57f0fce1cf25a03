package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TopicDefaults is what topics have that set nothing: Kafka's defaults, or what the broker's own
// configuration says instead (log.retention.hours, message.max.bytes and so on). It is immutable.
// nil stands for Kafka's defaults.
//
// A topic stores only what was set on it. So a change of the broker's configuration reaches every
// topic that sets nothing else.
type TopicDefaults struct {
	layers  []layer           // in the order of precedence
	values  map[string]string // by topic key, if a layer changes the default
	nothing TopicConfig       // the configuration of a topic that sets nothing
}

// layer is what one source says about the broker's keys, in canonical form.
type layer struct {
	source ConfigSource
	set    map[string]string
}

// kafkaNothing is the configuration, by Kafka's defaults, of a topic that sets nothing.
var kafkaNothing = (*TopicDefaults)(nil).parse(nil)

// ParseTopicDefaults reads what a broker's configuration says about topics, under Kafka's names of
// the broker's keys. Other keys in set are ignored. ErrInvalidConfig names every problem.
func ParseTopicDefaults(set map[string]string) (*TopicDefaults, error) {
	static := layer{SourceStatic, map[string]string{}}
	var problems []ConfigProblem
	for i := range topicConfigKeys {
		problems = append(problems, topicConfigKeys[i].readStatic(set, static.set)...)
	}
	d := newTopicDefaults(static)
	if problems = append(problems, d.problems()...); len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return d, nil
}

// With puts what is set on a running broker, and on all brokers, over what the broker was started
// with. ErrInvalidConfig names every problem. The returned defaults are usable nevertheless, since
// a start must not fail because of a value that another version or another broker accepted: an
// invalid value is left out, and values that contradict each other are used as they are.
func (d *TopicDefaults) With(own, all map[string]string) (*TopicDefaults, error) {
	var problems []ConfigProblem
	dynamic := func(source ConfigSource, set map[string]string) layer {
		l := layer{source, map[string]string{}}
		for i := range topicConfigKeys {
			problems = append(problems, topicConfigKeys[i].readSynonym(set, l.set)...)
		}
		return l
	}
	layers := []layer{dynamic(SourceDynamicBroker, own), dynamic(SourceDynamicDefault, all)}
	if static := d.static(); static != nil {
		layers = append(layers, layer{SourceStatic, static})
	}
	next := newTopicDefaults(layers...)
	if problems = append(problems, next.problems()...); len(problems) > 0 {
		return next, problemsError(problems)
	}
	return next, nil
}

func newTopicDefaults(layers ...layer) *TopicDefaults {
	d := &TopicDefaults{layers: layers, values: map[string]string{}}
	for i := range topicConfigKeys {
		k := &topicConfigKeys[i]
		if v, ok := d.said(k); ok {
			d.values[k.Name] = v
		}
	}
	d.nothing = d.parse(nil)
	return d
}

// problems names defaults that are legal by themselves and contradict each other.
func (d *TopicDefaults) problems() []ConfigProblem {
	return validateTogether(func(name string) string { return d.Value(mustKey(name)) })
}

func problemsError(problems []ConfigProblem) error {
	return fmt.Errorf("%w: %s", ErrInvalidConfig, joinProblems(problems))
}

// CheckBrokerKey returns the canonical form of a value for a broker's key that gives topics their
// default and may change while the broker runs. known is false for any other key.
func CheckBrokerKey(name, value string) (canonical string, known bool, err error) {
	for i := range topicConfigKeys {
		if k := &topicConfigKeys[i]; k.Synonym == name && name != "" {
			canonical, err = k.canonicalDefault(value)
			return canonical, true, err
		}
	}
	return "", false, nil
}

// canonicalDefault is canonical for the broker's key behind this one. Kafka accepts 0 only on a
// topic.
func (k *TopicConfigKey) canonicalDefault(value string) (string, error) {
	v, err := k.canonical(value)
	if err == nil && k.Name == ConfigRetentionMs && v == "0" {
		err = errors.New("want -1, or at least 1")
	}
	return v, err
}

// readOne reads one of the broker's keys from one map into another.
func readOne(name string, from, to map[string]string, canonical func(string) (string, error)) []ConfigProblem {
	value, ok := from[name]
	if !ok || name == "" {
		return nil
	}
	v, err := canonical(value)
	if err != nil {
		return []ConfigProblem{{name, value, err.Error()}}
	}
	to[name] = v
	return nil
}

// readSynonym reads the only one of the broker's keys that may change while the broker runs.
func (k *TopicConfigKey) readSynonym(from, to map[string]string) []ConfigProblem {
	return readOne(k.Synonym, from, to, k.canonicalDefault)
}

// readStatic reads all of the broker's keys that give this key's default.
func (k *TopicConfigKey) readStatic(from, to map[string]string) []ConfigProblem {
	problems := k.readSynonym(from, to)
	for _, c := range k.coarser {
		problems = append(problems, readOne(c.name, from, to, func(value string) (string, error) {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil || n < c.min || n > c.max || k.Name == ConfigRetentionMs && n == 0 {
				return "", fmt.Errorf("want a whole number from %d to %d", max(c.min, -1), c.max)
			}
			return strconv.FormatInt(n, 10), nil
		})...)
	}
	return problems
}

// said returns the default that the broker's keys give. The first layer with a value counts, and in
// it the finest unit.
func (d *TopicDefaults) said(k *TopicConfigKey) (string, bool) {
	for _, l := range d.layers {
		if v, ok := l.set[k.Synonym]; ok {
			return v, true
		}
	}
	// Only a start sets these keys, so they are in the last layer.
	for _, c := range k.coarser {
		if v, ok := d.static()[c.name]; ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				panic("BUG: unvalidated broker configuration " + c.name)
			}
			// Below zero means no limit, in any unit.
			return strconv.FormatInt(max(n*c.unit, -1), 10), true
		}
	}
	return "", false
}

// static is what the broker was started with.
func (d *TopicDefaults) static() map[string]string {
	if d == nil || len(d.layers) == 0 {
		return nil
	}
	if l := d.layers[len(d.layers)-1]; l.source == SourceStatic {
		return l.set
	}
	return nil
}

// Value returns the value of a topic that does not set the key.
func (d *TopicDefaults) Value(k *TopicConfigKey) string {
	if d != nil {
		if v, ok := d.values[k.Name]; ok {
			return v
		}
	}
	return k.Default
}

// ConfigSynonym is a broker's key behind a topic's. Its value counts unless an earlier synonym has
// one.
type ConfigSynonym struct {
	Name, Value string
	Source      ConfigSource
}

// Synonyms returns the values of a topic key's broker-level keys in the order of precedence. If
// only a key in a larger unit is set, there are none, as in Kafka.
func (d *TopicDefaults) Synonyms(k *TopicConfigKey) (out []ConfigSynonym) {
	if k.Synonym == "" {
		return nil
	}
	if d != nil {
		for _, l := range d.layers {
			if v, ok := l.set[k.Synonym]; ok {
				out = append(out, ConfigSynonym{k.Synonym, v, l.source})
			}
		}
	}
	if len(k.coarser) == 0 {
		return append(out, ConfigSynonym{k.Synonym, k.Default, SourceDefault})
	}
	if len(out) == 0 {
		return nil
	}
	for _, c := range k.coarser {
		if v, ok := d.static()[c.name]; ok {
			out = append(out, ConfigSynonym{c.name, v, SourceStatic})
		}
		if c.standard != "" {
			out = append(out, ConfigSynonym{c.name, c.standard, SourceDefault})
		}
	}
	return out
}

// CoarserBrokerKeys returns the broker's keys that say the same as name in larger units. They count
// if name is not set.
func CoarserBrokerKeys(name string) (names []string) {
	for i := range topicConfigKeys {
		k := &topicConfigKeys[i]
		found := k.Synonym == name
		for _, c := range k.coarser {
			if found {
				names = append(names, c.name)
			}
			found = found || c.name == name
		}
	}
	return names
}

// Check validates what is to be set on a topic, each value by itself and all together, and returns
// it in canonical form. ErrInvalidConfig names every problem.
func (d *TopicDefaults) Check(set map[string]string) (map[string]string, error) {
	canonical := make(map[string]string, len(set))
	var problems []ConfigProblem
	for name, value := range set {
		k, ok := TopicConfigKeyNamed(name)
		if !ok {
			problems = append(problems, ConfigProblem{name, value, "unknown topic configuration"})
			continue
		}
		v, err := k.canonical(value)
		if err != nil {
			problems = append(problems, ConfigProblem{name, value, err.Error()})
		}
		canonical[name] = v
	}
	if len(problems) == 0 {
		problems = validateTogether(d.effective(canonical))
	}
	if len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return canonical, nil
}

// Effective returns the configuration of a topic on which set was set. set comes from Check,
// perhaps with other defaults. A value that Check would refuse is a BUG.
func (d *TopicDefaults) Effective(set map[string]string) TopicConfig {
	switch {
	case len(set) > 0:
		return d.parse(set)
	case d == nil:
		return kafkaNothing
	}
	return d.nothing
}

// effective returns a function that looks up a key's value in set and then in the defaults.
func (d *TopicDefaults) effective(set map[string]string) func(name string) string {
	return func(name string) string {
		if v, ok := set[name]; ok {
			return strings.TrimSpace(v)
		}
		return d.Value(mustKey(name))
	}
}

func mustKey(name string) *TopicConfigKey {
	for i := range topicConfigKeys {
		if topicConfigKeys[i].Name == name {
			return &topicConfigKeys[i]
		}
	}
	panic("BUG: no topic configuration " + name)
}

func (d *TopicDefaults) parse(set map[string]string) TopicConfig {
	value := d.effective(set)
	number := func(name string) int64 {
		n, err := strconv.ParseInt(value(name), 10, 64)
		if err != nil {
			panic("BUG: unvalidated topic configuration " + name)
		}
		return n
	}
	policies := SplitConfigList(value(ConfigCleanupPolicy))
	c := TopicConfig{
		CleanupPolicy:        CleanupPolicy{Delete: slices.Contains(policies, "delete"), Compact: slices.Contains(policies, "compact")},
		RetentionMs:          number(ConfigRetentionMs),
		RetentionBytes:       number(ConfigRetentionBytes),
		SegmentBytes:         int32(number(ConfigSegmentBytes)),
		MaxMessageBytes:      int32(number(ConfigMaxMessageBytes)),
		LogAppendTime:        value(ConfigTimestampType) == "LogAppendTime",
		TimestampBeforeMaxMs: number(ConfigTimestampBefore),
		TimestampAfterMaxMs:  number(ConfigTimestampAfter),
		CompressionType:      value(ConfigCompressionType),
		Durability:           value(ConfigDurability),
		MinInsyncReplicas:    int32(number("min.insync.replicas")),
		DeleteRetentionMs:    number("delete.retention.ms"),
		MinCompactionLagMs:   number("min.compaction.lag.ms"),
		MaxCompactionLagMs:   number("max.compaction.lag.ms"),
	}
	switch c.CompressionType {
	case "gzip", "lz4", "zstd":
		c.CompressionLevel = int(number("compression." + c.CompressionType + ".level"))
	}
	return c
}

// ConfigProblem is a key or value that is not allowed.
type ConfigProblem struct {
	Key, Value, Reason string
}

func (p ConfigProblem) String() string {
	return fmt.Sprintf("%s=%q: %s", p.Key, p.Value, p.Reason)
}

// validateTogether checks values that are legal by themselves. In Kafka the pairs of
// local.retention.* and retention.* matter only with remote.storage.enable, which cannot be true
// here.
func validateTogether(value func(string) string) (problems []ConfigProblem) {
	const low, high = "min.compaction.lag.ms", "max.compaction.lag.ms"
	a, err1 := strconv.ParseInt(value(low), 10, 64)
	b, err2 := strconv.ParseInt(value(high), 10, 64)
	if err1 == nil && err2 == nil && a > b {
		problems = append(problems, ConfigProblem{low, value(low), "must not exceed " + high + ", which is " + value(high)})
	}
	return problems
}

// joinProblems joins problems into one line, sorted by key.
func joinProblems(problems []ConfigProblem) string {
	slices.SortFunc(problems, func(a, b ConfigProblem) int { return strings.Compare(a.Key, b.Key) })
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}
