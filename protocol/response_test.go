package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func join(buffers [][]byte) []byte { return bytes.Join(buffers, nil) }

var testRack = "rack-a"

// TestProduceResponseMatchesKmsg: our bytes are those of kmsg for the same answer, at every
// version.
func TestProduceResponseMatchesKmsg(t *testing.T) {
	topics := []ProducedTopic{
		{Name: "a", ID: [16]byte{1}, Partitions: []ProducedPartition{
			{Index: 0, BaseOffset: 42, AppendTime: -1, LogStart: 3, Leader: NewLeader{-1, -1}},
			{Index: 7, Code: CodeMessageTooLarge, BaseOffset: -1, AppendTime: -1, LogStart: -1, Message: "too large", Leader: NewLeader{-1, -1}},
		}},
		{Name: "bb", ID: [16]byte{2}, Partitions: []ProducedPartition{
			{Index: 1, Code: CodeNotLeaderOrFollower, BaseOffset: -1, AppendTime: 99, LogStart: -1, Leader: NewLeader{2, 5}},
		}},
	}
	nodes := []Node{{ID: 2, Host: "b2", Port: 9093, Rack: &testRack}, {ID: 3, Host: "b3", Port: 9094}}
	for version := int16(3); version <= 13; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			want := kmsg.NewPtrProduceResponse()
			want.SetVersion(version)
			want.ThrottleMillis = 1234
			for _, topic := range topics {
				rt := kmsg.ProduceResponseTopic{Topic: topic.Name, TopicID: topic.ID}
				for _, p := range topic.Partitions {
					rp := kmsg.NewProduceResponseTopicPartition()
					rp.Partition, rp.ErrorCode, rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = p.Index, int16(p.Code), p.BaseOffset, p.AppendTime, p.LogStart
					if p.Message != "" {
						rp.ErrorMessage = &p.Message
					}
					if version >= 10 {
						rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = p.Leader.Broker, p.Leader.Epoch
					}
					rt.Partitions = append(rt.Partitions, rp)
				}
				want.Topics = append(want.Topics, rt)
			}
			if version >= 10 {
				for _, n := range nodes {
					want.Brokers = append(want.Brokers, kmsg.ProduceResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port, Rack: n.Rack})
				}
			}
			if diff := cmp.Diff(want.AppendTo(nil), AppendProduceResponse(nil, version, topics, 1234, nodes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFetchResponseMatchesKmsg: our bytes are those of kmsg, and the record bytes are not copied.
func TestFetchResponseMatchesKmsg(t *testing.T) {
	batches := [][]byte{bytes.Repeat([]byte("x"), 300), []byte("second")}
	parts := []FetchedPartition{
		{Index: 0, HighWatermark: 10, LastStable: 9, LogStart: 1, Committed: true, Leader: NewLeader{-1, -1}, Batches: batches, Bytes: 306},
		{Index: 1, HighWatermark: 0, LastStable: 0, Leader: NewLeader{-1, -1}},
		{Index: 2, Code: CodeFencedLeaderEpoch, HighWatermark: -1, LastStable: -1, LogStart: -1, Leader: NewLeader{4, 8}},
		{Index: 3, HighWatermark: 7, LastStable: 7, Leader: NewLeader{-1, -1}, Batches: batches[1:], Bytes: 6},
	}
	nodes := []Node{{ID: 4, Host: "b4", Port: 9095, Rack: &testRack}}
	for version := int16(4); version <= 18; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			r := NewFetchResponse(version, 77, CodeNone, 2)
			want := kmsg.NewPtrFetchResponse()
			want.SetVersion(version)
			for i, name := range []string{"one", "two"} {
				id := [16]byte{byte(i + 1)}
				rt := kmsg.FetchResponseTopic{Topic: name, TopicID: id}
				r.Topic(name, id, len(parts))
				for k := range parts {
					r.Partition(&parts[k])
					rt.Partitions = append(rt.Partitions, kmsgFetched(&parts[k], version))
				}
				r.EndTopic()
				want.Topics = append(want.Topics, rt)
			}
			if version >= 16 {
				want.Brokers = []kmsg.FetchResponseBroker{{NodeID: 4, Host: "b4", Port: 9095, Rack: &testRack}}
			}
			buffers, n := r.Buffers(nodes)
			got := join(buffers)
			if len(got) != n || int(binary.BigEndian.Uint32(got)) != n-4 {
				t.Errorf("length %d, said %d and %d", len(got), n, binary.BigEndian.Uint32(got))
			}
			body := want.AppendTo(AppendResponseHeader(nil, 1, version, 77))
			if diff := cmp.Diff(body, got[4:]); diff != "" {
				t.Error(diff)
			}
			if &buffers[1][0] != &batches[0][0] {
				t.Error("record bytes were copied")
			}
		})
	}
}

func kmsgFetched(p *FetchedPartition, version int16) kmsg.FetchResponseTopicPartition {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.ErrorCode, rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = p.Index, int16(p.Code), p.HighWatermark, p.LastStable, p.LogStart
	if p.Committed {
		rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	}
	rp.PreferredReadReplica = -1
	rp.RecordBatches = append([]byte{}, join(p.Batches)...)
	if version >= 12 {
		rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = p.Leader.Broker, p.Leader.Epoch
	}
	return rp
}

func TestResponseHeader(t *testing.T) {
	for _, c := range []struct {
		key, version int16
		want         []byte
	}{
		{3, 8, []byte{0, 0, 0, 5}},
		{3, 9, []byte{0, 0, 0, 5, 0}},
		{18, 3, []byte{0, 0, 0, 5}}, // always header v0
	} {
		if got := AppendResponseHeader(nil, c.key, c.version, 5); !bytes.Equal(got, c.want) {
			t.Errorf("api %d version %d: %x, want %x", c.key, c.version, got, c.want)
		}
	}
}

func BenchmarkFetchResponse1000Empty(b *testing.B) {
	p := FetchedPartition{Leader: NewLeader{-1, -1}}
	for b.Loop() {
		r := NewFetchResponse(12, 1, CodeNone, 1)
		r.Topic("topic", [16]byte{}, 1000)
		for range 1000 {
			r.Partition(&p)
		}
		r.EndTopic()
		r.Buffers(nil)
	}
}
