package broker

import (
	"fmt"
	"testing"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestProduceRefusedByTheLog: each refusal by the log becomes its own code. A batch that may have
// been written is never answered with a code that says that it was not. A producer at the wrong
// broker is told the right one.
func TestProduceRefusedByTheLog(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	c := h.dial(t)
	elsewhere := &storage.NotLeaderError{Leader: storage.Leader{Broker: 3, Epoch: 8}}
	for _, tc := range []struct {
		err    error
		want   protocol.Code
		leader int32
		epoch  ident.Epoch
	}{
		{storage.ErrLeadershipLost, 7, -1, -1},
		{fmt.Errorf("%w: no space", storage.ErrWALFailed), 7, -1, -1},
		{fmt.Errorf("x: %w", elsewhere), 6, 3, 8},
		{storage.ErrNotLeader, 6, -1, -1},
		{storage.ErrNotReady, 5, -1, -1},
	} {
		h.log.mu.Lock()
		h.log.fail = tc.err
		h.log.mu.Unlock()
		p := ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "x")), 10).Topics[0].Partitions[0]
		wantCode(t, tc.err.Error(), p.ErrorCode, tc.want)
		if p.CurrentLeader.LeaderID != tc.leader || p.CurrentLeader.LeaderEpoch != int32(tc.epoch) {
			t.Errorf("%v: leader %+v", tc.err, p.CurrentLeader)
		}
	}
}

// TestTheLogSaysWhoLeads: the broker's own view of the leaders may be older or newer than the
// log's. Only the log decides, under its lock.
func TestTheLogSaysWhoLeads(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 1, nil)
	h.log.leaders = newMemoryTopics() // this log has not heard of any change
	h.topics.lead(t, "t", 0, catalog.Leadership{Broker: 2, Epoch: 3})
	c := h.dial(t)
	produced := ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "x")), 10).Topics[0].Partitions[0]
	wantCode(t, "produce", produced.ErrorCode, 0)
	deleted := ask[*kmsg.DeleteRecordsResponse](c, deleteRequest("t", 0, 0), 2).Topics[0].Partitions[0]
	wantCode(t, "delete records", deleted.ErrorCode, 0)
	list := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = storage.TimestampLatest
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	listed := ask[*kmsg.ListOffsetsResponse](c, list, 7).Topics[0].Partitions[0]
	wantCode(t, "list offsets", listed.ErrorCode, 0)
	fetch := kmsg.NewPtrFetchRequest()
	of := kmsg.NewFetchRequestTopicPartition()
	of.PartitionMaxBytes, of.CurrentLeaderEpoch = 1<<20, -1
	fetch.MaxBytes, fetch.ReplicaID = 1<<20, -1
	fetch.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{of}}}
	fetched := ask[*kmsg.FetchResponse](c, fetch, 12).Topics[0].Partitions[0]
	wantCode(t, "fetch", fetched.ErrorCode, 0)
	if len(fetched.RecordBatches) == 0 {
		t.Error("nothing was fetched")
	}
}
