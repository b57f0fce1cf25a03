package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/protocol"
)

// TestE8_PartitionTwiceInARequest: a partition is lined up once, whichever entry of its topic names
// it. Among hundreds of partitions none is taken for another.
func TestE8_PartitionTwiceInARequest(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		const partitions = 300
		h.topics.create(t, "t", partitions, nil)
		h.topics.create(t, "u", partitions, nil)
		c := dial()
		batches := func(n int) (list [][]byte) {
			for range n {
				list = append(list, plainBatch(t, "x"))
			}
			return list
		}
		req := produceRequest("t", batches(partitions)...)
		for _, more := range []*kmsg.ProduceRequest{
			produceRequest("u", batches(partitions)...), // the same numbers in another topic
			produceRequest("t", batches(partitions)...), // all partitions of t again
			produceRequest("u", batches(70)...),
		} {
			req.Topics = append(req.Topics, more.Topics...)
		}
		resp := c.receive(req, c.send(req, 9)).(*kmsg.ProduceResponse)
		for i, want := range []protocol.Code{protocol.CodeNone, protocol.CodeNone, protocol.CodeInvalidRecord, protocol.CodeInvalidRecord} {
			for _, p := range resp.Topics[i].Partitions {
				if protocol.Code(p.ErrorCode) != want {
					t.Fatalf("entry %d, %s-%d: %d, want %d", i, resp.Topics[i].Topic, p.Partition, p.ErrorCode, want)
				}
			}
		}
		within := produceRequest("t", batches(3)...)
		within.Topics[0].Partitions[2].Partition = 0
		resp = c.receive(within, c.send(within, 9)).(*kmsg.ProduceResponse)
		for i, want := range []protocol.Code{protocol.CodeNone, protocol.CodeNone, protocol.CodeInvalidRecord} {
			if got := resp.Topics[0].Partitions[i].ErrorCode; protocol.Code(got) != want {
				t.Errorf("place %d: %d, want %d", i, got, want)
			}
		}
	})
}
