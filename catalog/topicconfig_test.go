package catalog

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestTopicConfigKeysAreSortedAndDescribed(t *testing.T) {
	keys := TopicConfigKeys()
	if !slices.IsSortedFunc(keys, func(a, b TopicConfigKey) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("keys are not sorted by name")
	}
	for _, k := range keys {
		if k.Doc == "" {
			t.Errorf("%s has no text", k.Name)
		}
		if k.Name == ConfigDurability {
			continue // unset follows the cluster
		}
		if problems := ValidateTopicConfigs(map[string]string{k.Name: k.Default}); len(problems) > 0 {
			t.Errorf("the default of %s is refused: %v", k.Name, problems)
		}
	}
}

// TestKafkaTopicConfigs holds the table against the list of Kafka 4.3's keys and defaults.
func TestKafkaTopicConfigs(t *testing.T) {
	const kafka = `cleanup.policy=delete compression.gzip.level=-1 compression.lz4.level=9 compression.type=producer compression.zstd.level=3
delete.retention.ms=86400000 file.delete.delay.ms=60000 flush.messages=9223372036854775807 flush.ms=9223372036854775807
follower.replication.throttled.replicas= index.interval.bytes=4096 leader.replication.throttled.replicas= local.retention.bytes=-2
local.retention.ms=-2 max.compaction.lag.ms=9223372036854775807 max.message.bytes=1048588 message.timestamp.after.max.ms=3600000
message.timestamp.before.max.ms=9223372036854775807 message.timestamp.type=CreateTime min.cleanable.dirty.ratio=0.5
min.compaction.lag.ms=0 min.insync.replicas=1 preallocate=false remote.log.copy.disable=false remote.log.delete.on.disable=false
remote.storage.enable=false retention.bytes=-1 retention.ms=604800000 segment.bytes=1073741824 segment.index.bytes=10485760
segment.jitter.ms=0 segment.ms=604800000 unclean.leader.election.enable=false`
	want := strings.Fields(kafka)
	var got []string
	for _, k := range TopicConfigKeys() {
		if !strings.HasPrefix(k.Name, "sluice.") {
			got = append(got, k.Name+"="+k.Default)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestValidateTopicConfigs(t *testing.T) {
	for _, c := range []struct {
		key, value string
		ok         bool
	}{
		{"cleanup.policy", "compact", true},
		{"cleanup.policy", "compact, delete", true},
		{"cleanup.policy", "", true},
		{"cleanup.policy", "delete,delete", false},
		{"cleanup.policy", "shred", false},
		{"compression.gzip.level", "0", false},
		{"compression.gzip.level", "9", true},
		{"compression.type", "zstd", true},
		{"compression.type", "brotli", false},
		{"follower.replication.throttled.replicas", "*", true},
		{"follower.replication.throttled.replicas", "0:1,1:2", true},
		{"follower.replication.throttled.replicas", "zero", false},
		{"local.retention.ms", "1", true},
		{"local.retention.ms", "604800001", false},
		{"local.retention.ms", "-1", false},
		{"max.message.bytes", "2147483648", false},
		{"max.message.bytes", " 10 ", true},
		{"message.format.version", "2.8", false},
		{"message.timestamp.type", "LogAppendTime", true},
		{"message.timestamp.type", "logappendtime", false},
		{"min.cleanable.dirty.ratio", "0.25", true},
		{"min.cleanable.dirty.ratio", "1.1", false},
		{"min.cleanable.dirty.ratio", "NaN", false},
		{"preallocate", "TRUE", true},
		{"preallocate", "yes", false},
		{"remote.storage.enable", "true", false},
		{"retention.ms", "-1", true},
		{"retention.ms", "-2", false},
		{"retention.ms", "1e3", false},
		{"segment.bytes", "1048575", false},
		{"sluice.durability", "object", true},
		{"sluice.durability", "", false},
		{"sluice.durability", "paper", false},
	} {
		problems := ValidateTopicConfigs(map[string]string{c.key: c.value})
		if (len(problems) == 0) != c.ok {
			t.Errorf("%s=%q: %v, want ok=%v", c.key, c.value, problems, c.ok)
		}
	}
	all := ValidateTopicConfigs(map[string]string{"b": "1", "a": "2", "retention.ms": "x"})
	if len(all) != 3 || all[0].Key != "a" || all[2].Key != "retention.ms" {
		t.Errorf("every problem, sorted: %v", all)
	}
	if got := ValidateTopicConfigs(map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"}); len(got) != 1 {
		t.Errorf("lags that cross: %v", got)
	}
}

func TestParseTopicConfig(t *testing.T) {
	c, err := ParseTopicConfig(nil)
	if err != nil || c != DefaultTopicConfig() || !c.CleanupPolicy.Delete || c.CleanupPolicy.Compact || c.RetentionMs != 604_800_000 ||
		c.MaxMessageBytes != 1_048_588 || c.TimestampBeforeMaxMs != math.MaxInt64 || c.Durability != "" || c.CompressionType != "producer" {
		t.Errorf("default: %+v, %v", c, err)
	}
	c, err = ParseTopicConfig(map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime", "retention.bytes": "5",
		"compression.type": "gzip", "compression.gzip.level": "7", "sluice.durability": "object", "segment.bytes": " 1048576"})
	if err != nil || c.CleanupPolicy != (CleanupPolicy{Compact: true}) || !c.LogAppendTime || c.RetentionBytes != 5 ||
		c.CompressionLevel != 7 || c.Durability != "object" || c.SegmentBytes != 1<<20 {
		t.Errorf("set: %+v, %v", c, err)
	}
	if _, err := ParseTopicConfig(map[string]string{"retention.ms": "soon"}); !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), `retention.ms="soon"`) {
		t.Errorf("invalid: %v", err)
	}
}
