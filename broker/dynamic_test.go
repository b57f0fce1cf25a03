package broker

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func replaced(c *rawClient, kind kmsg.ConfigResourceType, name string, configs ...kmsg.AlterConfigsRequestResourceConfig) kmsg.AlterConfigsResponseResource {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kind, ResourceName: name, Configs: configs}}
	return ask[*kmsg.AlterConfigsResponse](c, req, 2).Resources[0]
}

// valuesOf returns the values of a resource that are in force, by key. A key without a value has
// "null".
func valuesOf(c *rawClient, kind kmsg.ConfigResourceType, name string) map[string]string {
	values := map[string]string{}
	for _, d := range describeOne(c, kind, name).Configs {
		values[d.Name] = "null"
		if d.Value != nil {
			values[d.Name] = *d.Value
		}
	}
	return values
}

// TestDescribedConfigsCanBeSentBack: the values that DescribeConfigs shows for every key of a
// topic, of a broker and of all brokers can be sent back, and change nothing. AlterConfigs gets all
// at once, and IncrementalAlterConfigs each alone. Clients that know only AlterConfigs send all of
// them back, among them confluent-kafka-go and librdkafka. Some send an empty value for a key that
// has none.
func TestDescribedConfigsCanBeSentBack(t *testing.T) {
	defaults, err := catalog.ParseTopicDefaults(map[string]string{"log.retention.hours": "100", "log.roll.ms": "5000", "log.cleanup.policy": "compact"})
	if err != nil {
		t.Fatal(err)
	}
	secret := "hush"
	full := Config{TopicDefaults: defaults}.withDefaults()
	for name, cfg := range map[string]Config{
		"plain": {}, "configured": {TopicDefaults: defaults, ConnectionsMax: 77},
		"shown": {Settings: append(full.ownSettings(), Setting{Name: "ssl.keystore.password", Value: &secret, Static: true, Type: catalog.ConfigSecret})},
	} {
		t.Run(name, func(t *testing.T) {
			h := startTCP(t, cfg)
			h.topics.create(t, "plain", 1, nil)
			h.topics.create(t, "set", 1, map[string]string{"retention.ms": "5", "cleanup.policy": "", "compression.type": "gzip", "leader.replication.throttled.replicas": "*"})
			h.topics.create(t, "object", 1, map[string]string{"sluice.durability": "object"})
			c := h.dial(t)
			wantCode(t, "prepare", incremental(c, 4, "", false, alter{Name: "log.retention.bytes", Value: kmsg.StringPtr("1000")}).ErrorCode, 0)
			for _, r := range []struct {
				kind kmsg.ConfigResourceType
				name string
			}{{2, "plain"}, {2, "set"}, {2, "object"}, {4, "1"}, {4, ""}} {
				sendBack(t, c, r.kind, r.name)
			}
		})
	}
}

func sendBack(t *testing.T, c *rawClient, kind kmsg.ConfigResourceType, name string) {
	t.Helper()
	before := describeOne(c, kind, name).Configs
	was := valuesOf(c, kind, name)
	same := func(how string) {
		t.Helper()
		if now := valuesOf(c, kind, name); !maps.Equal(now, was) {
			t.Errorf("%d %q, %s: changed to %v from %v", kind, name, how, now, was)
		}
	}
	for _, empty := range []*string{nil, kmsg.StringPtr("")} {
		var all []kmsg.AlterConfigsRequestResourceConfig
		for _, d := range before {
			value := d.Value
			if value == nil {
				value = empty
			}
			all = append(all, kmsg.AlterConfigsRequestResourceConfig{Name: d.Name, Value: value})
			if r := incremental(c, kind, name, false, alter{Name: d.Name, Value: value}); r.ErrorCode != 0 {
				t.Errorf("%d %q: %s is refused as it was described: %s", kind, name, d.Name, *r.ErrorMessage)
			}
		}
		same("one by one")
		if r := replaced(c, kind, name, all...); r.ErrorCode != 0 {
			t.Errorf("%d %q: all that was described is refused: %s", kind, name, *r.ErrorMessage)
		}
		same("all at once")
	}
	for _, d := range before {
		if d.ReadOnly && d.Value != nil {
			other := *d.Value + "0"
			if r := incremental(c, kind, name, false, alter{Name: d.Name, Value: &other}); r.ErrorCode != int16(protocol.CodeInvalidRequest) {
				t.Errorf("%d %q: %s is read-only and can be set: %d", kind, name, d.Name, r.ErrorCode)
			}
		}
	}
}

// TestDurabilityIsShown: the class in force is shown even if none was set. It can be set to the
// value that it has, and to no other.
func TestDurabilityIsShown(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "plain", 1, nil)
	h.topics.create(t, "object", 1, map[string]string{"sluice.durability": "object"})
	c := h.dial(t)
	for topic, class := range map[string]string{"plain": "local", "object": "object"} {
		r := describeOne(c, 2, topic, "sluice.durability")
		if len(r.Configs) != 1 || r.Configs[0].Value == nil || *r.Configs[0].Value != class {
			t.Errorf("%s shows %+v", topic, r.Configs)
		}
		for _, value := range []string{"local", "object", "replicated", ""} {
			want := protocol.CodeInvalidConfig
			if value == class {
				want = 0
			}
			wantCode(t, topic+" to "+value, incremental(c, 2, topic, false, alter{Name: "sluice.durability", Value: &value}).ErrorCode, want)
		}
	}
}

// TestBrokerConfigsWhileItRuns follows this broker and all brokers through changes. Codes, sources
// and synonyms are those that Apache Kafka 4.3.1 answered.
func TestBrokerConfigsWhileItRuns(t *testing.T) {
	defaults, err := catalog.ParseTopicDefaults(map[string]string{"message.max.bytes": "900000"})
	if err != nil {
		t.Fatal(err)
	}
	h := startTCP(t, Config{TopicDefaults: defaults})
	h.topics.create(t, "t", 1, nil)
	h.topics.create(t, "own", 1, map[string]string{"max.message.bytes": "7"})
	c := h.dial(t)
	v := kmsg.StringPtr
	const bytes, retention = "message.max.bytes", "log.retention.ms"
	for _, tc := range []struct {
		name     string
		resource string
		change   alter
		want     protocol.Code
		broker   string // message.max.bytes of the broker; "" if unchanged
		topic    string // max.message.bytes of a topic that sets nothing
	}{
		{"nothing", "1", alter{Name: bytes, Op: 1}, 0, "900000/4 [900000/4 1048588/5]", "900000/4 [900000/4 1048588/5]"},
		{"on all", "", alter{Name: bytes, Value: v(" 02000 ")}, 0, "2000/3 [2000/3 900000/4 1048588/5]", "2000/3 [2000/3 900000/4 1048588/5]"},
		{"on this one", "1", alter{Name: bytes, Value: v("3000")}, 0, "3000/2 [3000/2 2000/3 900000/4 1048588/5]", "3000/2 [3000/2 2000/3 900000/4 1048588/5]"},
		{"no number", "1", alter{Name: bytes, Value: v("many")}, 42, "", ""},
		{"out of range", "", alter{Name: bytes, Value: v("-1")}, 42, "", ""},
		{"null", "1", alter{Name: bytes}, 42, "", ""},
		{"a list of what is none", "1", alter{Name: bytes, Op: 2, Value: v("5")}, 40, "", ""},
		{"zero", "1", alter{Name: retention, Value: v("0")}, 42, "", ""},
		{"a coarser key", "1", alter{Name: "log.retention.hours", Value: v("5")}, 42, "", ""},
		{"a topic's key", "1", alter{Name: "retention.ms", Value: v("5")}, 42, "", ""},
		{"no connections", "1", alter{Name: "max.connections", Value: v("0")}, 42, "", ""},
		{"a bad item", "1", alter{Name: "log.cleanup.policy", Op: 2, Value: v("burn")}, 42, "", ""},
		{"one lag", "1", alter{Name: "log.cleaner.min.compaction.lag.ms", Value: v("100")}, 0, "", ""},
		{"lags that cross", "1", alter{Name: "log.cleaner.max.compaction.lag.ms", Value: v("5")}, 42, "", ""},
		{"lags that cross on all", "", alter{Name: "log.cleaner.max.compaction.lag.ms", Value: v("5")}, 42, "", ""},
		{"an item more", "1", alter{Name: "log.cleanup.policy", Op: 2, Value: v("compact")}, 0, "", ""},
		{"an operation that is none", "1", alter{Name: bytes, Op: 9, Value: v("5")}, 42, "", ""},
		{"no longer on this one", "1", alter{Name: bytes, Op: 1}, 0, "2000/3 [2000/3 900000/4 1048588/5]", "2000/3 [2000/3 900000/4 1048588/5]"},
		{"no longer on all", "", alter{Name: bytes, Op: 1}, 0, "900000/4 [900000/4 1048588/5]", "900000/4 [900000/4 1048588/5]"},
	} {
		before := maps.Clone(h.topics.brokers)
		wantCode(t, tc.name+", validate", incremental(c, 4, tc.resource, true, tc.change).ErrorCode, tc.want)
		if !maps.EqualFunc(h.topics.brokers, before, maps.Equal) {
			t.Errorf("%s: validating changed it to %v", tc.name, h.topics.brokers)
		}
		r := incremental(c, 4, tc.resource, false, tc.change)
		wantCode(t, tc.name, r.ErrorCode, tc.want)
		if tc.want != 0 && (r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, tc.change.Name) && !strings.Contains(tc.name, "cross")) {
			t.Errorf("%s: the key is not named: %v", tc.name, r.ErrorMessage)
		}
		if tc.broker == "" {
			continue
		}
		if got := sources(describeOne(c, 4, "1", bytes)); got != tc.broker {
			t.Errorf("%s: the broker shows %s, want %s", tc.name, got, tc.broker)
		}
		if got := sources(describeOne(c, 2, "t", "max.message.bytes")); got != tc.topic {
			t.Errorf("%s: a topic shows %s, want %s", tc.name, got, tc.topic)
		}
		if got := valuesOf(c, 2, "own")["max.message.bytes"]; got != "7" {
			t.Errorf("%s: a topic that sets it has %s", tc.name, got)
		}
	}
	if got := valuesOf(c, 4, "1"); got["log.cleanup.policy"] != "delete,compact" || got["log.cleaner.min.compaction.lag.ms"] != "100" {
		t.Errorf("the broker has %v", got)
	}
	if got := valuesOf(c, 4, ""); len(got) != 0 {
		t.Errorf("all brokers have %v", got)
	}
	// AlterConfigs replaces everything that is set.
	wantCode(t, "replace", replaced(c, 4, "1", kmsg.AlterConfigsRequestResourceConfig{Name: retention, Value: v("5")}).ErrorCode, 0)
	if got := h.topics.BrokerConfigs(1); !maps.Equal(got, map[string]string{retention: "5"}) {
		t.Errorf("%v is set", got)
	}
	if got := sources(describeOne(c, 4, "1", retention)); got != "5/2 [5/2]" {
		t.Errorf("retention is shown as %s", got)
	}
	wantCode(t, "replace by nothing", replaced(c, 4, "1").ErrorCode, 0)
	if got := h.topics.BrokerConfigs(1); len(got) != 0 {
		t.Errorf("%v is set", got)
	}
}

// sources shows the only key of an answer as value/source, with its synonyms.
func sources(r *kmsg.DescribeConfigsResponseResource) string {
	if len(r.Configs) != 1 {
		return fmt.Sprintf("%d keys", len(r.Configs))
	}
	d := &r.Configs[0]
	var list []string
	for _, s := range d.ConfigSynonyms {
		list = append(list, fmt.Sprintf("%s/%d", *s.Value, s.Source))
	}
	if d.Value == nil {
		return "null"
	}
	return fmt.Sprintf("%s/%d %v", *d.Value, d.Source, list)
}

// TestDefaultsActAtOnce: a config that is set on running brokers acts on the next produce and the
// next creation.
func TestDefaultsActAtOnce(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "plain", 1, nil)
	h.topics.create(t, "own", 1, map[string]string{"retention.ms": "5"})
	c := h.dial(t)
	batch := plainBatch(t, "v")
	produce := func(topic string) int16 {
		return ask[*kmsg.ProduceResponse](c, produceRequest(topic, slices.Clone(batch)), 9).Topics[0].Partitions[0].ErrorCode
	}
	all := func(change alter) {
		t.Helper()
		wantCode(t, change.Name, incremental(c, 4, "", false, change).ErrorCode, 0)
	}
	for _, topic := range []string{"plain", "own"} {
		wantCode(t, topic, produce(topic), 0)
		all(alter{Name: "message.max.bytes", Value: kmsg.StringPtr("60")})
		wantCode(t, topic+", too large now", produce(topic), 10)
		all(alter{Name: "message.max.bytes", Op: 1})
		wantCode(t, topic+", as before", produce(topic), 0)
	}
	all(alter{Name: "log.cleaner.max.compaction.lag.ms", Value: kmsg.StringPtr("5")})
	bad := incremental(c, 2, "plain", false, alter{Name: "min.compaction.lag.ms", Value: kmsg.StringPtr("6")})
	wantCode(t, "a lag that crosses the default", bad.ErrorCode, 40)
}

// TestConnectionLimitsFollow: a changed limit acts on the next connection. An open connection
// stays.
func TestConnectionLimitsFollow(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	refused := func() bool {
		t.Helper()
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		// A refusal may come before this is written.
		_, _ = nc.Write(requestFrame(kmsg.NewPtrApiVersionsRequest(), 1, "c"))
		_, err = io.ReadFull(nc, make([]byte, 4))
		return err != nil
	}
	for _, key := range []string{"max.connections", "max.connections.per.ip"} {
		for _, resource := range []string{"1", ""} {
			if refused() {
				t.Errorf("%s: refused before", key)
			}
			wantCode(t, key, incremental(c, 4, resource, false, alter{Name: key, Value: kmsg.StringPtr("1")}).ErrorCode, 0)
			if !refused() {
				t.Errorf("%s of %q: a second connection is taken", key, resource)
			}
			wantCode(t, key, incremental(c, 4, resource, false, alter{Name: key, Op: 1}).ErrorCode, 0)
		}
	}
}

// TestConcurrentChangesAreNotLost: several changes start from the same configuration, and each of
// them is in force in the end.
func TestConcurrentChangesAreNotLost(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	for _, tc := range []struct {
		kind kmsg.ConfigResourceType
		name string
		keys []string
		set  func() map[string]string
	}{
		{2, "t", []string{"retention.ms", "retention.bytes", "max.message.bytes"}, func() map[string]string { t, _ := h.topics.TopicByName("t"); return t.Configs }},
		{4, "1", []string{"log.retention.ms", "log.retention.bytes", "max.connections"}, func() map[string]string { return h.topics.BrokerConfigs(1) }},
		{4, "", []string{"log.retention.ms", "log.retention.bytes", "max.connections"}, func() map[string]string { return h.topics.BrokerConfigs(catalog.AllBrokers) }},
	} {
		// Every change has read before the first one writes.
		var meet sync.WaitGroup
		meet.Add(len(tc.keys))
		var times sync.Mutex
		left := len(tc.keys)
		h.topics.beforeSet = func() {
			times.Lock()
			first := left > 0
			left--
			times.Unlock()
			if first {
				meet.Done()
				meet.Wait()
			}
		}
		var done sync.WaitGroup
		for _, key := range tc.keys {
			c := h.dial(t)
			done.Go(func() {
				if r := incremental(c, tc.kind, tc.name, false, alter{Name: key, Value: kmsg.StringPtr("5000")}); r.ErrorCode != 0 {
					t.Errorf("%d %q, %s: %s", tc.kind, tc.name, key, *r.ErrorMessage)
				}
			})
		}
		done.Wait()
		for _, key := range tc.keys {
			if tc.set()[key] != "5000" {
				t.Errorf("%d %q: %s is lost: %v", tc.kind, tc.name, key, tc.set())
			}
		}
	}
}

// TestStoredConfigsThatDoNotHold: stored configs that only another version or another broker
// accepts do not keep the broker from starting. Those that are valid here act.
func TestStoredConfigsThatDoNotHold(t *testing.T) {
	topics := newMemoryTopics(Node{ID: 1})
	topics.brokers = map[int32]map[string]string{
		1:                  {"message.max.bytes": "many", "log.retention.ms": "5", "from.the.future": "1", "log.cleaner.min.compaction.lag.ms": "9"},
		catalog.AllBrokers: {"message.max.bytes": "77", "max.connections": "-3", "log.cleaner.max.compaction.lag.ms": "8"},
	}
	b := &Broker{cfg: Config{NodeID: 1}.withDefaults(), topics: topics}
	l, err := b.newLive(topics.BrokerConfigs(1), topics.BrokerConfigs(catalog.AllBrokers))
	if c := l.plainTopic; c.MaxMessageBytes != 77 || c.RetentionMs != 5 || c.MinCompactionLagMs != 9 || l.connectionsMax != 10_000 {
		t.Errorf("in force: %+v, %d connections", c, l.connectionsMax)
	}
	for _, want := range []string{`message.max.bytes="many"`, "from.the.future", `max.connections="-3"`, "min.compaction.lag.ms"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
