package broker

import (
	"bytes"
	"testing"

	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// With delete.topic.enable=false nothing is deleted. The code is one that a client of the version
// knows.
func TestTopicDeletionOff(t *testing.T) {
	h := startTCP(t, Config{TopicDeletionOff: true})
	c := h.dial(t)
	topic := h.topics.create(t, "t", 1, nil)
	for version, want := range map[int16]protocol.Code{1: 42, 3: 73, 5: 73, 6: 73} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames = []string{"t"}
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: topic.ID}}
		wantCode(t, "delete", ask[*kmsg.DeleteTopicsResponse](c, req, version).Topics[0].ErrorCode, want)
	}
	if _, ok := h.topics.TopicByName("t"); !ok {
		t.Error("the topic is gone")
	}
}

// FetchBytesMax bounds an answer, whatever the client asks for. One batch comes at once, and later
// fetches get the others.
func TestFetchBytesMaxOfTheBroker(t *testing.T) {
	h := startTCP(t, Config{FetchBytesMax: 1 << 10})
	c := h.dial(t)
	h.topics.create(t, "t", 1, nil)
	batch := plainBatch(t, string(bytes.Repeat([]byte("x"), 900)))
	for range 3 {
		ask[*kmsg.ProduceResponse](c, produceRequest("t", bytes.Clone(batch)), 8)
	}
	resp := ask[*kmsg.FetchResponse](c, fetchRequest("t", 0, 1, 1000), 11)
	if got := len(resp.Topics[0].Partitions[0].RecordBatches); got != len(batch) {
		t.Errorf("%d bytes came, want one batch of %d", got, len(batch))
	}
}
