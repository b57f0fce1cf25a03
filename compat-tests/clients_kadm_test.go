package compat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// kadmCase is franz-go's admin client, which works on a topic and a group of its own.
type kadmCase struct {
	*testing.T
	ctx   context.Context
	adm   *kadm.Client
	cl    *kgo.Client
	topic string
	group string
}

// clientKadm tests topics, configs, offsets and groups with franz-go's admin client.
func clientKadm(t *testing.T, l *lab) {
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	// The sizes of log directories are compared in bytes.
	adm, cl := l.kadm(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	k := &kadmCase{T: t, ctx: ctx, adm: adm, cl: cl, topic: "kadm", group: "kadm"}
	k.topics()
	k.configs()
	k.records()
	k.offsets()
	k.groups(l)
	k.remove()
}

func (k *kadmCase) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// eventually asks until there is no error, since Kafka's brokers learn about a change after it was
// acknowledged.
func (k *kadmCase) eventually(ask func() error) {
	k.Helper()
	k.must(harness.Until(clientLimit, ask))
}

func (k *kadmCase) topics() {
	retention := "3600000"
	_, err := k.adm.CreateTopic(k.ctx, 3, 1, map[string]*string{"retention.ms": &retention}, k.topic)
	k.must(err)
	if _, err := k.adm.CreateTopic(k.ctx, 3, 1, nil, k.topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		k.Errorf("create again: %v", err)
	}
	if _, err := k.adm.CreateTopic(k.ctx, 3, 1, nil, "no topic!"); !errors.Is(err, kerr.InvalidTopicException) {
		k.Errorf("create a name that is none: %v", err)
	}
	k.wantPartitions(3)
	_, err = k.adm.CreatePartitions(k.ctx, 2, k.topic)
	k.must(err)
	k.wantPartitions(5)
	again, err := k.adm.UpdatePartitions(k.ctx, 4, k.topic)
	k.must(err)
	if err := again[k.topic].Err; !errors.Is(err, kerr.InvalidPartitions) {
		k.Errorf("fewer partitions: %v", err)
	}
	meta, err := k.adm.BrokerMetadata(k.ctx)
	k.must(err)
	if len(meta.Brokers) != 1 || meta.Controller != meta.Brokers[0].NodeID || meta.Cluster == "" {
		k.Errorf("cluster is %+v", meta)
	}
}

func (k *kadmCase) wantPartitions(want int) {
	k.Helper()
	k.eventually(func() error {
		details, err := k.adm.ListTopics(k.ctx, k.topic)
		if err != nil {
			return err
		}
		d := details[k.topic]
		if d.Err != nil || len(d.Partitions) != want || d.IsInternal {
			return fmt.Errorf("topic has %d partitions, want %d: %v", len(d.Partitions), want, d.Err)
		}
		for _, p := range d.Partitions {
			if p.Err != nil || len(p.Replicas) != 1 || !slices.Equal(p.Replicas, p.ISR) || p.Leader != p.Replicas[0] {
				return fmt.Errorf("partition is %+v", p)
			}
		}
		return nil
	})
}

func (k *kadmCase) configs() {
	k.wantConfig("retention.ms", "3600000", "DYNAMIC_TOPIC_CONFIG")
	k.wantConfig("cleanup.policy", "delete", "DEFAULT_CONFIG")
	k.alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("2000000")},
		kadm.AlterConfig{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")})
	k.wantConfig("max.message.bytes", "2000000", "DYNAMIC_TOPIC_CONFIG")
	k.wantConfig("cleanup.policy", "delete,compact", "DYNAMIC_TOPIC_CONFIG")
	k.alter(kadm.AlterConfig{Op: kadm.SubtractConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
		kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"})
	k.wantConfig("cleanup.policy", "delete", "DYNAMIC_TOPIC_CONFIG")
	k.wantConfig("retention.ms", "604800000", "DEFAULT_CONFIG")
	for name, value := range map[string]string{"no.such.key": "1", "retention.ms": "long"} {
		answer, err := k.adm.AlterTopicConfigs(k.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, k.topic)
		if err == nil {
			err = answer[0].Err
		}
		if !errors.Is(err, kerr.InvalidConfig) {
			k.Errorf("%s=%s: %v", name, value, err)
		}
	}
	broker, err := k.adm.DescribeBrokerConfigs(k.ctx, 1)
	k.must(err)
	if i := slices.IndexFunc(broker[0].Configs, func(c kadm.Config) bool { return c.Key == "node.id" }); broker[0].Err != nil || i < 0 || broker[0].Configs[i].MaybeValue() != "1" {
		k.Errorf("configs of broker 1: %v, node.id at %d of %d", broker[0].Err, i, len(broker[0].Configs))
	}
	// A config that is not named is reset.
	whole := []kadm.AlterConfig{{Name: "retention.bytes", Value: kadm.StringPtr("1000000000")}}
	_, err = k.adm.AlterTopicConfigsState(k.ctx, whole, k.topic)
	k.must(err)
	k.wantConfig("max.message.bytes", "1048588", "DEFAULT_CONFIG")
	k.wantConfig("retention.bytes", "1000000000", "DYNAMIC_TOPIC_CONFIG")
}

func (k *kadmCase) alter(changes ...kadm.AlterConfig) {
	k.Helper()
	answer, err := k.adm.AlterTopicConfigs(k.ctx, changes, k.topic)
	k.must(err)
	k.must(answer[0].Err)
}

func (k *kadmCase) wantConfig(key, value, source string) {
	k.Helper()
	k.eventually(func() error {
		answer, err := k.adm.DescribeTopicConfigs(k.ctx, k.topic)
		if err != nil {
			return err
		}
		for _, c := range answer[0].Configs {
			if c.Key == key && c.MaybeValue() == value && c.Source.String() == source {
				return nil
			}
		}
		return fmt.Errorf("no %s=%s from %s among %+v: %v", key, value, source, answer[0].Configs, answer[0].Err)
	})
}

// records tests offsets by position and time, and the deletion of records.
func (k *kadmCase) records() {
	start := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, &kgo.Record{Topic: k.topic, Partition: int32(i % 2), Value: make([]byte, 100), Timestamp: start.Add(time.Duration(i) * time.Second / 10)})
	}
	k.must(k.cl.ProduceSync(k.ctx, records...).FirstErr())
	k.wantListed("end", k.adm.ListEndOffsets, 50, 50, 0)
	k.wantListed("committed end", k.adm.ListCommittedOffsets, 50, 50, 0)
	at := start.Add(5 * time.Second).UnixMilli()
	k.wantListed("by time", func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return k.adm.ListOffsetsAfterMilli(ctx, at, topics...)
	}, 25, 25, 0)
	k.wantListed("latest record", k.adm.ListMaxTimestampOffsets, 49, 49, -1)

	before := make(kadm.Offsets)
	before.AddOffset(k.topic, 0, 10, -1)
	before.AddOffset(k.topic, 1, -1, -1)
	answer, err := k.adm.DeleteRecords(k.ctx, before)
	k.must(err)
	k.must(answer.Error())
	if got := answer[k.topic]; got[0].LowWatermark != 10 || got[1].LowWatermark != 50 {
		k.Errorf("low watermarks after the deletion: %+v", got)
	}
	k.wantListed("start", k.adm.ListStartOffsets, 10, 50, 0)
	before = make(kadm.Offsets)
	before.AddOffset(k.topic, 0, 51, -1)
	answer, err = k.adm.DeleteRecords(k.ctx, before)
	k.must(err)
	if err := answer[k.topic][0].Err; !errors.Is(err, kerr.OffsetOutOfRange) {
		k.Errorf("deletion beyond the end: %v", err)
	}
}

// wantListed requires these offsets for the first three partitions.
func (k *kadmCase) wantListed(what string, list func(context.Context, ...string) (kadm.ListedOffsets, error), want ...int64) {
	k.Helper()
	listed, err := list(k.ctx, k.topic)
	k.must(err)
	for p, offset := range want {
		if got, ok := listed.Lookup(k.topic, int32(p)); !ok || got.Err != nil || got.Offset != offset {
			k.Errorf("%s of partition %d: %+v, want %d", what, p, got, offset)
		}
	}
}

// offsets does with a group's offsets what a program without membership does.
func (k *kadmCase) offsets() {
	commit := make(kadm.Offsets)
	commit.Add(kadm.Offset{Topic: k.topic, Partition: 0, At: 20, LeaderEpoch: -1, Metadata: "twenty"})
	commit.Add(kadm.Offset{Topic: k.topic, Partition: 1, At: 30, LeaderEpoch: -1})
	k.must(k.adm.CommitAllOffsets(k.ctx, k.group, commit))
	fetched, err := k.adm.FetchOffsets(k.ctx, k.group)
	k.must(err)
	if o, _ := fetched.Lookup(k.topic, 0); o.At != 20 || o.Metadata != "twenty" {
		k.Errorf("committed is %+v", o)
	}
	if n := len(fetched[k.topic]); n != 2 {
		k.Errorf("%d partitions have an offset, want 2", n)
	}
	many := k.adm.FetchManyOffsets(k.ctx, k.group, "kadm-unknown")
	k.must(many.Error())
	if o, _ := many[k.group].Fetched.Lookup(k.topic, 1); o.At != 30 || len(many["kadm-unknown"].Fetched) != 0 {
		k.Errorf("offsets of two groups: %+v", many)
	}
	set := make(kadm.TopicsSet)
	set.Add(k.topic, 1)
	gone, err := k.adm.DeleteOffsets(k.ctx, k.group, set)
	k.must(err)
	k.must(gone.Error())
	if fetched, err = k.adm.FetchOffsets(k.ctx, k.group); err != nil || len(fetched[k.topic]) != 1 {
		k.Errorf("after one was deleted: %+v, %v", fetched, err)
	}
}

// groups lists and describes an empty and a living group. The living one cannot be deleted.
func (k *kadmCase) groups(l *lab) {
	member, err := kgo.NewClient(kgo.SeedBrokers(l.Addr), kgo.ConsumerGroup("kadm-living"), kgo.ConsumeTopics(k.topic), kgo.ClientID("kadm-member"),
		kgo.Balancers(kgo.RangeBalancer()), kgo.InstanceID("kadm-instance"))
	k.must(err)
	defer member.Close()
	k.must(member.PollRecords(k.ctx, 1).Err())
	k.eventually(func() error {
		described, err := k.adm.DescribeGroups(k.ctx, "kadm-living")
		if err != nil {
			return err
		}
		g := described["kadm-living"]
		if g.Err != nil || g.State != "Stable" || g.Protocol != "range" || g.ProtocolType != "consumer" || len(g.Members) != 1 {
			return fmt.Errorf("group is %+v", g)
		}
		m := g.Members[0]
		if m.ClientID != "kadm-member" || m.InstanceID == nil || *m.InstanceID != "kadm-instance" || m.ClientHost != "/127.0.0.1" {
			return fmt.Errorf("member is %+v", m)
		}
		if assigned, ok := m.Assigned.AsConsumer(); !ok || len(assigned.Topics) != 1 || len(assigned.Topics[0].Partitions) != 5 {
			return fmt.Errorf("assigned is %+v", m.Assigned)
		}
		return nil
	})
	k.wantGroups(nil, "kadm", "kadm-living")
	k.wantGroups([]string{"Empty"}, "kadm")
	k.wantGroups([]string{"Stable"}, "kadm-living")

	lag, err := k.adm.Lag(k.ctx, k.group)
	k.must(err)
	if got := lag[k.group].Lag[k.topic][0]; got.Lag != 30 || got.Err != nil {
		k.Errorf("lag of partition 0: %+v, want 50-20", got)
	}
	deleted, err := k.adm.DeleteGroups(k.ctx, "kadm-living", k.group, "kadm-unknown")
	k.must(err)
	for group, want := range map[string]error{"kadm-living": kerr.NonEmptyGroup, k.group: nil, "kadm-unknown": kerr.GroupIDNotFound} {
		if err := deleted[group].Err; !errors.Is(err, want) {
			k.Errorf("delete group %s: %v, want %v", group, err, want)
		}
	}
	k.wantGroups(nil, "kadm-living")
	if fetched, err := k.adm.FetchOffsets(k.ctx, k.group); err != nil || len(fetched) != 0 {
		k.Errorf("offsets of a deleted group: %+v, %v", fetched, err)
	}
}

// wantGroups requires these of our groups to be listed for the given states.
func (k *kadmCase) wantGroups(states []string, want ...string) {
	k.Helper()
	listed, err := k.adm.ListGroups(k.ctx, states...)
	k.must(err)
	var got []string
	for _, g := range listed.Groups() {
		if g == "kadm" || g == "kadm-living" {
			got = append(got, g)
		}
	}
	if !slices.Equal(got, want) {
		k.Errorf("groups in states %v: %v, want %v", states, got, want)
	}
}

// remove: log directories contain the topic until it is deleted.
func (k *kadmCase) remove() {
	size := func() (bytes int64, found bool) {
		dirs, err := k.adm.DescribeAllLogDirs(k.ctx, kadm.TopicsSet{k.topic: {0: {}, 1: {}}})
		k.must(err)
		for _, broker := range dirs {
			k.must(broker.Error())
		}
		dirs.Each(func(d kadm.DescribedLogDir) {
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				bytes += p.Size
				found = true
			})
		})
		return bytes, found
	}
	if bytes, found := size(); !found || bytes < 40*100 {
		k.Errorf("the log directories tell of %d bytes of the topic (%v)", bytes, found)
	}
	_, err := k.adm.DeleteTopic(k.ctx, k.topic)
	k.must(err)
	k.eventually(func() error {
		details, err := k.adm.ListTopics(k.ctx, k.topic)
		if err == nil && !errors.Is(details[k.topic].Err, kerr.UnknownTopicOrPartition) {
			err = fmt.Errorf("the topic is still there: %v", details[k.topic].Err)
		}
		return err
	})
	if _, err := k.adm.DeleteTopic(k.ctx, k.topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		k.Errorf("delete again: %v", err)
	}
}
