package catalog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// nobodys are Kafka's defaults.
var nobodys *TopicDefaults

func TestTopicConfigKeysAreSortedAndDescribed(t *testing.T) {
	keys := TopicConfigKeys()
	if !slices.IsSortedFunc(keys, func(a, b TopicConfigKey) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("keys are not sorted by name")
	}
	for _, k := range keys {
		if k.Doc == "" {
			t.Errorf("%s has no text", k.Name)
		}
		set, err := nobodys.Check(map[string]string{k.Name: k.Default})
		if err != nil || set[k.Name] != k.Default {
			t.Errorf("the default of %s is refused or not canonical: %v, %v", k.Name, set, err)
		}
	}
}

// TestKafkaTopicConfigs compares the table with the list of Kafka 4.3's keys and defaults.
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

// TestCheck: what is stored and shown for a value; "-" if the value is refused. The expectations
// come from Apache Kafka 4.3.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"cleanup.policy", "compact", "compact"},
		{"cleanup.policy", "compact, delete", "compact,delete"},
		{"cleanup.policy", "", ""},
		{"cleanup.policy", "delete, delete ,compact", "delete,compact"},
		{"cleanup.policy", "delete,", "-"},
		{"cleanup.policy", "delete,,compact", "-"},
		{"cleanup.policy", "shred", "-"},
		{"compression.gzip.level", "0", "-"},
		{"compression.gzip.level", "9", "9"},
		{"compression.gzip.level", "10", "-"},
		{"compression.lz4.level", "0", "-"},
		{"compression.type", "zstd", "zstd"},
		{"compression.type", "brotli", "-"},
		{"compression.type", "GZIP", "-"},
		{"compression.zstd.level", "23", "-"},
		{"delete.retention.ms", "-1", "-"},
		{"file.delete.delay.ms", "-1", "-"},
		{"flush.messages", "0", "-"},
		{"follower.replication.throttled.replicas", "*", "*"},
		{"follower.replication.throttled.replicas", "0:1, 1:2", "0:1,1:2"},
		{"follower.replication.throttled.replicas", "0:1,0:1", "0:1,0:1"},
		{"follower.replication.throttled.replicas", "zero", "-"},
		{"index.interval.bytes", "-1", "-"},
		{"local.retention.bytes", "5", "5"},
		{"local.retention.ms", "99999999999", "99999999999"},
		{"local.retention.ms", "-1", "-1"},
		{"local.retention.ms", "-3", "-"},
		{"max.compaction.lag.ms", "0", "-"},
		{"max.message.bytes", "2147483648", "-"},
		{"max.message.bytes", "-1", "-"},
		{"max.message.bytes", " 10 ", "10"},
		{"message.format.version", "2.8", "-"},
		{"message.timestamp.before.max.ms", "-1", "-"},
		{"message.timestamp.type", "LogAppendTime", "LogAppendTime"},
		{"message.timestamp.type", "logappendtime", "-"},
		{"min.cleanable.dirty.ratio", "0.250", "0.25"},
		{"min.cleanable.dirty.ratio", "1e-3", "0.001"},
		{"min.cleanable.dirty.ratio", "1.1", "-"},
		{"min.cleanable.dirty.ratio", "half", "-"},
		{"min.cleanable.dirty.ratio", "NaN", "-"}, // Kafka accepts it
		{"min.insync.replicas", "0", "-"},
		{"min.insync.replicas", "3", "3"},
		{"preallocate", "TRUE", "true"},
		{"preallocate", "yes", "-"},
		{"remote.log.copy.disable", "true", "true"},
		{"remote.storage.enable", "true", "-"},
		{"remote.storage.enable", "True", "-"},
		{"retention.bytes", "-5", "-5"},
		{"retention.ms", "-1", "-1"},
		{"retention.ms", "+5", "5"},
		{"retention.ms", "007", "7"},
		{"retention.ms", "-2", "-"},
		{"retention.ms", "1e3", "-"},
		{"retention.ms", "9223372036854775808", "-"},
		{"retention.ms", "", "-"},
		{"segment.bytes", "1048575", "-"},
		{"segment.index.bytes", "3", "-"},
		{"segment.jitter.ms", "-1", "-"},
		{"segment.ms", "0", "-"},
		{"sluice.durability", "object", "object"},
		{"sluice.durability", "", "-"},
		{"sluice.durability", "paper", "-"},
		{"", "1", "-"},
	} {
		got, err := nobodys.Check(map[string]string{c.key: c.value})
		switch {
		case (err != nil) != (c.want == "-"), err == nil && got[c.key] != c.want:
			t.Errorf("%s=%q: %q, %v, want %q", c.key, c.value, got[c.key], err, c.want)
		case err != nil && (!errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), c.key)):
			t.Errorf("%s=%q: %v does not name the key", c.key, c.value, err)
		}
	}
	_, err := nobodys.Check(map[string]string{"b": "1", "a": "2", "retention.ms": "x"})
	if err == nil || strings.Index(err.Error(), "a=") > strings.Index(err.Error(), "b=") || !strings.Contains(err.Error(), `retention.ms="x": want a whole number`) {
		t.Errorf("every problem, sorted: %v", err)
	}
	if _, err := nobodys.Check(map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"}); !errors.Is(err, ErrInvalidConfig) {
		t.Errorf("lags that cross: %v", err)
	}
}

func TestEffective(t *testing.T) {
	c := nobodys.Effective(nil)
	if !c.CleanupPolicy.Delete || c.CleanupPolicy.Compact || c.RetentionMs != 604_800_000 || c.MaxMessageBytes != 1_048_588 ||
		c.TimestampBeforeMaxMs != math.MaxInt64 || c.Durability != "local" || c.CompressionType != "producer" {
		t.Errorf("default: %+v", c)
	}
	c = nobodys.Effective(map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime", "retention.bytes": "5",
		"compression.type": "gzip", "compression.gzip.level": "7", "sluice.durability": "object", "segment.bytes": " 1048576"})
	if c.CleanupPolicy != (CleanupPolicy{Compact: true}) || !c.LogAppendTime || c.RetentionBytes != 5 ||
		c.CompressionLevel != 7 || c.Durability != "object" || c.SegmentBytes != 1<<20 {
		t.Errorf("set: %+v", c)
	}
}

// TestTopicDefaults: what a broker's configuration means for a topic's key, and how it is shown.
func TestTopicDefaults(t *testing.T) {
	const day = 86_400_000
	for _, c := range []struct {
		broker string // key=value, comma separated
		key    string
		value  string // "-" if refused
		shown  string // the synonyms, with * for static ones
	}{
		{"", "retention.ms", "604800000", ""},
		{"log.retention.hours=100", "retention.ms", "360000000", ""},
		{"log.retention.hours=100 log.retention.minutes=5", "retention.ms", "300000", ""},
		{"log.retention.hours=100 log.retention.minutes=5 log.retention.ms=7", "retention.ms", "7", "log.retention.ms=7* log.retention.minutes=5* log.retention.hours=100* log.retention.hours=168"},
		{"log.retention.hours=-1", "retention.ms", "-1", ""},
		{"log.retention.minutes=-7", "retention.ms", "-1", ""},
		{"log.retention.ms=0", "retention.ms", "-", ""},
		{"log.retention.hours=0", "retention.ms", "-", ""},
		{"log.retention.hours=1.5", "retention.ms", "-", ""},
		{"log.retention.hours=3000000000", "retention.ms", "-", ""},
		{"log.roll.hours=24", "segment.ms", "86400000", ""},
		{"log.roll.hours=0", "segment.ms", "-", ""},
		{"log.roll.ms=5 log.roll.hours=24", "segment.ms", "5", "log.roll.ms=5* log.roll.hours=24* log.roll.hours=168"},
		{"log.roll.jitter.hours=1", "segment.jitter.ms", "3600000", ""},
		{"log.flush.scheduler.interval.ms=9", "flush.ms", "9", ""},
		{"log.flush.interval.ms=8", "flush.ms", "8", "log.flush.interval.ms=8* log.flush.scheduler.interval.ms=9223372036854775807"},
		{"message.max.bytes= 2000000 ", "max.message.bytes", "2000000", "message.max.bytes=2000000* message.max.bytes=1048588"},
		{"message.max.bytes=x", "max.message.bytes", "-", ""},
		{"log.cleanup.policy=compact", "cleanup.policy", "compact", "log.cleanup.policy=compact* log.cleanup.policy=delete"},
		{"log.message.timestamp.type=LogAppendTime", "message.timestamp.type", "LogAppendTime", "log.message.timestamp.type=LogAppendTime* log.message.timestamp.type=CreateTime"},
		{"min.insync.replicas=2", "min.insync.replicas", "2", "min.insync.replicas=2* min.insync.replicas=1"},
		{"log.cleaner.min.compaction.lag.ms=5 log.cleaner.max.compaction.lag.ms=4", "min.compaction.lag.ms", "-", ""},
		// These are not the broker's keys for topics.
		{"retention.ms=5 num.partitions=x nonsense=1", "retention.ms", "604800000", ""},
		{"remote.storage.enable=x", "remote.storage.enable", "false", ""},
	} {
		set := map[string]string{}
		for _, kv := range strings.Split(c.broker, " ") {
			if k, v, ok := strings.Cut(kv, "="); ok {
				set[k] = v
			}
		}
		if strings.Contains(c.broker, "= 2000000 ") {
			set = map[string]string{"message.max.bytes": " 2000000 "}
		}
		d, err := ParseTopicDefaults(set)
		if (err != nil) != (c.value == "-") {
			t.Errorf("%s: %v", c.broker, err)
		}
		if err != nil {
			continue
		}
		k, _ := TopicConfigKeyNamed(c.key)
		var shown []string
		for _, s := range d.Synonyms(&k) {
			shown = append(shown, s.Name+"="+s.Value+map[ConfigSource]string{SourceStatic: "*"}[s.Source])
		}
		if got := d.Value(&k); got != c.value || strings.Join(shown, " ") != c.shown {
			t.Errorf("%s: %s is %s, shown as %v, want %s and %s", c.broker, c.key, got, shown, c.value, c.shown)
		}
	}
	for name, want := range map[string]string{"log.retention.ms": "[log.retention.minutes log.retention.hours]", "log.retention.minutes": "[log.retention.hours]",
		"log.retention.hours": "[]", "log.roll.ms": "[log.roll.hours]", "num.partitions": "[]", "": "[]"} {
		if got := fmt.Sprint(CoarserBrokerKeys(name)); got != want {
			t.Errorf("coarser than %s: %s, want %s", name, got, want)
		}
	}
	d, err := ParseTopicDefaults(map[string]string{"log.retention.hours": "24", "message.max.bytes": "9", "log.cleaner.max.compaction.lag.ms": "100"})
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Effective(nil); c.RetentionMs != day || c.MaxMessageBytes != 9 {
		t.Errorf("nothing set: %+v", c)
	}
	if c := d.Effective(map[string]string{"retention.ms": "5"}); c.RetentionMs != 5 || c.MaxMessageBytes != 9 {
		t.Errorf("retention set: %+v", c)
	}
	if _, err := d.Check(map[string]string{"min.compaction.lag.ms": "101"}); !errors.Is(err, ErrInvalidConfig) {
		t.Errorf("a value that crosses the broker's: %v", err)
	}
	// The value was set with other defaults and is used as it is: a start must not fail because of
	// it.
	if c := d.Effective(map[string]string{"min.compaction.lag.ms": "101"}); c.MinCompactionLagMs != 101 {
		t.Errorf("crossing, stored: %+v", c)
	}
}

// TestDefaultsOfARunningBroker: what is set on a broker takes precedence over what is set on all
// brokers, and that over what the broker was started with.
func TestDefaultsOfARunningBroker(t *testing.T) {
	started, err := ParseTopicDefaults(map[string]string{"log.retention.hours": "24", "message.max.bytes": "9", "log.cleaner.max.compaction.lag.ms": "100"})
	if err != nil {
		t.Fatal(err)
	}
	type set = map[string]string
	for _, c := range []struct {
		name     string
		base     *TopicDefaults
		own, all set
		key      string
		value    string
		shown    string
		problem  string
	}{
		{"nothing", started, nil, nil, "retention.ms", "86400000", "", ""},
		{"nothing over nothing", nil, nil, nil, "max.message.bytes", "1048588", "message.max.bytes=1048588/5", ""},
		{"on all", started, nil, set{"log.retention.ms": "5"}, "retention.ms", "5", "log.retention.ms=5/3 log.retention.hours=24/4 log.retention.hours=168/5", ""},
		{"on both", started, set{"log.retention.ms": "7"}, set{"log.retention.ms": "5"}, "retention.ms", "7", "log.retention.ms=7/2 log.retention.ms=5/3 log.retention.hours=24/4 log.retention.hours=168/5", ""},
		{"over Kafka's", nil, set{"log.retention.ms": "7"}, nil, "retention.ms", "7", "log.retention.ms=7/2 log.retention.hours=168/5", ""},
		{"three sources", started, set{"message.max.bytes": "7"}, set{"message.max.bytes": "8"}, "max.message.bytes", "7", "message.max.bytes=7/2 message.max.bytes=8/3 message.max.bytes=9/4 message.max.bytes=1048588/5", ""},
		{"a coarser key does not change", started, set{"log.retention.hours": "1"}, nil, "retention.ms", "86400000", "", ""},
		{"a bad value is left out", started, set{"message.max.bytes": "x"}, nil, "max.message.bytes", "9", "message.max.bytes=9/4 message.max.bytes=1048588/5", "message.max.bytes"},
		{"values that cross are used", started, set{"log.cleaner.min.compaction.lag.ms": "101"}, nil, "min.compaction.lag.ms", "101", "log.cleaner.min.compaction.lag.ms=101/2 log.cleaner.min.compaction.lag.ms=0/5", "min.compaction.lag.ms"},
	} {
		d, err := c.base.With(c.own, c.all)
		if (err != nil) != (c.problem != "") || err != nil && (!errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%s: %v, want a problem of %q", c.name, err, c.problem)
		}
		k, _ := TopicConfigKeyNamed(c.key)
		var shown []string
		for _, s := range d.Synonyms(&k) {
			shown = append(shown, fmt.Sprintf("%s=%s/%d", s.Name, s.Value, s.Source))
		}
		if got := d.Value(&k); got != c.value || strings.Join(shown, " ") != c.shown {
			t.Errorf("%s: %s is %s, shown as %v, want %s and %s", c.name, c.key, got, shown, c.value, c.shown)
		}
		if again, _ := d.With(nil, nil); again.Value(&k) != c.base.Value(&k) {
			t.Errorf("%s: taken away, %s is %s, want %s", c.name, c.key, again.Value(&k), c.base.Value(&k))
		}
	}
	if v, known, err := CheckBrokerKey("log.retention.ms", " 07 "); v != "7" || !known || err != nil {
		t.Errorf("log.retention.ms: %q, %v, %v", v, known, err)
	}
	if _, known, err := CheckBrokerKey("log.retention.ms", "0"); !known || err == nil {
		t.Errorf("log.retention.ms=0: %v, %v", known, err)
	}
	for _, name := range []string{"", "retention.ms", "log.retention.hours", "num.partitions"} {
		if _, known, _ := CheckBrokerKey(name, "1"); known {
			t.Errorf("%q changes while a broker runs", name)
		}
	}
}

// FuzzCheck: no value makes Check panic, and what is stored for a value is accepted as it is.
func FuzzCheck(f *testing.F) {
	for _, k := range TopicConfigKeys() {
		f.Add(k.Name, k.Default)
	}
	f.Add("cleanup.policy", " compact ,, delete")
	f.Add("min.cleanable.dirty.ratio", "0x1p-1")
	f.Fuzz(func(t *testing.T, key, value string) {
		set, err := nobodys.Check(map[string]string{key: value})
		if err != nil {
			return
		}
		nobodys.Effective(set)
		again, err := nobodys.Check(set)
		if err != nil || again[key] != set[key] {
			t.Errorf("%s=%q is stored as %q, then %q, %v", key, value, set[key], again[key], err)
		}
	})
}
