package broker

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestElectLeaders: the codes are those of Apache Kafka 4.3.1 with one broker. A partition whose
// leader is gone can exist only in a cluster.
func TestElectLeaders(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 2, nil)
	h.topics.create(t, "orphan", 2, nil)
	h.topics.lead(t, "orphan", 1, catalog.Leadership{Broker: 9, Incarnation: 9, Epoch: 3})
	c := h.dial(t)
	elect := func(version int16, kind int8, topics []kmsg.ElectLeadersRequestTopic) string {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType, req.Topics = kind, topics
		resp := ask[*kmsg.ElectLeadersResponse](c, req, version)
		var out []string
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				out = append(out, fmt.Sprintf("%s-%d:%d", t.Topic, p.Partition, p.ErrorCode))
				if (p.ErrorMessage == nil) != (p.ErrorCode == 0) {
					out = append(out, "without a word")
				}
			}
		}
		return fmt.Sprintf("%d %v", resp.ErrorCode, out)
	}
	some := []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0, 2, -1}}, {Topic: "nowhere", Partitions: []int32{0}}, {Topic: "orphan", Partitions: []int32{0, 1}}}
	const outcome = "0 [t-0:84 t-2:3 t--1:3 nowhere-0:3 orphan-0:84 orphan-1:83]"
	for version := int16(0); version <= 2; version++ {
		for kind := int8(0); kind <= 1; kind++ {
			if got := elect(version, kind, some); got != outcome {
				t.Errorf("version %d, type %d: %s, want %s", version, kind, got, outcome)
			}
			if got := elect(version, kind, nil); got != "0 [orphan-1:83]" {
				t.Errorf("version %d, type %d, all: %s", version, kind, got)
			}
		}
	}
	if got := elect(2, 9, some[:1]); got != "42 [t-0:42 t-2:42 t--1:42]" {
		t.Errorf("a type that is none: %s", got)
	}
}

// TestReassignments: the codes are those of Apache Kafka 4.3.1 with one broker, except if the
// replication factor is above the number of brokers.
func TestReassignments(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	three, err := h.topics.CreateTopic(t.Context(), TopicSpec{Name: "three", Partitions: 1, ReplicationFactor: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		topic     string
		partition int32
		replicas  []int32
		want      protocol.Code
	}{
		{"as it is", "t", 0, []int32{1}, 0},
		{"another broker", "t", 0, []int32{2}, 39},
		{"one more", "t", 0, []int32{1, 2}, 39},
		{"twice", "t", 0, []int32{1, 1}, 39},
		{"none", "t", 0, []int32{}, 39},
		{"cancel", "t", 0, nil, 85},
		{"no such partition", "t", 9, []int32{1}, 3},
		{"cancel no such partition", "t", -1, nil, 3},
		{"no such topic", "nowhere", 0, nil, 3},
		{"as it is shown", "three", 0, []int32{1, 1, 1}, 0},
		{"a factor of one", "three", 0, []int32{1}, 39},
	} {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: tc.topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: tc.partition, Replicas: tc.replicas}}}}
		for version := int16(0); version <= 1; version++ {
			resp := ask[*kmsg.AlterPartitionAssignmentsResponse](c, req, version)
			wantCode(t, tc.name, resp.Topics[0].Partitions[0].ErrorCode, tc.want)
			wantCode(t, tc.name+", as a whole", resp.ErrorCode, 0)
		}
		list := kmsg.NewPtrListPartitionReassignmentsRequest()
		list.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: tc.topic, Partitions: []int32{tc.partition}}}
		if resp := ask[*kmsg.ListPartitionReassignmentsResponse](c, list, 0); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
			t.Errorf("%s: in progress: %+v", tc.name, resp)
		}
	}
	if now, _ := h.topics.TopicByName("three"); now != three {
		t.Error("a topic has changed")
	}
}

// TestUpdateFeatures: the codes are those of Apache Kafka 4.3.1. Every feature that ApiVersions
// lists can be set to the level that it has.
func TestUpdateFeatures(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.ClientSoftwareName, versions.ClientSoftwareVersion = "test", "1"
	listed := ask[*kmsg.ApiVersionsResponse](c, versions, 4)
	update := func(version int16, updates ...kmsg.UpdateFeaturesRequestFeatureUpdate) *kmsg.UpdateFeaturesResponse {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.FeatureUpdates = updates
		return ask[*kmsg.UpdateFeaturesResponse](c, req, version)
	}
	type one = kmsg.UpdateFeaturesRequestFeatureUpdate
	if len(listed.FinalizedFeatures) == 0 || len(listed.FinalizedFeatures) != len(listed.SupportedFeatures) {
		t.Fatalf("listed: %+v", listed)
	}
	for i, f := range listed.FinalizedFeatures {
		supported := listed.SupportedFeatures[i]
		for version := int16(0); version <= 2; version++ {
			same := one{Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel, UpgradeType: 1}
			if resp := update(version, same); resp.ErrorCode != 0 || len(resp.Results) != map[bool]int{true: 1}[version < 2] {
				t.Errorf("%s, version %d, the level that it is at: %+v", f.Name, version, resp)
			}
			for what, u := range map[string]one{
				"above":       {Feature: f.Name, MaxVersionLevel: supported.MaxVersion + 1, UpgradeType: 1},
				"below":       {Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel - 1, UpgradeType: 1},
				"downgrade":   {Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel - 1, UpgradeType: 2, AllowDowngrade: true},
				"unsafe":      {Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel - 1, UpgradeType: 3},
				"below zero":  {Feature: f.Name, MaxVersionLevel: -1, UpgradeType: 2},
				"no such":     {Feature: "no.such", MaxVersionLevel: 1, UpgradeType: 1},
				"a bad type":  {Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel, UpgradeType: 9},
				"not a type":  {Feature: f.Name, MaxVersionLevel: f.MaxVersionLevel},
				"not a level": {Feature: f.Name, MaxVersionLevel: 0, UpgradeType: 2},
			} {
				want := protocol.CodeInvalidUpdateVersion
				if version == 0 && strings.Contains(what, "type") {
					want = 0 // version 0 has no such field
				}
				resp := update(version, same, u)
				wantCode(t, fmt.Sprintf("%s, version %d, %s", f.Name, version, what), resp.ErrorCode, want)
				if want != 0 && (resp.ErrorMessage == nil || !strings.Contains(*resp.ErrorMessage, u.Feature)) {
					t.Errorf("%s: the feature is not named: %v", what, resp.ErrorMessage)
				}
			}
		}
	}
}

func TestDescribeProducers(t *testing.T) {
	h := startTCP(t, Config{})
	topic := h.topics.create(t, "t", 2, nil)
	h.log.producers = map[ident.TopicPartition][]storage.Producer{
		{Topic: topic.ID}: {{ID: 7, Epoch: 2, LastSequence: 9, Placed: time.UnixMilli(1234)}, {ID: 8}},
	}
	c := h.dial(t)
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0, 1, 5, 0}}, {Topic: "nowhere", Partitions: []int32{0}}, {Topic: "a b", Partitions: []int32{0}}}
	var got []string
	resp := ask[*kmsg.DescribeProducersResponse](c, req, 0)
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			got = append(got, fmt.Sprintf("%s-%d:%d/%d", rt.Topic, p.Partition, p.ErrorCode, len(p.ActiveProducers)))
		}
	}
	if want := "[t-0:0/2 t-1:0/0 t-5:3/0 t-0:42/0 nowhere-0:3/0 a b-0:17/0]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	p := resp.Topics[0].Partitions[0].ActiveProducers[0]
	if p.ProducerID != 7 || p.ProducerEpoch != 2 || p.LastSequence != 9 || p.LastTimestamp != 1234 || p.CoordinatorEpoch != -1 || p.CurrentTxnStartOffset != -1 {
		t.Errorf("%+v", p)
	}
	h.log.readErr = storage.ErrNotLeader
	wantCode(t, "not led here", ask[*kmsg.DescribeProducersResponse](c, req, 0).Topics[0].Partitions[0].ErrorCode, 6)
}

func TestDescribeQuorum(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	describe := func(version int16, topic string, partitions ...int32) *kmsg.DescribeQuorumResponse {
		req := kmsg.NewPtrDescribeQuorumRequest()
		rt := kmsg.DescribeQuorumRequestTopic{Topic: topic}
		for _, p := range partitions {
			rt.Partitions = append(rt.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
		}
		req.Topics = append(req.Topics, rt)
		return ask[*kmsg.DescribeQuorumResponse](c, req, version)
	}
	for version := int16(0); version <= 2; version++ {
		resp := describe(version, "__cluster_metadata", 0)
		p := resp.Topics[0].Partitions[0]
		if resp.ErrorCode != 0 || p.ErrorCode != 0 || p.LeaderID != 1 || p.LeaderEpoch != 4 || p.HighWatermark != 77 || len(p.CurrentVoters) != 1 ||
			p.CurrentVoters[0].ReplicaID != 1 || p.CurrentVoters[0].LogEndOffset != 78 || len(p.Observers) != 0 {
			t.Errorf("version %d: %+v", version, resp)
		}
		if caught := p.CurrentVoters[0].LastCaughtUpTimestamp; version > 0 && caught != 5000 {
			t.Errorf("version %d: caught up at %d", version, caught)
		}
		if version == 2 && (len(resp.Nodes) != 1 || resp.Nodes[0].NodeID != 1 || len(resp.Nodes[0].Listeners) != 1) {
			t.Errorf("nodes: %+v", resp.Nodes)
		}
		for _, parts := range [][]int32{{1}, {0, 1}} {
			wantCode(t, "other partitions", describe(version, "__cluster_metadata", parts...).Topics[0].Partitions[0].ErrorCode, 3)
		}
		wantCode(t, "another topic", describe(version, "t", 0).Topics[0].Partitions[0].ErrorCode, 3)
	}
}

// TestClusterAdministrationIsAuthorized: a caller that may do nothing is told so, for the request
// as a whole and for each partition.
func TestClusterAdministrationIsAuthorized(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, Config{}, l, func(Need, string) bool { return false }).dial(t)
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	elected := ask[*kmsg.ElectLeadersResponse](c, elect, 2)
	wantCode(t, "elect", elected.ErrorCode, 31)
	wantCode(t, "elect one", elected.Topics[0].Partitions[0].ErrorCode, 31)
	wantCode(t, "reassign", ask[*kmsg.AlterPartitionAssignmentsResponse](c, kmsg.NewPtrAlterPartitionAssignmentsRequest(), 1).ErrorCode, 31)
	wantCode(t, "list", ask[*kmsg.ListPartitionReassignmentsResponse](c, kmsg.NewPtrListPartitionReassignmentsRequest(), 0).ErrorCode, 31)
	wantCode(t, "features", ask[*kmsg.UpdateFeaturesResponse](c, kmsg.NewPtrUpdateFeaturesRequest(), 2).ErrorCode, 31)
	wantCode(t, "quorum", ask[*kmsg.DescribeQuorumResponse](c, kmsg.NewPtrDescribeQuorumRequest(), 2).ErrorCode, 31)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	wantCode(t, "producers", ask[*kmsg.DescribeProducersResponse](c, producers, 0).Topics[0].Partitions[0].ErrorCode, 29)
}

// TestTooManyPartitions: a request that names more partitions than it may gets an answer for all of
// them, and a short one.
func TestTooManyPartitions(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	const more = partitionsPerRequestMax + 5
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: make([]int32, more)}}
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: make([]int32, more)}}
	reassign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	reassign.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: make([]kmsg.AlterPartitionAssignmentsRequestTopicPartition, more)}}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "t", Partitions: make([]kmsg.DescribeQuorumRequestTopicPartition, more)}}
	last := func(name string, n int, code int16, message *string) {
		t.Helper()
		wantCode(t, name, code, protocol.CodePolicyViolation)
		if n != more || message != nil {
			t.Errorf("%s: %d partitions, message %v", name, n, message)
		}
	}
	e := ask[*kmsg.ElectLeadersResponse](c, elect, 2).Topics[0].Partitions
	last("elect", len(e), e[len(e)-1].ErrorCode, e[len(e)-1].ErrorMessage)
	p := ask[*kmsg.DescribeProducersResponse](c, producers, 0).Topics[0].Partitions
	last("producers", len(p), p[len(p)-1].ErrorCode, p[len(p)-1].ErrorMessage)
	r := ask[*kmsg.AlterPartitionAssignmentsResponse](c, reassign, 1).Topics[0].Partitions
	last("reassign", len(r), r[len(r)-1].ErrorCode, r[len(r)-1].ErrorMessage)
	q := ask[*kmsg.DescribeQuorumResponse](c, quorum, 2).Topics[0].Partitions
	last("quorum", len(q), q[len(q)-1].ErrorCode, q[len(q)-1].ErrorMessage)
}

// Each partition of a request may fail with an error about a name of any length. The answer does
// not take memory for the name once per partition.
func TestNameIsNotRepeatedForEachPartition(t *testing.T) {
	h := startTCP(t, Config{})
	name := strings.Repeat("é", 128*kib)
	const partitions = 1000
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: name, Partitions: make([]int32, partitions)}}
	reassign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	reassign.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name, Partitions: make([]kmsg.AlterPartitionAssignmentsRequestTopicPartition, partitions)}}
	c := h.dial(t)
	before := allocatedBytes()
	e := ask[*kmsg.ElectLeadersResponse](c, elect, 2).Topics[0].Partitions[partitions-1]
	r := ask[*kmsg.AlterPartitionAssignmentsResponse](c, reassign, 1).Topics[0].Partitions[partitions-1]
	if took := allocatedBytes() - before; took > 64*mib {
		t.Errorf("two requests have taken %d MiB", took/mib)
	}
	for _, message := range []*string{e.ErrorMessage, r.ErrorMessage} {
		if message == nil || !utf8.ValidString(*message) || !strings.Contains(*message, "no topic") {
			t.Errorf("message %v", message)
		}
	}
	wantCode(t, "elect", e.ErrorCode, protocol.CodeUnknownTopicOrPartition)
	wantCode(t, "reassign", r.ErrorCode, protocol.CodeUnknownTopicOrPartition)
}

func allocatedBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// A message is cut where a letter ends, and does not keep in memory what was cut off.
func TestMessagesAreCut(t *testing.T) {
	for _, s := range []string{strings.Repeat("é", 1000), "x" + strings.Repeat("é", 1000), "\xff"} {
		message := *messageOf(errors.New(s))
		if !utf8.ValidString(message) || len(message) > 520 || len(s) > 1000 && unsafe.StringData(message) == unsafe.StringData(s) {
			t.Errorf("%.9q…: %d bytes, %.9q…", s, len(message), message)
		}
	}
}

// Comparing two hundred thousand replicas with one another would take more than ten seconds.
func TestManyReplicas(t *testing.T) {
	list := make([]int32, 200_000)
	for i := range list {
		list[i] = int32(i)
	}
	began := time.Now()
	if err := checkReplicas(list, len(list)); err != nil {
		t.Error(err)
	}
	if err := checkReplicas(append(list, 7), len(list)+1); !errors.Is(err, errInvalidAssignment) {
		t.Errorf("a broker twice: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}
