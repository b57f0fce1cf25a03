package broker

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// shutLog takes the log away, so that the broker is as it was before Open.
func (h *harness) shutLog() { h.opened = make(chan struct{}) }

// TestEarlyAnswers: before the log is open, a broker tells its id and address and creates nothing.
// A request that needs the log waits, and is then answered as if it had just come.
func TestEarlyAnswers(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.shutLog()
		c := dial()
		for _, early := range []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrMetadataRequest(), kmsg.NewPtrDescribeClusterRequest()} {
			c.receive(early, c.send(early, 0))
		}
		producer, creator := dial(), dial()
		produce := produceRequest("t", plainBatch(t, "x"))
		sent := producer.send(produce, 9)
		create := kmsg.NewPtrMetadataRequest()
		create.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("new")}}
		asked := creator.send(create, 1)
		synctest.Wait()
		producer.expectSilence(time.Second)
		creator.expectSilence(time.Second)
		if _, ok := h.topics.TopicByName("new"); ok {
			t.Error("a topic was created before the log was open")
		}
		h.Open(h.log)
		if resp := producer.receive(produce, sent).(*kmsg.ProduceResponse); resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("produce is answered %d", resp.Topics[0].Partitions[0].ErrorCode)
		}
		if resp := creator.receive(create, asked).(*kmsg.MetadataResponse); resp.Topics[0].ErrorCode != 0 {
			t.Errorf("metadata with auto-creation is answered %d", resp.Topics[0].ErrorCode)
		}
	})
}

// TestEarlyAnswers_Stop: a start that fails ends the connections that wait for the log.
func TestEarlyAnswers_Stop(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.shutLog()
		c := dial()
		c.send(produceRequest("t", plainBatch(t, "x")), 9)
		synctest.Wait()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		if _, _, err := c.frame(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a waiting connection ends with %v", err)
		}
	})
}
