package node

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// setOnBroker changes one key of a broker, or of all brokers if the name is empty, as a client
// does. A nil value removes it.
func (r *rig) setOnBroker(name, key string, value *string) {
	r.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	op := kmsg.IncrementalAlterConfigOpSet
	if value == nil {
		op = kmsg.IncrementalAlterConfigOpDelete
	}
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: name,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Op: op, Value: value}}}}
	resp, err := req.RequestWith(within(r.t), r.client)
	if err != nil {
		r.t.Fatal(err)
	}
	if res := resp.Resources[0]; res.ErrorCode != 0 {
		r.t.Fatalf("%s on %q: %s", key, name, *res.ErrorMessage)
	}
}

// shown returns one key's value and source as DescribeConfigs shows them.
func (r *rig) shown(kind kmsg.ConfigResourceType, name, key string) string {
	r.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: []string{key}}}
	resp, err := req.RequestWith(within(r.t), r.client)
	if err != nil || resp.Resources[0].ErrorCode != 0 || len(resp.Resources[0].Configs) != 1 {
		r.t.Fatalf("describe %s of %q: %+v, %v", key, name, resp, err)
	}
	c := resp.Resources[0].Configs[0]
	return fmt.Sprintf("%s/%d", *c.Value, c.Source)
}

// noise is a text that compression does not make smaller.
func noise(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return string(b)
}

// retained applies retention, and returns where a partition begins after that.
func (r *rig) retained(topic string) int64 {
	r.t.Helper()
	if err := r.engine.Retain(within(r.t)); err != nil {
		r.t.Fatal(err)
	}
	return int64(r.head(topic, 0).LogStart)
}

// What is set on running brokers is in force in the broker and in storage when the request is
// answered, and after a restart and a restore. Retention shows that storage follows.
func TestConfigsOfRunningBrokers(t *testing.T) {
	static, err := catalog.ParseTopicDefaults(map[string]string{"log.retention.bytes": "100000", "log.segment.bytes": "1048576"})
	if err != nil {
		t.Fatal(err)
	}
	b := mem.New()
	begin := func(dir string) *rig {
		return start(t, dir, b, func(c *Config) {
			c.Storage.TopicDefaults = static
			c.Broker.ConnectionsMax = 500
		})
	}
	text := func(s string) *string { return &s }
	r := begin(filepath.Join(t.TempDir(), "first"))
	r.create("t", 1, nil)
	for range 10 {
		r.produce("t", 0, noise(1000))
	}
	inForce := func(when, bytes, maxBytes, connections string) {
		t.Helper()
		for _, c := range []struct {
			kind            kmsg.ConfigResourceType
			name, key, want string
		}{
			{2, "t", "retention.bytes", bytes}, {4, "1", "log.retention.bytes", bytes}, {2, "t", "max.message.bytes", maxBytes},
			{4, "1", "message.max.bytes", maxBytes}, {4, "1", "max.connections", connections},
		} {
			if got := r.shown(c.kind, c.name, c.key); got != c.want {
				t.Errorf("%s: %s of %q is %s, want %s", when, c.key, c.name, got, c.want)
			}
		}
	}
	if got := r.retained("t"); got != 0 {
		t.Fatalf("the log begins at %d", got)
	}
	inForce("as started", "100000/4", "1048588/5", "500/4")

	r.setOnBroker("", "message.max.bytes", text("2000"))
	r.setOnBroker("1", "max.connections", text("400"))
	r.setOnBroker("", "log.retention.bytes", text("4500"))
	if got := r.retained("t"); got == 0 {
		t.Error("storage does not follow what is set on all brokers")
	}
	inForce("set", "4500/3", "2000/3", "400/2")
	if err := r.client.ProduceSync(within(t), &kgo.Record{Topic: "t", Value: []byte(noise(3000))}).FirstErr(); err == nil {
		t.Error("a batch above message.max.bytes is taken")
	}

	r.setOnBroker("1", "log.retention.bytes", text("-1"))
	start := int64(r.head("t", 0).LogStart)
	again := func(how string) {
		t.Helper()
		for range 5 {
			r.produce("t", 0, noise(1000))
		}
		if got := r.retained("t"); got != start {
			t.Errorf("%s: the log begins at %d, not %d: storage acts on what another source says", how, got, start)
		}
		inForce(how, "-1/2", "2000/3", "400/2")
	}
	again("set on this broker")
	r.kill()
	r = begin(r.dir)
	again("started again")
	r.end()
	rmdir(t, r.dir)
	dir, _ := restore(t, bucket.Bucket(b))
	r = begin(dir)
	again("restored")

	r.setOnBroker("1", "log.retention.bytes", nil)
	if got := r.retained("t"); got <= start {
		t.Errorf("taken away: the log begins at %d still", got)
	}
	inForce("taken away from this broker", "4500/3", "2000/3", "400/2")
	r.setOnBroker("", "log.retention.bytes", nil)
	r.setOnBroker("", "message.max.bytes", nil)
	r.setOnBroker("1", "max.connections", nil)
	inForce("taken away", "100000/4", "1048588/5", "500/4")
}
