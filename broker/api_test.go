package broker

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// edited returns a copy of a plain batch with some of its header changed, and with a correct
// checksum.
func edited(t *testing.T, edit func(b []byte)) []byte {
	t.Helper()
	b := plainBatch(t, "a", "b")
	edit(b)
	recrc(b)
	return b
}

func TestProduceRules(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "plain", 2, nil)
	h.topics.create(t, "small", 1, map[string]string{"max.message.bytes": "80"})
	h.topics.create(t, "segment", 1, map[string]string{"segment.bytes": "1048576", "max.message.bytes": "4000000"})
	h.topics.create(t, "appendtime", 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	h.topics.create(t, "strict", 1, map[string]string{"message.timestamp.before.max.ms": "1000"})
	h.topics.create(t, "__consumer_offsets", 1, nil)
	h.topics.create(t, "moved", 1, nil)
	h.topics.lead(t, "moved", 0, catalog.Leadership{Broker: 2, Epoch: 3})
	h.topics.mu.Lock()
	h.topics.nodes = append(h.topics.nodes, Node{ID: 2, Host: "b2", Port: 9999})
	h.topics.mu.Unlock()
	hour := time.Hour.Milliseconds()
	now := time.Now().UnixMilli()
	setTimes := func(base, newest int64) func([]byte) {
		return func(b []byte) { put64(b[27:], base); put64(b[35:], newest) }
	}
	big, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: now, Value: make([]byte, 2*mib)}})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name    string
		topic   string
		records []byte
		version int16 // 0 stands for 9
		acks    int16 // 0 stands for -1
		want    protocol.Code
	}{
		{name: "good", topic: "plain", records: plainBatch(t, "x")},
		{name: "acks 1", topic: "plain", records: plainBatch(t, "x"), acks: 1},
		{name: "acks 2", topic: "plain", records: plainBatch(t, "x"), acks: 2, want: 21},
		{name: "no batch", topic: "plain", want: 87},
		{name: "two batches", topic: "plain", records: append(plainBatch(t, "x"), plainBatch(t, "y")...), want: 87},
		{name: "magic 1", topic: "plain", records: edited(t, func(b []byte) { b[16] = 1 }), want: 87},
		{name: "cut off", topic: "plain", records: plainBatch(t, "x")[:65], want: 2},
		{name: "crc", topic: "plain", records: func() []byte { b := plainBatch(t, "x"); b[len(b)-1] ^= 1; return b }(), want: 2},
		{name: "base offset", topic: "plain", records: edited(t, func(b []byte) { b[7] = 1 }), want: 87},
		{name: "control", topic: "plain", records: edited(t, func(b []byte) { b[22] |= 1 << 5 }), want: 87},
		{name: "no records", topic: "plain", records: edited(t, func(b []byte) { b[60] = 0 }), want: 87},
		{name: "count and delta", topic: "plain", records: edited(t, func(b []byte) { b[60] = 3 }), want: 87},
		{name: "producer without sequence", topic: "plain", records: edited(t, func(b []byte) { put64(b[43:], 5); b[51], b[52] = 0, 0 }), want: 87},
		{name: "transactional", topic: "plain", records: edited(t, func(b []byte) { b[22] |= 1 << 4 }), want: 53},
		{name: "codec 5", topic: "plain", records: edited(t, func(b []byte) { b[22] |= 5 }), want: 76},
		{name: "zstd at 6", topic: "plain", records: testBatch(t, protocol.BatchSpec{Attributes: 4, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}, "x"), version: 6, want: 76},
		{name: "zstd at 7", topic: "plain", records: testBatch(t, protocol.BatchSpec{Attributes: 4, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}, "x"), version: 7},
		{name: "too large", topic: "small", records: plainBatch(t, strings.Repeat("x", 40)), want: 10},
		{name: "over segment", topic: "segment", records: big, want: 18},
		{name: "log append time sent", topic: "plain", records: edited(t, func(b []byte) { b[22] |= 1 << 3 }), want: 32},
		{name: "log append time sent to such a topic", topic: "appendtime", records: edited(t, func(b []byte) { b[22] |= 1 << 3 })},
		{name: "from the future", topic: "plain", records: edited(t, setTimes(now+2*hour, now+2*hour)), want: 32},
		{name: "not that far ahead", topic: "plain", records: edited(t, setTimes(now, now+hour/2))},
		{name: "old", topic: "plain", records: edited(t, setTimes(5, 5))},
		{name: "too old", topic: "strict", records: edited(t, setTimes(now-5000, now)), want: 32},
		{name: "no timestamp", topic: "strict", records: edited(t, setTimes(-1, -1))},
		{name: "internal", topic: "__consumer_offsets", records: plainBatch(t, "x"), want: 17},
		{name: "unknown", topic: "nowhere", records: plainBatch(t, "x"), want: 3},
		{name: "elsewhere", topic: "moved", records: plainBatch(t, "x"), version: 10, want: 6},
	}
	c := h.dial(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c.t = t
			req := produceRequest(tc.topic, tc.records)
			if tc.acks != 0 {
				req.Acks = tc.acks
			}
			version := tc.version
			if version == 0 {
				version = 9
			}
			resp := ask[*kmsg.ProduceResponse](c, req, version)
			p := resp.Topics[0].Partitions[0]
			wantCode(t, tc.name, p.ErrorCode, tc.want)
			if (p.BaseOffset >= 0) != (tc.want == 0) {
				t.Errorf("base offset %d", p.BaseOffset)
			}
			if tc.want == 6 && (p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 3 || len(resp.Brokers) != 1 || resp.Brokers[0].Port != 9999) {
				t.Errorf("new leader %+v at %+v", p.CurrentLeader, resp.Brokers)
			}
			if tc.topic == "appendtime" && p.LogAppendTime < now {
				t.Errorf("append time %d", p.LogAppendTime)
			}
		})
	}
}

// TestLogAppendTimeIsStored: the stored batch has the broker's time and a correct checksum.
func TestLogAppendTimeIsStored(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, map[string]string{"message.timestamp.type": "LogAppendTime", "compression.type": "lz4"})
	resp := ask[*kmsg.ProduceResponse](h.dial(t), produceRequest("t", edited(t, func(b []byte) { put64(b[27:], 5); put64(b[35:], 5) })), 9)
	b := h.log.parts[partitionOf(h, "t")].batches[0]
	if err := protocol.VerifyCRC(b); err != nil {
		t.Error(err)
	}
	hd, err := protocol.ParseBatchHeader(b)
	if err != nil || !hd.Attributes.LogAppendTime() || hd.MaxTimestamp != resp.Topics[0].Partitions[0].LogAppendTime || hd.Attributes.Codec() != protocol.CodecLZ4 {
		t.Errorf("%+v %v", hd, err)
	}
	for r, err := range protocol.Records(b) {
		if err != nil || r.Timestamp != hd.MaxTimestamp {
			t.Errorf("%+v %v", r, err)
		}
	}
}

// TestTopicIDs: Produce 13 and Fetch 13 name topics by id. The id of a topic that was deleted and
// created again is unknown (docs/kafka-behaviour.md).
func TestTopicIDs(t *testing.T) {
	h := startTCP(t, Config{})
	old := h.topics.create(t, "t", 1, nil)
	if err := h.topics.DeleteTopic(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	topic := h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	for _, tc := range []struct {
		id   ident.TopicID
		want protocol.Code
	}{{topic.ID, 0}, {old.ID, 100}, {ident.TopicID{}, 100}} {
		p := produceRequest("", plainBatch(t, "x"))
		p.Topics[0].TopicID = tc.id
		wantCode(t, "produce", ask[*kmsg.ProduceResponse](c, p, 13).Topics[0].Partitions[0].ErrorCode, tc.want)
		f := fetchRequest("", 0, 1, 0)
		f.Topics[0].TopicID = tc.id
		resp := ask[*kmsg.FetchResponse](c, f, 13)
		wantCode(t, "fetch", resp.Topics[0].Partitions[0].ErrorCode, tc.want)
		if resp.Topics[0].TopicID != tc.id || resp.SessionID != 0 {
			t.Errorf("fetch answered %+v", resp)
		}
	}
}

func TestFetchRules(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	h.topics.create(t, "moved", 1, nil)
	h.topics.lead(t, "moved", 0, catalog.Leadership{Broker: 2, Epoch: 3})
	c := h.dial(t)
	ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "a", "b")), 9)
	for version := int16(4); version <= 12; version++ {
		for _, tc := range []struct {
			topic  string
			offset int64
			want   protocol.Code
		}{{"t", 0, 0}, {"t", 1, 0}, {"t", 2, 0}, {"t", 3, 1}, {"moved", 0, 6}, {"nowhere", 0, 3}} {
			resp := ask[*kmsg.FetchResponse](c, fetchRequest(tc.topic, tc.offset, 1, 0), version)
			p := resp.Topics[0].Partitions[0]
			wantCode(t, fmt.Sprintf("%s@%d v%d", tc.topic, tc.offset, version), p.ErrorCode, tc.want)
			if data := tc.topic == "t" && tc.offset < 2; (len(p.RecordBatches) > 0) != data || p.RecordBatches == nil {
				t.Errorf("%s@%d: %d bytes", tc.topic, tc.offset, len(p.RecordBatches))
			}
			if tc.want == 1 && (p.HighWatermark != -1 || p.LastStableOffset != -1) {
				t.Errorf("out of range with high watermark %d", p.HighWatermark)
			}
		}
	}
	committed := fetchRequest("t", 0, 1, 0)
	committed.IsolationLevel = 1
	if p := ask[*kmsg.FetchResponse](c, committed, 11).Topics[0].Partitions[0]; p.AbortedTransactions == nil || len(p.AbortedTransactions) != 0 {
		t.Errorf("read_committed: %v", p.AbortedTransactions)
	}
	incremental := fetchRequest("t", 0, 1, 0)
	incremental.SessionID, incremental.SessionEpoch = 77, 1
	if resp := ask[*kmsg.FetchResponse](c, incremental, 11); resp.ErrorCode != 70 || len(resp.Topics) != 0 {
		t.Errorf("incremental: %d, %d topics", resp.ErrorCode, len(resp.Topics))
	}
	replica := fetchRequest("t", 0, 1, 0)
	replica.ReplicaID = 3
	wantCode(t, "replica", ask[*kmsg.FetchResponse](c, replica, 11).Topics[0].Partitions[0].ErrorCode, 29)
}

func TestListOffsets(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	now := time.Now().UnixMilli()
	b, err := protocol.BuildBatch(protocol.BatchSpec{Attributes: 1, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1},
		[]protocol.Record{{Timestamp: now - 20}, {Timestamp: now - 10}, {Timestamp: now}})
	if err != nil {
		t.Fatal(err)
	}
	ask[*kmsg.ProduceResponse](c, produceRequest("t", b), 9)
	for _, tc := range []struct {
		timestamp int64
		version   int16
		offset    int64
		at        int64
		want      protocol.Code
	}{
		{-1, 1, 3, -1, 0}, {-2, 1, 0, -1, 0}, {now - 10, 4, 1, now - 10, 0}, {now + 1, 4, -1, -1, 0},
		{-3, 6, -1, -1, 35}, {-4, 7, -1, -1, 35}, {-4, 8, 0, -1, 0}, {-5, 8, -1, -1, 35}, {-5, 9, -1, -1, 0}, {-6, 10, -1, -1, 35}, {-6, 11, -1, -1, 0}, {-7, 11, -1, -1, 35},
	} {
		req := kmsg.NewPtrListOffsetsRequest()
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Timestamp, rp.CurrentLeaderEpoch = tc.timestamp, -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{rp}}}
		p := ask[*kmsg.ListOffsetsResponse](c, req, tc.version).Topics[0].Partitions[0]
		if p.ErrorCode != int16(tc.want) || p.Offset != tc.offset || p.Timestamp != tc.at {
			t.Errorf("timestamp %d at version %d: %+v, want offset %d, %s", tc.timestamp, tc.version, p, tc.offset, tc.want)
		}
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
		wantCode(t, "twice", ask[*kmsg.ListOffsetsResponse](c, req, tc.version).Topics[0].Partitions[1].ErrorCode, 42)
	}
	h.log.mu.Lock()
	h.log.offsetFn = func(int64) (storage.OffsetAt, error) { return storage.OffsetAt{}, storage.ErrNotReady }
	h.log.mu.Unlock()
	for version, want := range map[int16]protocol.Code{4: 5, 5: 78} {
		req := kmsg.NewPtrListOffsetsRequest()
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Timestamp = -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{rp}}}
		wantCode(t, "loading", ask[*kmsg.ListOffsetsResponse](c, req, version).Topics[0].Partitions[0].ErrorCode, want)
	}
}

func TestMetadata(t *testing.T) {
	h := startTCP(t, Config{})
	topic := h.topics.create(t, "known", 2, nil)
	c := h.dial(t)
	byName := func(name string, auto bool) *kmsg.MetadataRequest {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = auto
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		return req
	}
	for _, tc := range []struct {
		name    string
		auto    bool
		version int16
		want    protocol.Code
	}{
		{"known", false, 9, 0}, {"missing", false, 9, 3}, {"bad name!", true, 9, 17}, {"made", true, 9, 0}, {"made-old", false, 3, 0}, {"__transaction_state", true, 9, 3}, {"ma_de.x", true, 9, 0}, {"ma.de.x", true, 9, 17},
	} {
		resp := ask[*kmsg.MetadataResponse](c, byName(tc.name, tc.auto), tc.version)
		wantCode(t, tc.name, resp.Topics[0].ErrorCode, tc.want)
		if resp.ControllerID != 1 || len(resp.Brokers) != 1 || resp.ClusterID == nil && tc.version >= 2 {
			t.Errorf("%s: %+v", tc.name, resp)
		}
	}
	all := kmsg.NewPtrMetadataRequest()
	if got := len(ask[*kmsg.MetadataResponse](c, all, 1).Topics); got != 4 {
		t.Errorf("null at version 1 lists %d topics, want 4", got)
	}
	none := kmsg.NewPtrMetadataRequest()
	none.Topics = []kmsg.MetadataRequestTopic{}
	if got := len(ask[*kmsg.MetadataResponse](c, none, 1).Topics); got != 0 {
		t.Errorf("an empty list at version 1 lists %d topics, want 0", got)
	}
	if got := len(ask[*kmsg.MetadataResponse](c, none, 0).Topics); got != 4 {
		t.Errorf("an empty list at version 0 lists %d topics, want all 4", got)
	}
	byID := kmsg.NewPtrMetadataRequest()
	byID.Topics = []kmsg.MetadataRequestTopic{{TopicID: topic.ID}, {TopicID: [16]byte{9}}}
	resp := ask[*kmsg.MetadataResponse](c, byID, 12)
	if *resp.Topics[0].Topic != "known" || resp.Topics[1].ErrorCode != 100 || resp.Topics[1].Topic != nil {
		t.Errorf("by id: %+v", resp.Topics)
	}
	wantCode(t, "id at version 11", ask[*kmsg.MetadataResponse](c, &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{TopicID: topic.ID, Topic: kmsg.StringPtr("known")}}}, 11).Topics[0].ErrorCode, 42)
}

// TestReplicationFactorIsShown: as many replicas are shown as were asked for: the leader first,
// then other live brokers, then the leader again (docs/kafka-behaviour.md).
func TestReplicationFactorIsShown(t *testing.T) {
	nodes := []Node{{ID: 1}, {ID: 2}}
	for factor, want := range map[int16]string{1: "[2]", 2: "[2 1]", 3: "[2 1 2]", 5: "[2 1 2 2 2]"} {
		if got := fmt.Sprint(replicas(2, factor, nodes)); got != want {
			t.Errorf("factor %d: %s, want %s", factor, got, want)
		}
	}
}

func TestApiVersions(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	// Version 99: header v0, body v0, error 35, and only the range of ApiVersions
	// (docs/kafka-behaviour.md).
	c.write([]byte{0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff})
	id, body, err := c.frame()
	if want := "00230000000100120000" + "0004"; err != nil || id != 7 || fmt.Sprintf("%x", body) != want {
		t.Errorf("version 99: id %d, %x, %v; want %s", id, body, err, want)
	}
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1.0"
		resp := ask[*kmsg.ApiVersionsResponse](c, req, version)
		listed := map[int16]string{}
		for _, k := range resp.ApiKeys {
			listed[k.ApiKey] = fmt.Sprintf("%d-%d", k.MinVersion, k.MaxVersion)
		}
		if len(listed) != len(apis) || listed[0] != "0-13" || listed[1] != "4-18" {
			t.Errorf("version %d lists %v", version, listed)
		}
		if version >= 3 && (resp.FinalizedFeaturesEpoch < 0 || len(resp.FinalizedFeatures) != 1 || resp.FinalizedFeatures[0].Name != "metadata.version") {
			t.Errorf("features %+v", resp)
		}
	}
	for _, bad := range []string{"", "-x", "x.", "a b"} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = bad, "1"
		wantCode(t, bad, ask[*kmsg.ApiVersionsResponse](c, req, 3).ErrorCode, 42)
	}
}

func TestProducerIDs(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	req := kmsg.NewPtrInitProducerIDRequest()
	first, second := ask[*kmsg.InitProducerIDResponse](c, req, 5), ask[*kmsg.InitProducerIDResponse](c, req, 0)
	if first.ErrorCode != 0 || first.ProducerEpoch != 0 || second.ProducerID <= first.ProducerID {
		t.Errorf("ids %+v %+v", first, second)
	}
	req.TransactionalID = kmsg.StringPtr("tx")
	wantCode(t, "transactional", ask[*kmsg.InitProducerIDResponse](c, req, 4).ErrorCode, 53)
	req.TransactionalID = kmsg.StringPtr("")
	wantCode(t, "empty", ask[*kmsg.InitProducerIDResponse](c, req, 4).ErrorCode, 42)
	h.topics.mu.Lock()
	h.topics.fail = catalog.ErrUnavailable
	h.topics.mu.Unlock()
	wantCode(t, "no quorum", ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4).ErrorCode, 14)
}

func TestCreateTopics(t *testing.T) {
	h := startTCP(t, Config{PartitionsDefault: 3})
	h.topics.create(t, "there", 1, nil)
	h.topics.create(t, "with.dot", 1, nil)
	c := h.dial(t)
	s := kmsg.StringPtr
	for _, tc := range []struct {
		name       string
		topic      string
		partitions int32
		factor     int16
		configs    []kmsg.CreateTopicsRequestTopicConfig
		assignment []kmsg.CreateTopicsRequestTopicReplicaAssignment
		want       protocol.Code
	}{
		{name: "good", topic: "good", partitions: 2, factor: 3},
		{name: "defaults", topic: "defaults", partitions: -1, factor: -1},
		{name: "exists", topic: "there", partitions: 1, factor: 1, want: 36},
		{name: "collides", topic: "with_dot", partitions: 1, factor: 1, want: 17},
		{name: "bad name", topic: "a/b", partitions: 1, factor: 1, want: 17},
		{name: "reserved", topic: "__cluster_metadata", partitions: 1, factor: 1, want: 17},
		{name: "no partitions", topic: "x", partitions: 0, factor: 1, want: 37},
		{name: "no replicas", topic: "x", partitions: 1, factor: 0, want: 38},
		{name: "more replicas than anybody has", topic: "x", partitions: 1, factor: 33, want: 38},
		{name: "too many", topic: "x", partitions: 20_000, factor: 1, want: 44},
		{name: "unknown config", topic: "x", partitions: 1, factor: 1, configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "nonsense", Value: s("1")}}, want: 40},
		{name: "bad value", topic: "x", partitions: 1, factor: 1, configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: s("soon")}}, want: 40},
		{name: "null value", topic: "x", partitions: 1, factor: 1, configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}, want: 40},
		{name: "compact", topic: "compacted", partitions: 1, factor: 1, configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "cleanup.policy", Value: s("compact")}}},
		{name: "assigned", topic: "assigned", partitions: -1, factor: -1, assignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1}}, {Partition: 1, Replicas: []int32{1}}}},
		{name: "assigned with a gap", topic: "x", partitions: -1, factor: -1, assignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1}}, {Partition: 2, Replicas: []int32{1}}}, want: 39},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.t = t
			req := kmsg.NewPtrCreateTopicsRequest()
			req.TimeoutMillis = 5000
			req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: tc.topic, NumPartitions: tc.partitions, ReplicationFactor: tc.factor, Configs: tc.configs, ReplicaAssignment: tc.assignment}}
			req.ValidateOnly = true
			wantCode(t, "validate", ask[*kmsg.CreateTopicsResponse](c, req, 7).Topics[0].ErrorCode, tc.want)
			req.ValidateOnly = false
			resp := ask[*kmsg.CreateTopicsResponse](c, req, 7).Topics[0]
			wantCode(t, "create", resp.ErrorCode, tc.want)
			if tc.want == 0 && (resp.TopicID == [16]byte{} || len(resp.Configs) != len(catalog.TopicConfigKeys()) || resp.NumPartitions < 1) {
				t.Errorf("%+v", resp)
			}
		})
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	twice := kmsg.CreateTopicsRequestTopic{Topic: "twice", NumPartitions: 1, ReplicationFactor: 1}
	req.Topics = []kmsg.CreateTopicsRequestTopic{twice, twice}
	if resp := ask[*kmsg.CreateTopicsResponse](c, req, 5); len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 42 {
		t.Errorf("twice: %+v", resp.Topics)
	}
	if created, _ := h.topics.TopicByName("defaults"); len(created.Partitions) != 3 {
		t.Errorf("default is %d partitions", len(created.Partitions))
	}
}

// The topics of one request are created several at once, and deleted several at once. Each answer
// is that of its own topic.
func TestCreateAndDeleteManyTopics(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 5000
	var want []protocol.Code
	add := func(name string, code protocol.Code) {
		create.Topics = append(create.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 2, ReplicationFactor: 1})
		want = append(want, code)
	}
	for i := range 3 * changesTogether {
		add(fmt.Sprint("many-", i), 0)
	}
	add("one.of", 0)
	add("one_of", 17) // collides with the topic before
	add("not/good", 17)
	created := ask[*kmsg.CreateTopicsResponse](c, create, 7).Topics
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis = 5000
	for i, code := range want {
		name := create.Topics[i].Topic
		wantCode(t, name, created[i].ErrorCode, code)
		if created[i].Topic != name {
			t.Fatalf("answer %d is %s's, want %s's", i, created[i].Topic, name)
		}
		topic, ok := h.topics.TopicByName(name)
		if ok != (code == 0) || ok && [16]byte(topic.ID) != created[i].TopicID {
			t.Errorf("%s: exists %v, answered id %x", name, ok, created[i].TopicID)
		}
		del.Topics = append(del.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		want[i] = min(code, 3)
	}
	deleted := ask[*kmsg.DeleteTopicsResponse](c, del, 6).Topics
	for i, code := range want {
		wantCode(t, create.Topics[i].Topic, deleted[i].ErrorCode, code)
		if *deleted[i].Topic != create.Topics[i].Topic {
			t.Errorf("answer %d is %s's, want %s's", i, *deleted[i].Topic, create.Topics[i].Topic)
		}
	}
	if left := h.topics.AllTopics(); len(left) > 0 {
		t.Errorf("%d topics are left", len(left))
	}
}

func TestDeleteTopicsAndCreatePartitions(t *testing.T) {
	h := startTCP(t, Config{})
	c := h.dial(t)
	topic := h.topics.create(t, "t", 2, nil)
	h.topics.create(t, "u", 1, nil)
	grow := func(count int32, assigned int) int16 {
		req := kmsg.NewPtrCreatePartitionsRequest()
		rt := kmsg.CreatePartitionsRequestTopic{Topic: "t", Count: count}
		for range assigned {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: []int32{1}})
		}
		req.Topics = []kmsg.CreatePartitionsRequestTopic{rt}
		return ask[*kmsg.CreatePartitionsResponse](c, req, 3).Topics[0].ErrorCode
	}
	wantCode(t, "not more", grow(2, 0), 37)
	wantCode(t, "wrong assignment", grow(4, 1), 39)
	wantCode(t, "grow", grow(4, 2), 0)
	if now, _ := h.topics.TopicByName("t"); len(now.Partitions) != 4 {
		t.Errorf("%d partitions", len(now.Partitions))
	}

	s := kmsg.StringPtr
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		{TopicID: topic.ID}, {Topic: s("nowhere")}, {TopicID: [16]byte{7}}, {}, {Topic: s("u"), TopicID: [16]byte{7}},
	}
	var got []int16
	resp := ask[*kmsg.DeleteTopicsResponse](c, req, 6)
	for _, rt := range resp.Topics {
		got = append(got, rt.ErrorCode)
	}
	if want := []int16{0, 3, 100, 42, 42}; !slices.Equal(got, want) || *resp.Topics[0].Topic != "t" {
		t.Errorf("delete: %v, want %v", got, want)
	}
	byName := kmsg.NewPtrDeleteTopicsRequest()
	byName.TopicNames = []string{"u", "u"}
	wantCode(t, "twice", ask[*kmsg.DeleteTopicsResponse](c, byName, 4).Topics[0].ErrorCode, 42)
	byName.TopicNames = []string{"u"}
	wantCode(t, "by name", ask[*kmsg.DeleteTopicsResponse](c, byName, 1).Topics[0].ErrorCode, 0)
	if left := h.topics.AllTopics(); len(left) != 0 {
		t.Errorf("%d topics are left", len(left))
	}
}

func TestConfigs(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, map[string]string{"retention.ms": "1000", "segment.ms": "5000"})
	c := h.dial(t)
	s := kmsg.StringPtr
	incremental := func(configs ...kmsg.IncrementalAlterConfigsRequestResourceConfig) int16 {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: configs}}
		return ask[*kmsg.IncrementalAlterConfigsResponse](c, req, 1).Resources[0].ErrorCode
	}
	type change = kmsg.IncrementalAlterConfigsRequestResourceConfig
	set := func(k, v string) change { return change{Name: k, Op: kmsg.IncrementalAlterConfigOpSet, Value: s(v)} }
	configs := func() map[string]string { topic, _ := h.topics.TopicByName("t"); return topic.Configs }

	wantCode(t, "set", incremental(set("max.message.bytes", "2000"), change{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpDelete}), 0)
	if got := fmt.Sprint(configs()); got != "map[max.message.bytes:2000 segment.ms:5000]" {
		t.Errorf("after set and delete: %s", got)
	}
	wantCode(t, "append", incremental(change{Name: "cleanup.policy", Op: kmsg.IncrementalAlterConfigOpAppend, Value: s("compact,delete")}), 0)
	if got := configs()["cleanup.policy"]; got != "delete,compact" {
		t.Errorf("append gave %q", got)
	}
	wantCode(t, "subtract", incremental(change{Name: "cleanup.policy", Op: kmsg.IncrementalAlterConfigOpSubtract, Value: s("delete")}), 0)
	if got := configs()["cleanup.policy"]; got != "compact" {
		t.Errorf("subtract gave %q", got)
	}
	wantCode(t, "append to a number", incremental(change{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpAppend, Value: s("1")}), 40)
	wantCode(t, "bad", incremental(set("retention.ms", "x")), 40)
	wantCode(t, "twice", incremental(set("retention.ms", "1"), set("retention.ms", "2")), 42)
	wantCode(t, "null", incremental(change{Name: "retention.ms"}), 42)
	wantCode(t, "durability", incremental(set("sluice.durability", "object")), 40)
	wantCode(t, "all or nothing", incremental(set("retention.bytes", "5"), set("nonsense", "1")), 40)
	if _, ok := configs()["retention.bytes"]; ok {
		t.Error("half of a refused change was made")
	}

	d := kmsg.NewPtrDescribeConfigsRequest()
	d.IncludeSynonyms = true
	d.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", ConfigNames: []string{"segment.ms", "nonsense"}},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "nowhere"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "2"},
		{ResourceType: kmsg.ConfigResourceTypeBroker},
	}
	r := ask[*kmsg.DescribeConfigsResponse](c, d, 4).Resources
	if len(r[0].Configs) != len(catalog.TopicConfigKeys()) || len(r[1].Configs) != 1 || *r[1].Configs[0].Value != "5000" ||
		r[1].Configs[0].Source != kmsg.ConfigSourceDynamicTopicConfig || len(r[1].Configs[0].ConfigSynonyms) != 1 {
		t.Errorf("describe: %+v", r[1])
	}
	for i, want := range []protocol.Code{0, 0, 3, 0, 42, 0} {
		wantCode(t, fmt.Sprint("resource ", i), r[i].ErrorCode, want)
	}
	broker := map[string]string{}
	for _, k := range r[3].Configs {
		if k.Value != nil {
			broker[k.Name] = *k.Value
		}
	}
	if broker["default.replication.factor"] != "1" || broker["delete.topic.enable"] != "true" || broker["message.max.bytes"] != "1048588" || len(r[5].Configs) != 0 {
		t.Errorf("broker: %v", broker)
	}

	a := kmsg.NewPtrAlterConfigsRequest()
	a.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: s("7")}}}}
	wantCode(t, "alter", ask[*kmsg.AlterConfigsResponse](c, a, 2).Resources[0].ErrorCode, 0)
	if got := fmt.Sprint(configs()); got != "map[retention.ms:7]" {
		t.Errorf("AlterConfigs left %s: it replaces all", got)
	}
	// A change acts on the next produce.
	wantCode(t, "limit", incremental(set("max.message.bytes", "70")), 0)
	wantCode(t, "too large now", ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "longer than that")), 9).Topics[0].Partitions[0].ErrorCode, 10)
}

func TestDescribe(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "a", 3, nil)
	h.topics.create(t, "b", 2, nil)
	c := h.dial(t)
	var got []string
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2
	for range 10 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, req, 0)
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				got = append(got, fmt.Sprintf("%s%d", *rt.Topic, p.Partition))
			}
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	if fmt.Sprint(got) != "[a0 a1 a2 b0 b1]" {
		t.Errorf("pages gave %v", got)
	}
	cl := kmsg.NewPtrDescribeClusterRequest()
	cl.EndpointType = 1
	if resp := ask[*kmsg.DescribeClusterResponse](c, cl, 2); resp.ErrorCode != 0 || len(resp.Brokers) != 1 || resp.ClusterID == "" || resp.ControllerID != 1 {
		t.Errorf("cluster: %+v", resp)
	}
	cl.EndpointType = 2
	wantCode(t, "controllers", ask[*kmsg.DescribeClusterResponse](c, cl, 1).ErrorCode, 114)

	e := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.LeaderEpoch, rp.CurrentLeaderEpoch = 0, -1
	ahead := rp
	ahead.Partition, ahead.CurrentLeaderEpoch = 1, 5
	e.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "a", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{rp, ahead}}}
	ps := ask[*kmsg.OffsetForLeaderEpochResponse](c, e, 2).Topics[0].Partitions
	if ps[0].ErrorCode != 0 || ps[0].EndOffset != 0 || ps[0].LeaderEpoch != 0 || ps[1].ErrorCode != 75 || ps[1].EndOffset != -1 {
		t.Errorf("epochs: %+v", ps)
	}
}

// TestDeniedEverything: with nothing allowed, no API at any version shows or changes anything
// (docs/lessons.md).
func TestDeniedEverything(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, Config{}, l, func(Need, string) bool { return false })
	topic := h.topics.create(t, "secret", 1, nil)
	before := fmt.Sprint(h.topics.AllTopics()[0])
	s := kmsg.StringPtr
	requests := map[int16]func(version int16) kmsg.Request{
		0: func(v int16) kmsg.Request {
			r := produceRequest("secret", plainBatch(t, "x"))
			r.Topics[0].TopicID = topic.ID
			return r
		},
		1: func(v int16) kmsg.Request {
			r := fetchRequest("secret", 0, 1, 0)
			r.Topics[0].TopicID = topic.ID
			return r
		},
		2: func(int16) kmsg.Request {
			return &kmsg.ListOffsetsRequest{Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "secret", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1}}}}}
		},
		3: func(v int16) kmsg.Request {
			return &kmsg.MetadataRequest{AllowAutoTopicCreation: true, Topics: []kmsg.MetadataRequestTopic{{Topic: s("secret")}, {Topic: s("new")}}}
		},
		18: func(int16) kmsg.Request {
			return &kmsg.ApiVersionsRequest{ClientSoftwareName: "a", ClientSoftwareVersion: "b"}
		},
		19: func(int16) kmsg.Request {
			return &kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}}
		},
		20: func(int16) kmsg.Request {
			return &kmsg.DeleteTopicsRequest{TopicNames: []string{"secret"}, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: s("secret")}, {TopicID: topic.ID}}}
		},
		21: func(int16) kmsg.Request { return deleteRequest("secret", 0, 0) },
		22: func(int16) kmsg.Request { return kmsg.NewPtrInitProducerIDRequest() },
		23: func(int16) kmsg.Request {
			return &kmsg.OffsetForLeaderEpochRequest{Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "secret", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{}}}}}
		},
		32: func(int16) kmsg.Request {
			return &kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "secret"}, {ResourceType: 4, ResourceName: "1"}}}
		},
		33: func(int16) kmsg.Request {
			return &kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "secret", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: s("1")}}}}}
		},
		35: func(int16) kmsg.Request { return kmsg.NewPtrDescribeLogDirsRequest() },
		37: func(int16) kmsg.Request {
			return &kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "secret", Count: 9}}}
		},
		43: func(int16) kmsg.Request {
			return &kmsg.ElectLeadersRequest{Topics: []kmsg.ElectLeadersRequestTopic{{Topic: "secret", Partitions: []int32{0}}}}
		},
		45: func(int16) kmsg.Request { return &kmsg.AlterPartitionAssignmentsRequest{} },
		46: func(int16) kmsg.Request { return &kmsg.ListPartitionReassignmentsRequest{} },
		55: func(int16) kmsg.Request { return &kmsg.DescribeQuorumRequest{} },
		57: func(int16) kmsg.Request { return &kmsg.UpdateFeaturesRequest{} },
		61: func(int16) kmsg.Request {
			return &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "secret", Partitions: []int32{0}}}}
		},
		44: func(int16) kmsg.Request {
			return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "secret", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: s("1")}}}}}
		},
		60: func(int16) kmsg.Request { return &kmsg.DescribeClusterRequest{EndpointType: 1} },
		75: func(int16) kmsg.Request {
			return &kmsg.DescribeTopicPartitionsRequest{Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "secret"}}}
		},
	}
	maps.Copy(requests, groupRequests("secret", topic.ID))
	c := h.dial(t)
	for key, a := range apis {
		request, ok := requests[key]
		if !ok {
			t.Errorf("%s has no request here", a.name)
			continue
		}
		for version := a.versions.low; version <= a.versions.high; version++ {
			req := request(version)
			resp := c.receive(req, c.send(req, version))
			text := fmt.Sprintf("%+v", resp)
			if a.needs != anyone && !strings.Contains(text, "ErrorCode:29") && !strings.Contains(text, "ErrorCode:31") && !strings.Contains(text, "ErrorCode:100") && !strings.Contains(text, "ErrorCode:30") && !strings.Contains(text, "Groups:[]") && !strings.Contains(text, "Dirs:[]") {
				t.Errorf("%s was not refused: %s", name(req, version), text)
			}
		}
	}
	if after := h.topics.AllTopics(); len(after) != 1 || fmt.Sprint(after[0]) != before || h.topics.producer != 1000 {
		t.Errorf("something changed: %v", after)
	}
}
