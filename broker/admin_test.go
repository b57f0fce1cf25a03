package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRequest asks for pairs of a partition and an offset, all of one topic.
func deleteRequest(topic string, pairs ...int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.DeleteRecordsRequestTopic{Topic: topic}
	for i := 0; i < len(pairs); i += 2 {
		rt.Partitions = append(rt.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: int32(pairs[i]), Offset: pairs[i+1]})
	}
	req.Topics = []kmsg.DeleteRecordsRequestTopic{rt}
	return req
}

// TestDeleteRecords: the answers are those that Apache Kafka 4.3 gives to the same requests.
func TestDeleteRecords(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	for name, policy := range map[string]string{"t": "delete", "compact": "compact", "both": "compact,delete", "neither": ""} {
		h.topics.create(t, name, 2, map[string]string{"cleanup.policy": policy})
		ask[*kmsg.ProduceResponse](c, produceRequest(name, plainBatch(t, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")), 9)
	}
	h.topics.create(t, "__consumer_offsets", 1, nil)
	h.topics.create(t, "moved", 1, nil)
	h.topics.lead(t, "moved", 0, catalog.Leadership{Broker: 2, Epoch: 3})
	for _, tc := range []struct {
		name  string
		topic string
		pairs []int64
		want  string // partition:low watermark:code
	}{
		{"inside a batch", "t", []int64{0, 3}, "0:3:0"},
		{"below", "t", []int64{0, 1}, "0:3:0"},
		{"beyond", "t", []int64{0, 11}, "0:-1:1"},
		{"negative", "t", []int64{0, -2}, "0:-1:1"},
		{"no such partition", "t", []int64{2, 0, -1, 0}, "2:-1:3 -1:-1:3"},
		{"the last of two counts", "t", []int64{0, 4, 0, 5}, "0:5:0"},
		{"several", "t", []int64{1, 0, 0, 6}, "1:0:0 0:6:0"},
		{"all", "t", []int64{0, -1}, "0:10:0"},
		{"compacted", "compact", []int64{0, 3}, "0:-1:44"},
		{"compacted and deleted", "both", []int64{0, 3}, "0:3:0"},
		{"no policy", "neither", []int64{0, 3}, "0:3:0"},
		{"internal", "__consumer_offsets", []int64{0, 0}, "0:-1:17"},
		{"internal, no such partition", "__consumer_offsets", []int64{7, 0}, "7:-1:3"},
		{"unknown", "nowhere", []int64{0, 0}, "0:-1:3"},
		{"bad name", "a b", []int64{0, 0}, "0:-1:3"},
		{"led by another", "moved", []int64{0, 0}, "0:-1:6"},
	} {
		for version := int16(0); version <= 2; version++ {
			resp := ask[*kmsg.DeleteRecordsResponse](c, deleteRequest(tc.topic, tc.pairs...), version)
			var got []string
			for _, p := range resp.Topics[0].Partitions {
				got = append(got, fmt.Sprintf("%d:%d:%d", p.Partition, p.LowWatermark, p.ErrorCode))
			}
			if s := strings.Join(got, " "); s != tc.want || resp.Topics[0].Topic != tc.topic {
				t.Errorf("%s, version %d: %s, want %s", tc.name, version, s, tc.want)
			}
		}
	}
	twice := deleteRequest("both", 0, 4)
	twice.Topics = append(twice.Topics, deleteRequest("both", 0, 5, 1, 0).Topics...)
	if resp := ask[*kmsg.DeleteRecordsResponse](c, twice, 2); len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 2 || resp.Topics[0].Partitions[0].LowWatermark != 5 {
		t.Errorf("topic twice: %+v", resp.Topics)
	}
	if resp := ask[*kmsg.DeleteRecordsResponse](c, kmsg.NewPtrDeleteRecordsRequest(), 2); len(resp.Topics) != 0 {
		t.Errorf("nothing: %+v", resp.Topics)
	}
	// A reader inside the batch gets the whole batch and skips. A reader below the log start gets
	// an error.
	f := ask[*kmsg.FetchResponse](c, fetchRequest("both", 5, 1, 0), 11).Topics[0].Partitions[0]
	if f.ErrorCode != 0 || f.LogStartOffset != 5 || len(f.RecordBatches) == 0 {
		t.Errorf("fetch at the log start: %+v", f)
	}
	wantCode(t, "fetch below", ask[*kmsg.FetchResponse](c, fetchRequest("both", 4, 1, 0), 11).Topics[0].Partitions[0].ErrorCode, 1)
}

// Many partitions are decided side by side, each once.
func TestDeleteRecordsOfManyPartitions(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	h.topics.create(t, "t", 100, nil)
	ask[*kmsg.ProduceResponse](c, produceRequest("t", slices.Repeat([][]byte{plainBatch(t, "a", "b")}, 1)...), 9)
	req := deleteRequest("t")
	for i := range int32(100) {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: i, Offset: -1})
	}
	for i, p := range ask[*kmsg.DeleteRecordsResponse](c, req, 2).Topics[0].Partitions {
		if want := map[bool]int64{true: 2}[i == 0]; p.ErrorCode != 0 || p.Partition != int32(i) || p.LowWatermark != want {
			t.Errorf("%+v, want low watermark %d", p, want)
		}
	}
}

func TestDescribeLogDirs(t *testing.T) {
	topicsOf := func(d *kmsg.DescribeLogDirsResponseDir) string {
		var out []string
		for _, rt := range d.Topics {
			for _, p := range rt.Partitions {
				if p.OffsetLag != 0 || p.IsFuture {
					t.Errorf("%s-%d: %+v", rt.Topic, p.Partition, p)
				}
				out = append(out, fmt.Sprintf("%s-%d:%d", rt.Topic, p.Partition, p.Size))
			}
		}
		return strings.Join(out, " ")
	}
	h := startTCP(t, Config{LogDir: "/data"})
	h.diskSpace = func() (int64, int64, error) { return 1000, 400, nil }
	c := h.dial(t)
	h.topics.create(t, "a", 2, nil)
	h.topics.create(t, "b", 1, nil)
	h.topics.create(t, "empty", 1, nil)
	h.topics.create(t, "moved", 1, nil)
	h.topics.lead(t, "moved", 0, catalog.Leadership{Broker: 2, Epoch: 3})
	batch := plainBatch(t, "x")
	n := len(batch)
	ask[*kmsg.ProduceResponse](c, produceRequest("a", batch, plainBatch(t, "x")), 9)
	ask[*kmsg.ProduceResponse](c, produceRequest("b", plainBatch(t, "x")), 9)
	for _, tc := range []struct {
		name   string
		topics []kmsg.DescribeLogDirsRequestTopic
		want   string
	}{
		{"all", nil, fmt.Sprintf("a-0:%[1]d a-1:%[1]d b-0:%[1]d empty-0:0", n)},
		{"none", []kmsg.DescribeLogDirsRequestTopic{}, ""},
		{"no partitions", []kmsg.DescribeLogDirsRequestTopic{{Topic: "a"}}, ""},
		{"some", []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1, 7, -1, 1}}, {Topic: "nowhere", Partitions: []int32{0}}, {Topic: "moved", Partitions: []int32{0}}}, fmt.Sprintf("a-1:%d", n)},
	} {
		for version := int16(1); version <= 5; version++ {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Topics = tc.topics
			resp := ask[*kmsg.DescribeLogDirsResponse](c, req, version)
			if len(resp.Dirs) != 1 || resp.Dirs[0].Dir != "/data" || topicsOf(&resp.Dirs[0]) != tc.want {
				t.Fatalf("%s, version %d: %+v, want %s", tc.name, version, resp, tc.want)
			}
			if d := &resp.Dirs[0]; version >= 4 && (d.TotalBytes != 1000 || d.UsableBytes != 400) {
				t.Errorf("version %d: %d of %d bytes", version, d.UsableBytes, d.TotalBytes)
			}
		}
	}
	ask[*kmsg.DeleteRecordsResponse](c, deleteRequest("a", 0, -1), 2)
	h.diskSpace = func() (int64, int64, error) { return 7, 7, errors.New("no such disk") }
	resp := ask[*kmsg.DescribeLogDirsResponse](c, kmsg.NewPtrDescribeLogDirsRequest(), 4)
	if want := fmt.Sprintf("a-0:0 a-1:%[1]d b-0:%[1]d empty-0:0", n); topicsOf(&resp.Dirs[0]) != want || resp.Dirs[0].TotalBytes != -1 || resp.Dirs[0].UsableBytes != -1 {
		t.Errorf("after DeleteRecords, disk not known: %+v, want %s", resp.Dirs[0], want)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	denied := start(t, Config{}, l, func(Need, string) bool { return false }).dial(t)
	for version, want := range map[int16]protocol.Code{2: 0, 3: 31, 5: 31} {
		resp := ask[*kmsg.DescribeLogDirsResponse](denied, kmsg.NewPtrDescribeLogDirsRequest(), version)
		wantCode(t, fmt.Sprint("denied, version ", version), resp.ErrorCode, want)
		if len(resp.Dirs) != 0 {
			t.Errorf("denied, and shown %+v", resp.Dirs)
		}
	}
}

// describeOne asks for one resource with all details.
func describeOne(c *rawClient, kind kmsg.ConfigResourceType, name string, keys ...string) *kmsg.DescribeConfigsResponseResource {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: keys}}
	return &ask[*kmsg.DescribeConfigsResponse](c, req, 4).Resources[0]
}

// line shows a key in a line: value, source, flags, type, synonyms.
func line(k *kmsg.DescribeConfigsResponseResourceConfig) string {
	show := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	var synonyms []string
	for _, s := range k.ConfigSynonyms {
		synonyms = append(synonyms, fmt.Sprintf("%s=%s/%d", s.Name, show(s.Value), s.Source))
	}
	return fmt.Sprintf("%s=%s/%d ro %v secret %v type %d %v", k.Name, show(k.Value), k.Source, k.ReadOnly, k.IsSensitive, k.ConfigType, synonyms)
}

// TestDescribeTopicConfigs: each line was compared with that of an Apache Kafka broker with the
// same configuration.
func TestDescribeTopicConfigs(t *testing.T) {
	defaults, err := catalog.ParseTopicDefaults(map[string]string{"log.retention.hours": "100", "message.max.bytes": "2000000", "log.roll.ms": "5000"})
	if err != nil {
		t.Fatal(err)
	}
	h := startTCP(t, Config{TopicDefaults: defaults})
	c := h.dial(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	s := kmsg.StringPtr
	create.Topics = []kmsg.CreateTopicsRequestTopic{
		{Topic: "plain", NumPartitions: 1, ReplicationFactor: 1},
		{Topic: "set", NumPartitions: 1, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{
			{Name: "max.message.bytes", Value: s(" 10000 ")}, {Name: "cleanup.policy", Value: s("compact, delete")}, {Name: "preallocate", Value: s("TRUE")},
			{Name: "retention.ms", Value: s("+5")}}},
	}
	for _, rt := range ask[*kmsg.CreateTopicsResponse](c, create, 7).Topics {
		wantCode(t, rt.Topic, rt.ErrorCode, 0)
		for _, k := range rt.Configs {
			if want := map[string]string{"plain": "2000000/4", "set": "10000/1"}[rt.Topic]; k.Name == "max.message.bytes" && fmt.Sprintf("%s/%d", *k.Value, k.Source) != want {
				t.Errorf("CreateTopics shows %s of %s as %s/%d", k.Name, rt.Topic, *k.Value, k.Source)
			}
		}
	}
	for topic, want := range map[string][]string{
		"plain": {
			"cleanup.policy=delete/5 ro false secret false type 7 [log.cleanup.policy=delete/5]",
			"max.message.bytes=2000000/4 ro false secret false type 3 [message.max.bytes=2000000/4 message.max.bytes=1048588/5]",
			"retention.ms=360000000/5 ro false secret false type 5 []",
			"segment.ms=5000/4 ro false secret false type 5 [log.roll.ms=5000/4 log.roll.hours=168/5]",
			"segment.jitter.ms=0/5 ro false secret false type 5 []",
			"flush.ms=9223372036854775807/5 ro false secret false type 5 []",
			"remote.storage.enable=false/5 ro false secret false type 1 []",
			"min.cleanable.dirty.ratio=0.5/5 ro false secret false type 6 [log.cleaner.min.cleanable.ratio=0.5/5]",
		},
		"set": {
			"cleanup.policy=compact,delete/1 ro false secret false type 7 [cleanup.policy=compact,delete/1 log.cleanup.policy=delete/5]",
			"max.message.bytes=10000/1 ro false secret false type 3 [max.message.bytes=10000/1 message.max.bytes=2000000/4 message.max.bytes=1048588/5]",
			"preallocate=true/1 ro false secret false type 1 [preallocate=true/1 log.preallocate=false/5]",
			"retention.ms=5/1 ro false secret false type 5 [retention.ms=5/1]",
		},
	} {
		var got []string
		r := describeOne(c, kmsg.ConfigResourceTypeTopic, topic)
		if len(r.Configs) != len(catalog.TopicConfigKeys()) {
			t.Errorf("%s has %d keys", topic, len(r.Configs))
		}
		for i := range r.Configs {
			got = append(got, line(&r.Configs[i]))
			if k := &r.Configs[i]; k.Documentation == nil || *k.Documentation == "" {
				t.Errorf("%s has no text", k.Name)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: missing %s\nin %s", topic, w, strings.Join(got, "\n   "))
			}
		}
	}
	// If the topic sets nothing, the broker's default acts.
	if got := h.topicConfig(&catalog.Topic{}).RetentionMs; got != 360_000_000 {
		t.Errorf("retention of a plain topic is %d", got)
	}
}

func TestDescribeConfigsResources(t *testing.T) {
	set, standard, secret, hours := "5", "1", "hush", "168"
	h := startTCP(t, Config{Settings: []Setting{
		{Name: "log.retention.ms", Type: catalog.ConfigLong},
		{Name: "log.retention.hours", Value: &set, Default: &hours, Static: true, Type: catalog.ConfigInt},
		{Name: "log.roll.ms", Value: &set, Static: true, Type: catalog.ConfigLong},
		{Name: "log.roll.hours", Value: &hours, Default: &hours, Type: catalog.ConfigInt},
		{Name: "node.id", Value: &standard, Static: true, Type: catalog.ConfigInt, Documentation: "this broker's number"},
		{Name: "num.partitions", Value: &set, Default: &standard, Static: true, Type: catalog.ConfigInt},
		{Name: "default.replication.factor", Value: &standard, Default: &standard, Type: catalog.ConfigInt},
		{Name: "ssl.keystore.password", Value: &secret, Static: true, Type: catalog.ConfigSecret},
		{Name: "sluice.bucket.key", Value: &secret, Static: true, Type: catalog.ConfigString, Sensitive: true},
	}})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	r := describeOne(c, kmsg.ConfigResourceTypeBroker, "1")
	var got []string
	for i := range r.Configs {
		got = append(got, line(&r.Configs[i]))
	}
	want := []string{
		"log.retention.ms=null/5 ro false secret false type 5 []",
		"log.retention.hours=5/4 ro true secret false type 3 [log.retention.hours=5/4 log.retention.hours=168/5]",
		"log.roll.ms=5/4 ro false secret false type 5 [log.roll.ms=5/4 log.roll.hours=168/5]",
		"log.roll.hours=168/5 ro true secret false type 3 [log.roll.hours=168/5]",
		"node.id=1/4 ro true secret false type 3 [node.id=1/4]",
		"num.partitions=5/4 ro true secret false type 3 [num.partitions=5/4 num.partitions=1/5]",
		"default.replication.factor=1/5 ro true secret false type 3 [default.replication.factor=1/5]",
		"ssl.keystore.password=null/4 ro true secret true type 9 [ssl.keystore.password=null/4]",
		"sluice.bucket.key=null/4 ro true secret true type 2 [sluice.bucket.key=null/4]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("broker:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, tc := range []struct {
		name string
		kind kmsg.ConfigResourceType
		id   string
		keys []string
		want protocol.Code
		n    int
	}{
		{"a key", 2, "t", []string{"retention.ms", "nonsense"}, 0, 1},
		{"an empty list of keys is all", 2, "t", []string{}, 0, len(catalog.TopicConfigKeys())},
		{"unknown topic", 2, "nowhere", nil, 3, 0},
		{"bad topic", 2, "a b", nil, 17, 0},
		{"no topic", 2, "", nil, 17, 0},
		{"a broker's key", 4, "1", []string{"num.partitions"}, 0, 1},
		{"all brokers", 4, "", nil, 0, 0},
		{"another broker", 4, "2", nil, 42, 0},
		{"no broker", 4, "x", nil, 42, 0},
		{"logger", 8, "1", []string{"root"}, 0, 1},
		{"a logger that is not", 8, "1", []string{"kafka"}, 0, 0},
		{"another's logger", 8, "2", nil, 42, 0},
		{"nobody's logger", 8, "", nil, 42, 0},
		{"client metrics", 16, "m", nil, 42, 0},
		{"group", 32, "g", nil, 42, 0},
		{"type 3", 3, "x", nil, 42, 0},
	} {
		r := describeOne(c, tc.kind, tc.id, tc.keys...)
		wantCode(t, tc.name, r.ErrorCode, tc.want)
		if len(r.Configs) != tc.n || r.ResourceType != tc.kind || r.ResourceName != tc.id || r.ErrorMessage == nil || (*r.ErrorMessage != "") != (tc.want != 0) {
			t.Errorf("%s: %d configs, %+v", tc.name, len(r.Configs), r)
		}
	}
	if err := (Config{Settings: []Setting{{Name: "a"}, {Name: "a"}}}).Validate(); err == nil {
		t.Error("a setting that stands twice is taken")
	}
}

// alter is one change of IncrementalAlterConfigs.
type alter = kmsg.IncrementalAlterConfigsRequestResourceConfig

func incremental(c *rawClient, kind kmsg.ConfigResourceType, name string, validateOnly bool, changes ...alter) kmsg.IncrementalAlterConfigsResponseResource {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name, Configs: changes}}
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, req, 1).Resources[0]
}

// TestIncrementalAlterConfigs follows one topic through changes. The codes, and the configs that
// are set after each change, are those of Apache Kafka 4.3.
func TestIncrementalAlterConfigs(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	s := kmsg.StringPtr
	op := func(op kmsg.IncrementalAlterConfigOp, k string, v *string) alter {
		return alter{Name: k, Op: op, Value: v}
	}
	set := func(k, v string) alter { return op(0, k, s(v)) }
	del := func(k string) alter { return op(1, k, nil) }
	add := func(k, v string) alter { return op(2, k, s(v)) }
	cut := func(k, v string) alter { return op(3, k, s(v)) }
	for _, tc := range []struct {
		name    string
		changes []alter
		want    protocol.Code
		then    string // the configs set after the change; "" if unchanged
	}{
		{"set", []alter{set("retention.ms", "1000"), set("segment.ms", " 5000 ")}, 0, "map[retention.ms:1000 segment.ms:5000]"},
		{"bad", []alter{set("retention.ms", "x")}, 40, ""},
		{"unknown", []alter{set("nonsense", "1")}, 40, ""},
		{"no name", []alter{set("", "1")}, 40, ""},
		{"no value", []alter{set("retention.ms", "")}, 40, ""},
		{"all or nothing", []alter{set("retention.ms", "77"), set("nonsense", "2")}, 40, ""},
		{"null", []alter{op(0, "retention.ms", nil)}, 42, ""},
		{"append null", []alter{op(2, "cleanup.policy", nil)}, 42, ""},
		{"twice", []alter{set("retention.ms", "1"), set("retention.ms", "2")}, 42, ""},
		{"twice, two ways", []alter{set("cleanup.policy", "delete"), add("cleanup.policy", "compact")}, 42, ""},
		{"no such operation", []alter{op(9, "retention.ms", s("1"))}, 42, ""}, // Kafka answers -1
		{"nothing", nil, 0, ""},
		{"delete", []alter{del("segment.ms")}, 0, "map[retention.ms:1000]"},
		{"delete what is not set", []alter{del("segment.ms")}, 0, ""},
		{"delete what is unknown", []alter{del("nonsense")}, 0, ""},
		{"delete with a value", []alter{op(1, "retention.ms", s("7"))}, 0, "map[]"},
		{"append to the default", []alter{add("cleanup.policy", "compact")}, 0, "map[cleanup.policy:delete,compact]"},
		{"append what is there", []alter{add("cleanup.policy", "compact,delete")}, 0, ""},
		{"append nothing", []alter{add("cleanup.policy", "")}, 0, ""},
		{"append what is not allowed", []alter{add("cleanup.policy", "shred")}, 40, ""},
		{"append to a number", []alter{add("retention.ms", "1")}, 40, ""},
		{"append to what is unknown", []alter{add("nonsense", "1")}, 40, ""},
		{"subtract", []alter{cut("cleanup.policy", "compact")}, 0, "map[cleanup.policy:delete]"},
		{"subtract what is not there", []alter{cut("cleanup.policy", "compact")}, 0, ""},
		{"subtract the last", []alter{cut("cleanup.policy", "delete")}, 0, "map[cleanup.policy:]"},
		{"append to an empty list", []alter{del("cleanup.policy"), add("follower.replication.throttled.replicas", "0:1")}, 0, "map[follower.replication.throttled.replicas:0:1]"},
		{"append with a comma behind", []alter{add("follower.replication.throttled.replicas", "0:1,")}, 0, ""},
		{"append two", []alter{add("follower.replication.throttled.replicas", "1:1, 2:1")}, 0, "map[follower.replication.throttled.replicas:0:1,1:1,2:1]"},
		{"subtract from an empty list", []alter{cut("leader.replication.throttled.replicas", "0:1"), del("follower.replication.throttled.replicas")}, 0, "map[leader.replication.throttled.replicas:]"},
		{"crossing", []alter{set("min.compaction.lag.ms", "10"), set("max.compaction.lag.ms", "5")}, 40, ""},
		{"durability", []alter{set("sluice.durability", "object")}, 40, ""},
	} {
		before, _ := h.topics.TopicByName("t")
		for _, validateOnly := range []bool{true, false} {
			got := incremental(c, 2, "t", validateOnly, tc.changes...)
			wantCode(t, tc.name, got.ErrorCode, tc.want)
			if (got.ErrorMessage != nil) != (tc.want != 0) || got.ResourceName != "t" || got.ResourceType != 2 {
				t.Errorf("%s: %+v", tc.name, got)
			}
			now, _ := h.topics.TopicByName("t")
			if (validateOnly || tc.then == "") && now != before {
				t.Errorf("%s, validate only %v: changed to %v", tc.name, validateOnly, now.Configs)
			}
			if !validateOnly && tc.then != "" && fmt.Sprint(now.Configs) != tc.then {
				t.Errorf("%s: %v is set, want %s", tc.name, now.Configs, tc.then)
			}
		}
	}
}

func TestAlterConfigsResources(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, map[string]string{"retention.ms": "5"})
	c := h.dial(t)
	s := kmsg.StringPtr
	for _, tc := range []struct {
		name       string
		kind       kmsg.ConfigResourceType
		id         string
		key        string
		set, clear protocol.Code // outcome of setting and of deleting the key
	}{
		{"unknown topic", 2, "nowhere", "retention.ms", 3, 3},
		{"bad topic", 2, "a b", "retention.ms", 17, 17},
		{"no topic", 2, "", "retention.ms", 42, 42},
		{"broker", 4, "1", "fetch.max.bytes", 42, 0},
		{"broker, a key that may change", 4, "1", "log.retention.ms", 0, 0},
		{"broker, a key that is none", 4, "1", "no.such", 42, 0},
		{"broker, throttle of reassignments", 4, "1", "leader.replication.throttled.rate", 42, 0},
		{"all brokers", 4, "", "log.retention.ms", 0, 0},
		{"all brokers, a key that does not change", 4, "", "num.partitions", 42, 0},
		{"another broker", 4, "2", "log.retention.ms", 42, 42},
		{"no broker", 4, "x", "log.retention.ms", 42, 42},
		{"logger", 8, "1", "root", 42, 42},
		{"another's logger", 8, "2", "root", 42, 42},
		{"client metrics", 16, "m", "interval.ms", 42, 42},
		{"group", 32, "g", "consumer.session.timeout.ms", 42, 42},
		{"type 3", 3, "x", "a", 42, 42},
	} {
		r := incremental(c, tc.kind, tc.id, false, alter{Name: tc.key, Value: s("1")})
		wantCode(t, tc.name, r.ErrorCode, tc.set)
		if (r.ErrorMessage == nil) != (tc.set == 0) {
			t.Errorf("%s: refused without a word", tc.name)
		}
		wantCode(t, tc.name+", delete", incremental(c, tc.kind, tc.id, false, alter{Name: tc.key, Op: 1}).ErrorCode, tc.clear)
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: tc.kind, ResourceName: tc.id, Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: tc.key, Value: s("1")}}}}
		for version := int16(0); version <= 2; version++ {
			wantCode(t, tc.name+", replace", ask[*kmsg.AlterConfigsResponse](c, req, version).Resources[0].ErrorCode, tc.set)
		}
	}
	if r := incremental(c, 4, "1", false, alter{Name: "num.partitions", Value: s("7")}); !strings.Contains(*r.ErrorMessage, "num.partitions") {
		t.Errorf("the key is not named: %s", *r.ErrorMessage)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	one := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 2, ResourceName: "t", Configs: []alter{{Name: "retention.ms", Value: s("9")}}}
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{one, one}
	for _, r := range ask[*kmsg.IncrementalAlterConfigsResponse](c, req, 1).Resources {
		wantCode(t, "resource twice", r.ErrorCode, 42)
	}
	if now, _ := h.topics.TopicByName("t"); now.Configs["retention.ms"] != "5" {
		t.Errorf("changed to %v", now.Configs)
	}
}

// TestAlterConfigsReplaces: a key that the request does not name returns to its default.
func TestAlterConfigsReplaces(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, map[string]string{"retention.ms": "5", "segment.ms": "7"})
	c := h.dial(t)
	s := kmsg.StringPtr
	type kv = kmsg.AlterConfigsRequestResourceConfig
	for _, tc := range []struct {
		name    string
		configs []kv
		want    protocol.Code
		then    string
	}{
		{"one", []kv{{Name: "segment.ms", Value: s("9000")}}, 0, "map[segment.ms:9000]"},
		{"null", []kv{{Name: "segment.ms"}}, 42, "map[segment.ms:9000]"},
		{"twice", []kv{{Name: "segment.ms", Value: s("1")}, {Name: "segment.ms", Value: s("2")}}, 42, "map[segment.ms:9000]"},
		{"unknown", []kv{{Name: "nonsense", Value: s("1")}}, 40, "map[segment.ms:9000]"},
		{"bad", []kv{{Name: "segment.ms", Value: s("x")}}, 40, "map[segment.ms:9000]"},
		{"none", nil, 0, "map[]"},
	} {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t", Configs: tc.configs}}
		before, _ := h.topics.TopicByName("t")
		req.ValidateOnly = true
		wantCode(t, tc.name+", validate", ask[*kmsg.AlterConfigsResponse](c, req, 2).Resources[0].ErrorCode, tc.want)
		if now, _ := h.topics.TopicByName("t"); now != before {
			t.Errorf("%s: validating changed it to %v", tc.name, now.Configs)
		}
		req.ValidateOnly = false
		wantCode(t, tc.name, ask[*kmsg.AlterConfigsResponse](c, req, 2).Resources[0].ErrorCode, tc.want)
		if now, _ := h.topics.TopicByName("t"); fmt.Sprint(now.Configs) != tc.then {
			t.Errorf("%s: %v is set, want %s", tc.name, now.Configs, tc.then)
		}
	}
}

// lines keeps the lines that are logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), what)
}

// TestCompactIsLoggedOnce: the line that a compacted topic keeps every record is logged when the
// topic becomes compacted, not with every change.
func TestCompactIsLoggedOnce(t *testing.T) {
	h := startTCP(t, Config{})
	var out lines
	h.logger = slog.New(slog.NewTextHandler(&out, nil))
	c := h.dial(t)
	s := kmsg.StringPtr
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{
		{Topic: "plain", NumPartitions: 1, ReplicationFactor: 1},
		{Topic: "compact", NumPartitions: 1, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "cleanup.policy", Value: s("compact")}}},
	}
	ask[*kmsg.CreateTopicsResponse](c, create, 7)
	const said = "cleanup.policy=compact"
	if n := out.count(said); n != 1 {
		t.Fatalf("said %d times after creation", n)
	}
	incremental(c, 2, "compact", false, alter{Name: "retention.ms", Value: s("7")})
	incremental(c, 2, "plain", true, alter{Name: "cleanup.policy", Value: s("compact")})
	if n := out.count(said); n != 1 {
		t.Errorf("said %d times after changes of something else", n)
	}
	incremental(c, 2, "plain", false, alter{Name: "cleanup.policy", Value: s("compact,delete")})
	if n := out.count(said); n != 2 {
		t.Errorf("said %d times after another became compacted", n)
	}
}

// TestConfigsActAtOnce: a change acts on the next produce.
func TestConfigsActAtOnce(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	s := kmsg.StringPtr
	old := func() []byte {
		b, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: 1000, Value: []byte("from 1970")}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	produce := func(b []byte) kmsg.ProduceResponseTopicPartition {
		return ask[*kmsg.ProduceResponse](c, produceRequest("t", b), 9).Topics[0].Partitions[0]
	}
	wantCode(t, "old", produce(old()).ErrorCode, 0)
	incremental(c, 2, "t", false, alter{Name: "message.timestamp.before.max.ms", Value: s("60000")})
	wantCode(t, "too old now", produce(old()).ErrorCode, 32)
	incremental(c, 2, "t", false, alter{Name: "message.timestamp.type", Value: s("LogAppendTime")})
	if p := produce(old()); p.ErrorCode != 0 || p.LogAppendTime <= 1000 {
		t.Errorf("append time: %+v", p)
	}
	incremental(c, 2, "t", false, alter{Name: "max.message.bytes", Value: s("70")})
	wantCode(t, "too large now", produce(old()).ErrorCode, 10)
	incremental(c, 2, "t", false, alter{Name: "max.message.bytes", Op: 1}, alter{Name: "message.timestamp.type", Op: 1}, alter{Name: "message.timestamp.before.max.ms", Op: 1})
	if p := produce(old()); p.ErrorCode != 0 || p.LogAppendTime != -1 {
		t.Errorf("all as before: %+v", p)
	}
}

// TestDescribeTopicPartitionsPages compares cursor and limit with the answers of Apache Kafka 4.3.
func TestDescribeTopicPartitionsPages(t *testing.T) {
	h := startTCP(t, Config{})
	for _, n := range []string{"tpa", "tpb", "tpc"} {
		h.topics.create(t, n, 3, nil)
	}
	c := h.dial(t)
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
	}
	for _, tc := range []struct {
		name   string
		limit  int32
		cursor *kmsg.DescribeTopicPartitionsRequestCursor
		topics string
		want   string // topic/code:partitions; > is the next cursor
	}{
		{"one", 2000, nil, "tpa", "tpa/0:012"},
		{"limit inside", 2, nil, "tpa tpb", "tpa/0:01 >tpa-2"},
		{"limit at the edge", 3, nil, "tpa tpb", "tpa/0:012 >tpb-0"},
		{"limit in the second", 4, nil, "tpa tpb", "tpa/0:012 tpb/0:0 >tpb-1"},
		{"limit 0", 0, nil, "tpa", "tpa/0:0 >tpa-1"},
		{"limit -1", -1, nil, "tpa", "tpa/0:0 >tpa-1"},
		{"unknown and bad", 2000, nil, "tpa nowhere tpb a$b", "a$b/17: nowhere/3: tpa/0:012 tpb/0:012"},
		{"unknown does not count", 1, nil, "nowhere tpa tpb", "nowhere/3: tpa/0:0 >tpa-1"},
		{"unknown is next", 3, nil, "tpa tpaa tpb", "tpa/0:012 >tpaa-0"},
		{"twice", 2000, nil, "tpb tpa tpb", "tpa/0:012 tpb/0:012"},
		{"cursor", 2000, at("tpa", 1), "tpa tpb", "tpa/0:12 tpb/0:012"},
		{"cursor in the second", 2000, at("tpb", 2), "tpa tpb", "tpb/0:2"},
		{"cursor at the end", 2000, at("tpa", 3), "tpa tpb", "tpa/0: tpb/0:012"},
		{"cursor far beyond", 2000, at("tpa", 1<<31-1), "tpa tpb", "tpa/0: tpb/0:012"},
		{"negative cursor", 2000, at("tpa", -1), "tpa", "tpa/42:"},
		{"cursor not named", 2000, at("tpc", 0), "tpa tpb", "tpa/42: tpb/42:"},
		{"cursor between", 2000, at("tpab", 1), "tpa tpb", "tpa/42: tpb/42:"},
		{"all", 2000, nil, "", "tpa/0:012 tpb/0:012 tpc/0:012"},
		{"all from a cursor", 2000, at("tpa", 1), "", "tpa/0:12 tpb/0:012 tpc/0:012"},
		{"all from a topic that is gone", 2000, at("tpaa", 1), "", "tpb/0:012 tpc/0:012"},
		{"all, negative cursor", 2000, at("tpa", -1), "", ""},
	} {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = tc.limit, tc.cursor
		for _, n := range strings.Fields(tc.topics) {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
		}
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, req, 0)
		var got []string
		for _, rt := range resp.Topics {
			l := fmt.Sprintf("%s/%d:", *rt.Topic, rt.ErrorCode)
			for _, p := range rt.Partitions {
				l += fmt.Sprint(p.Partition)
				if p.ErrorCode != 0 || p.LeaderID != 1 || !slices.Equal(p.Replicas, []int32{1}) || !slices.Equal(p.ISR, []int32{1}) ||
					p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil || len(p.OfflineReplicas) != 0 {
					t.Errorf("%s: %+v", tc.name, p)
				}
			}
			if want := map[bool]int32{true: operationsNotAsked, false: 3576}[rt.ErrorCode == 42]; rt.AuthorizedOperations != want {
				t.Errorf("%s: operations %d, want %d", l, rt.AuthorizedOperations, want)
			}
			got = append(got, l)
		}
		if n := resp.NextCursor; n != nil {
			got = append(got, fmt.Sprintf(">%s-%d", n.Topic, n.Partition))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.name, s, tc.want)
		}
	}
}

// TestDescribeClusterFields: endpoint types and the bits of allowed operations are those that
// Apache Kafka 4.3 answers without an authorizer.
func TestDescribeClusterFields(t *testing.T) {
	c := startTCP(t, Config{}).dial(t)
	for _, tc := range []struct {
		endpoint int8
		asked    bool
		code     protocol.Code
		bits     int32
	}{
		{1, false, 0, operationsNotAsked}, {1, true, 0, 8096}, {2, true, 114, operationsNotAsked}, {3, true, 115, operationsNotAsked}, {0, false, 115, operationsNotAsked},
	} {
		for version := int16(1); version <= 2; version++ {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.EndpointType, req.IncludeClusterAuthorizedOperations = tc.endpoint, tc.asked
			resp := ask[*kmsg.DescribeClusterResponse](c, req, version)
			wantCode(t, fmt.Sprint("endpoint type ", tc.endpoint), resp.ErrorCode, tc.code)
			if resp.ClusterAuthorizedOperations != tc.bits || resp.EndpointType != 1 || (len(resp.Brokers) == 1) != (tc.code == 0) ||
				(resp.ControllerID == 1) != (tc.code == 0) || (resp.ClusterID == "") != (tc.code != 0) || (resp.ErrorMessage == nil) != (tc.code == 0) {
				t.Errorf("endpoint type %d, version %d: %+v", tc.endpoint, version, resp)
			}
		}
	}
	m := kmsg.NewPtrMetadataRequest()
	m.IncludeClusterAuthorizedOperations = true
	if resp := ask[*kmsg.MetadataResponse](c, m, 10); resp.AuthorizedOperations != 8096 {
		t.Errorf("Metadata: operations %d", resp.AuthorizedOperations)
	}
}

// TestCreatePartitionsCodes compares the answers to good and bad requests with those of Apache
// Kafka 4.3.
func TestCreatePartitionsCodes(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 2, nil)
	h.topics.create(t, "__consumer_offsets", 50, nil)
	c := h.dial(t)
	type topic = kmsg.CreatePartitionsRequestTopic
	to := func(name string, count int32, assigned ...[]int32) topic {
		rt := topic{Topic: name, Count: count}
		for _, a := range assigned {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
		}
		return rt
	}
	for _, tc := range []struct {
		name     string
		validate bool
		topics   []topic
		want     string
		count    int
	}{
		{"same", false, []topic{to("t", 2)}, "t:37", 2},
		{"less", false, []topic{to("t", 1)}, "t:37", 2},
		{"zero", false, []topic{to("t", 0)}, "t:37", 2},
		{"negative", false, []topic{to("t", -1)}, "t:37", 2},
		{"validate", true, []topic{to("t", 3)}, "t:0", 2},
		{"more", false, []topic{to("t", 3)}, "t:0", 3},
		{"assigned", false, []topic{to("t", 4, []int32{1})}, "t:0", 4},
		{"too few assigned", false, []topic{to("t", 6, []int32{1})}, "t:39", 4},
		{"too many assigned", false, []topic{to("t", 5, []int32{1}, []int32{1})}, "t:39", 4},
		{"an empty list assigned", false, []topic{{Topic: "t", Count: 5, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{}}}, "t:39", 4},
		{"no replica assigned", false, []topic{to("t", 5, []int32{})}, "t:39", 4},
		{"a replica twice", false, []topic{to("t", 5, []int32{1, 1})}, "t:39", 4},
		{"unknown", false, []topic{to("nowhere", 5)}, "nowhere:3", 4},
		{"bad name", false, []topic{to("a b", 5)}, "a b:3", 4},
		{"twice", false, []topic{to("t", 8), to("t", 9)}, "t:42", 4},
		// Kafka answers 0, and its groups are lost.
		{"internal", true, []topic{to("__consumer_offsets", 60)}, "__consumer_offsets:17", 4},
		{"mixed", false, []topic{to("t", 5), to("nowhere", 2)}, "t:0 nowhere:3", 5},
		{"none", false, nil, "", 5},
		{"huge", true, []topic{to("t", 20_000)}, "t:44", 5}, // Kafka answers -1
	} {
		for version := int16(0); version <= 3; version++ {
			if version > 0 && !strings.Contains(tc.want, ":0") || version == 3 {
				req := kmsg.NewPtrCreatePartitionsRequest()
				req.TimeoutMillis, req.ValidateOnly, req.Topics = 5000, tc.validate, tc.topics
				var got []string
				for _, rt := range ask[*kmsg.CreatePartitionsResponse](c, req, version).Topics {
					got = append(got, fmt.Sprintf("%s:%d", rt.Topic, rt.ErrorCode))
				}
				if s := strings.Join(got, " "); s != tc.want {
					t.Errorf("%s, version %d: %s, want %s", tc.name, version, s, tc.want)
				}
			}
		}
		if now, _ := h.topics.TopicByName("t"); len(now.Partitions) != tc.count {
			t.Errorf("%s: %d partitions, want %d", tc.name, len(now.Partitions), tc.count)
		}
	}
}

// An error that says that another broker leads, or that the outcome is not known, becomes a code to
// retry.
func TestDeleteRecordsErrors(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	for _, tc := range []struct {
		err  error
		want protocol.Code
	}{
		{fmt.Errorf("x: %w", storage.ErrNotLeader), 6}, {storage.ErrUnknownPartition, 3}, {storage.ErrNotReady, 5},
		{fmt.Errorf("x: %w", catalog.ErrUnavailable), 7}, {storage.ErrWALFailed, 7}, {storage.ErrClosed, 6},
	} {
		h.log.failDeletes(tc.err)
		p := ask[*kmsg.DeleteRecordsResponse](c, deleteRequest("t", 0, 0), 2).Topics[0].Partitions[0]
		wantCode(t, tc.err.Error(), p.ErrorCode, tc.want)
		if p.LowWatermark != -1 {
			t.Errorf("%v: low watermark %d", tc.err, p.LowWatermark)
		}
	}
	var none ident.Offset
	if h.log.partLocked(partitionOf(h, "t")).start != none {
		t.Error("the log start moved")
	}
}
