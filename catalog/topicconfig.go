package catalog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ConfigType is the type of a configuration's value, with the numbers of Kafka's DescribeConfigs.
type ConfigType int8

// The types of values.
const (
	ConfigBoolean ConfigType = 1
	ConfigString  ConfigType = 2
	ConfigInt     ConfigType = 3
	ConfigShort   ConfigType = 4
	ConfigLong    ConfigType = 5
	ConfigDouble  ConfigType = 6
	ConfigList    ConfigType = 7
	ConfigClass   ConfigType = 8
	ConfigSecret  ConfigType = 9 // Kafka's PASSWORD: never shown
)

// ConfigSource says which configuration gave a value, with the numbers of Kafka's DescribeConfigs.
// The lower number takes precedence.
type ConfigSource int8

// The sources of values.
const (
	SourceTopic          ConfigSource = 1 // set on the topic
	SourceDynamicBroker  ConfigSource = 2 // set on this broker while it runs
	SourceDynamicDefault ConfigSource = 3 // set on all brokers while they run
	SourceStatic         ConfigSource = 4 // from the file, environment or flags of this broker
	SourceDefault        ConfigSource = 5 // set nowhere
)

// Keys that code uses by name.
const (
	ConfigCleanupPolicy   = "cleanup.policy"
	ConfigCompressionType = "compression.type"
	ConfigDurability      = "sluice.durability"
	ConfigMaxMessageBytes = "max.message.bytes"
	ConfigRetentionMs     = "retention.ms"
	ConfigRetentionBytes  = "retention.bytes"
	ConfigSegmentBytes    = "segment.bytes"
	ConfigTimestampType   = "message.timestamp.type"
	ConfigTimestampBefore = "message.timestamp.before.max.ms"
	ConfigTimestampAfter  = "message.timestamp.after.max.ms"
)

// TopicConfigKey describes one key of a topic's configuration.
type TopicConfigKey struct {
	Name    string
	Default string
	Type    ConfigType
	// Synonym is the broker's key that gives the default and is shown with it; "" if Kafka has
	// none. coarser are the broker's keys in larger units, which count if Synonym is not set;
	// Synonym then has no default.
	Synonym string
	Doc     string

	min, max int64    // of ConfigInt and ConfigLong
	values   []string // the legal values of ConfigString and ConfigList, if only some are legal
	check    func(string) error
	coarser  []coarserKey
}

// coarserKey is a broker's key for the same thing in a larger unit.
type coarserKey struct {
	name     string
	standard string // "" if it has none
	unit     int64
	min, max int64
}

const (
	maxLong = "9223372036854775807"
	week    = "604800000"
	day     = "86400000"

	minuteMs = 60_000
	hourMs   = 60 * minuteMs
)

// topicConfigKeys has every topic configuration of Kafka 4.3 with its default, and ours, sorted by
// name. Keys without a meaning here, where there are no local log files, are kept and shown, since
// tools write and compare them.
var topicConfigKeys = []TopicConfigKey{
	list(ConfigCleanupPolicy, "delete", "log.cleanup.policy", "What happens to old records: delete by retention, compact by key, both, or (empty) neither.", "compact", "delete"),
	between("compression.gzip.level", "-1", ConfigInt, "compression.gzip.level", -1, 9, "Level when compression.type is gzip; -1 is the codec's default, 0 is not allowed.").but(nonZero),
	between("compression.lz4.level", "9", ConfigInt, "compression.lz4.level", 1, 17, "Level when compression.type is lz4."),
	oneOf(ConfigCompressionType, "producer", "compression.type", "Codec in which batches are stored; producer keeps what was sent.", "uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
	between("compression.zstd.level", "3", ConfigInt, "compression.zstd.level", -131072, 22, "Level when compression.type is zstd."),
	between("delete.retention.ms", day, ConfigLong, "log.cleaner.delete.retention.ms", 0, math.MaxInt64, "How long tombstones of a compacted topic stay."),
	between("file.delete.delay.ms", "60000", ConfigLong, "log.segment.delete.delay.ms", 0, math.MaxInt64, "Kept and shown; objects have a deletion delay of the cluster."),
	between("flush.messages", maxLong, ConfigLong, "log.flush.interval.messages", 1, math.MaxInt64, "Kept and shown; every acknowledged record is already on disk."),
	between("flush.ms", maxLong, ConfigLong, "log.flush.interval.ms", 0, math.MaxInt64, "Kept and shown; every acknowledged record is already on disk.").
		or("log.flush.scheduler.interval.ms", maxLong, 1, 0),
	free("follower.replication.throttled.replicas", "", ConfigList, "", "Kept and shown; there are no followers to throttle.").but(throttledReplicas),
	between("index.interval.bytes", "4096", ConfigInt, "log.index.interval.bytes", 0, math.MaxInt32, "Kept and shown; every batch is indexed."),
	free("leader.replication.throttled.replicas", "", ConfigList, "", "Kept and shown; there are no followers to throttle.").but(throttledReplicas),
	between("local.retention.bytes", "-2", ConfigLong, "log.local.retention.bytes", -2, math.MaxInt64, "Kept and shown; -2 follows retention.bytes."),
	between("local.retention.ms", "-2", ConfigLong, "log.local.retention.ms", -2, math.MaxInt64, "Kept and shown; -2 follows retention.ms."),
	between("max.compaction.lag.ms", maxLong, ConfigLong, "log.cleaner.max.compaction.lag.ms", 1, math.MaxInt64, "Longest time that a record stays uncompacted."),
	between(ConfigMaxMessageBytes, "1048588", ConfigInt, "message.max.bytes", 0, math.MaxInt32, "Largest batch, compressed, with its header."),
	between(ConfigTimestampAfter, "3600000", ConfigLong, "log.message.timestamp.after.max.ms", 0, math.MaxInt64, "How far a record's timestamp may lie ahead of the broker's clock."),
	between(ConfigTimestampBefore, maxLong, ConfigLong, "log.message.timestamp.before.max.ms", 0, math.MaxInt64, "How far a record's timestamp may lie behind the broker's clock."),
	oneOf(ConfigTimestampType, "CreateTime", "log.message.timestamp.type", "Whose time a record bears: the producer's, or the broker's at append.", "CreateTime", "LogAppendTime"),
	free("min.cleanable.dirty.ratio", "0.5", ConfigDouble, "log.cleaner.min.cleanable.ratio", "Share of uncompacted bytes from which a partition is compacted.").but(ratio),
	between("min.compaction.lag.ms", "0", ConfigLong, "log.cleaner.min.compaction.lag.ms", 0, math.MaxInt64, "Shortest time that a record stays uncompacted."),
	between("min.insync.replicas", "1", ConfigInt, "min.insync.replicas", 1, math.MaxInt32, "Kept and shown; what an acknowledgement survives is told by sluice.durability."),
	boolean("preallocate", "log.preallocate", "Kept and shown; the write-ahead log always preallocates."),
	boolean("remote.log.copy.disable", "", "Kept and shown; storage is remote anyway."),
	boolean("remote.log.delete.on.disable", "", "Kept and shown; storage is remote anyway."),
	boolean("remote.storage.enable", "", "May only be false: storage is remote anyway.").but(onlyFalse),
	between(ConfigRetentionBytes, "-1", ConfigLong, "log.retention.bytes", math.MinInt64, math.MaxInt64, "Bytes of a partition above which its oldest records go; -1 is no limit."),
	between(ConfigRetentionMs, week, ConfigLong, "log.retention.ms", -1, math.MaxInt64, "Age at which records go; -1 is no limit.").
		or("log.retention.minutes", "", minuteMs, math.MinInt32).or("log.retention.hours", "168", hourMs, math.MinInt32),
	between(ConfigSegmentBytes, "1073741824", ConfigInt, "log.segment.bytes", 1<<20, math.MaxInt32, "Kept and shown; a batch may not be larger."),
	between("segment.index.bytes", "10485760", ConfigInt, "log.index.size.max.bytes", 4, math.MaxInt32, "Kept and shown; indexes are part of objects."),
	between("segment.jitter.ms", "0", ConfigLong, "log.roll.jitter.ms", 0, math.MaxInt64, "Kept and shown.").or("log.roll.jitter.hours", "0", hourMs, 0),
	between("segment.ms", week, ConfigLong, "log.roll.ms", 1, math.MaxInt64, "Age from which records may be compacted.").or("log.roll.hours", "168", hourMs, 1),
	oneOf(ConfigDurability, "local", "", "When a record counts as stored: local (this broker's disk), replicated (also its peers'), object (in the bucket).", "local", "object", "replicated"),
	boolean("unclean.leader.election.enable", "unclean.leader.election.enable", "Kept and shown; leadership never moves to a broker without the records."),
}

func free(name, value string, t ConfigType, synonym, doc string) TopicConfigKey {
	return TopicConfigKey{Name: name, Default: value, Type: t, Synonym: synonym, Doc: doc}
}

func between(name, value string, t ConfigType, synonym string, low, high int64, doc string) TopicConfigKey {
	k := free(name, value, t, synonym, doc)
	k.min, k.max = low, high
	return k
}

func oneOf(name, value, synonym, doc string, values ...string) TopicConfigKey {
	k := free(name, value, ConfigString, synonym, doc)
	k.values = values
	return k
}

func list(name, value, synonym, doc string, values ...string) TopicConfigKey {
	k := oneOf(name, value, synonym, doc, values...)
	k.Type = ConfigList
	return k
}

func boolean(name, synonym, doc string) TopicConfigKey {
	return free(name, "false", ConfigBoolean, synonym, doc)
}

func (k TopicConfigKey) but(check func(string) error) TopicConfigKey {
	k.check = check
	return k
}

func (k TopicConfigKey) or(name, standard string, unit, low int64) TopicConfigKey {
	high := int64(math.MaxInt32)
	if unit == 1 {
		high = math.MaxInt64
	}
	k.coarser = append(k.coarser, coarserKey{name, standard, unit, low, high})
	return k
}

func nonZero(v string) error {
	if v == "0" {
		return errors.New("want -1 or 1 to 9")
	}
	return nil
}

func onlyFalse(v string) error {
	if v == "true" {
		return errors.New("storage is remote anyway; leave it false")
	}
	return nil
}

func ratio(v string) error {
	if f, err := strconv.ParseFloat(v, 64); err != nil || !(f >= 0 && f <= 1) {
		return errors.New("want a number from 0 to 1")
	}
	return nil
}

// throttledReplicas accepts "", "*" or partition:broker pairs.
func throttledReplicas(v string) error {
	if v == "" || v == "*" {
		return nil
	}
	for _, pair := range strings.Split(v, ",") {
		p, b, ok := strings.Cut(pair, ":")
		_, err1 := strconv.ParseInt(p, 10, 32)
		_, err2 := strconv.ParseInt(b, 10, 32)
		if !ok || err1 != nil || err2 != nil {
			return errors.New("want * or a list of partition:broker")
		}
	}
	return nil
}

// TopicConfigKeys returns every key, sorted by name. The slice is shared and read-only.
func TopicConfigKeys() []TopicConfigKey { return topicConfigKeys }

// TopicConfigKeyNamed returns the key with this name.
func TopicConfigKeyNamed(name string) (TopicConfigKey, bool) {
	for i := range topicConfigKeys {
		if topicConfigKeys[i].Name == name {
			return topicConfigKeys[i], true
		}
	}
	return TopicConfigKey{}, false
}

// canonical reads one value as Kafka does and returns the form in which it is stored and shown:
// without blanks around the value or its items, numbers in their shortest form, and no word twice
// in a list.
func (k *TopicConfigKey) canonical(value string) (string, error) {
	v, err := k.canonicalType(strings.TrimSpace(value))
	if err == nil && k.check != nil {
		err = k.check(v)
	}
	return v, err
}

func (k *TopicConfigKey) canonicalType(v string) (string, error) {
	switch k.Type {
	case ConfigBoolean:
		if v = strings.ToLower(v); v != "true" && v != "false" {
			return "", errors.New("want true or false")
		}
	case ConfigInt, ConfigLong:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < k.min || n > k.max {
			return "", fmt.Errorf("want a whole number from %d to %d", k.min, k.max)
		}
		v = strconv.FormatInt(n, 10)
	case ConfigDouble:
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return "", errors.New("want a number")
		}
		v = strconv.FormatFloat(n, 'f', -1, 64)
	case ConfigString:
		if k.values != nil && !slices.Contains(k.values, v) {
			return "", fmt.Errorf("want one of %s", strings.Join(k.values, ", "))
		}
	case ConfigList:
		return k.canonicalList(v)
	}
	return v, nil
}

func (k *TopicConfigKey) canonicalList(v string) (string, error) {
	var kept []string
	for _, item := range SplitConfigList(v) {
		if k.values != nil && !slices.Contains(k.values, item) {
			return "", fmt.Errorf("want a list of %s", strings.Join(k.values, ", "))
		}
		if k.values == nil || !slices.Contains(kept, item) {
			kept = append(kept, item)
		}
	}
	return strings.Join(kept, ","), nil
}

// SplitConfigList splits a list value at its commas and drops blanks. An empty value has no items.
func SplitConfigList(v string) []string {
	if strings.TrimSpace(v) == "" {
		return nil
	}
	items := strings.Split(v, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// CleanupPolicy says what happens to old records.
type CleanupPolicy struct {
	Delete, Compact bool
}

// TopicConfig is a topic's effective configuration, as far as Sluice acts on it. Times are in
// milliseconds.
type TopicConfig struct {
	CleanupPolicy        CleanupPolicy
	RetentionMs          int64 // -1 is no limit
	RetentionBytes       int64 // per partition; negative: no limit
	SegmentBytes         int32
	MaxMessageBytes      int32
	LogAppendTime        bool  // message.timestamp.type
	TimestampBeforeMaxMs int64 // checked for CreateTime only
	TimestampAfterMaxMs  int64
	CompressionType      string // "producer" keeps what was sent
	CompressionLevel     int    // of CompressionType; 0 if it has none
	Durability           string // local, object or replicated
	MinInsyncReplicas    int32
	DeleteRetentionMs    int64
	MinCompactionLagMs   int64
	MaxCompactionLagMs   int64
}

// ErrInvalidConfig is a topic configuration that is not valid.
var ErrInvalidConfig = errors.New("invalid topic configuration")
