package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// throttled sends a Produce request and wants an answer at once that tells the client to wait that
// many milliseconds.
func (c *rawClient) throttled(acks int16, version int16, want int32) *kmsg.ProduceResponse {
	c.t.Helper()
	req := produceRequest("t", plainBatch(c.t, "x"))
	req.Acks = acks
	began := time.Now()
	correlation := c.send(req, version)
	if acks == 0 {
		synctest.Wait()
		return nil
	}
	resp := c.receive(req, correlation).(*kmsg.ProduceResponse)
	if took := time.Since(began); took != 0 {
		c.t.Errorf("the answer took %v: it is to be sent at once", took)
	}
	if resp.ThrottleMillis != want {
		c.t.Errorf("throttle_time_ms is %d, want %d", resp.ThrottleMillis, want)
	}
	return resp
}

// TestThrottleMutes (KIP-219): the answer leaves at once and tells the time. The connection's next
// request, whatever it is, is taken after that time and not before. Other connections go on.
func TestThrottleMutes(t *testing.T) {
	for _, acks := range []int16{-1, 1, 0} {
		virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
			h.topics.create(t, "t", 1, nil)
			// Rounded up, so that the client is never told less than the broker waits.
			h.log.throttleFor(1500*time.Millisecond + time.Microsecond)
			c, other := dial(), dial()
			began := time.Now()
			c.throttled(acks, 9, 1501)
			h.log.throttleFor(0)

			meta := kmsg.NewPtrMetadataRequest()
			correlation := c.send(meta, 9)
			synctest.Wait()
			ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest(), 9)
			other.throttled(-1, 9, 0)
			c.expectSilence(1500 * time.Millisecond)
			c.receive(meta, correlation)
			if took := time.Since(began); took != 1500*time.Millisecond+time.Microsecond {
				t.Errorf("acks %d: read again after %v", acks, took)
			}
			c.throttled(-1, 9, 0) // the throttle is over
		})
	}
}

// TestThrottleAfterQueuedAnswer: the writer's answers mute as the reader's do, once for all that
// leave together. Requests that the reader has not begun by then stay unread and are not placed.
func TestThrottleAfterQueuedAnswer(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		h.log.throttleFor(time.Second)
		c := dial()
		req := produceRequest("t", plainBatch(t, "x"))
		for range 3 {
			c.send(req, 8)
		}
		synctest.Wait()
		h.log.release(3)
		for i := range 3 {
			if resp := c.receive(req, int32(i+1)).(*kmsg.ProduceResponse); resp.ThrottleMillis != 1000 {
				t.Errorf("answer %d says %d ms", i, resp.ThrottleMillis)
			}
		}
		c.send(req, 8)
		<-time.After(999 * time.Millisecond)
		synctest.Wait()
		if n := h.log.heldCount(); n != 0 {
			t.Fatalf("%d requests were placed while muted", n)
		}
		<-time.After(time.Millisecond)
		synctest.Wait()
		if n := h.log.heldCount(); n != 1 {
			t.Fatalf("%d requests were placed after the mute, want 1", n)
		}
	})
}

// TestThrottledRefusalMutes: a refusal for lack of room (19) holds the producer back as well.
func TestThrottledRefusalMutes(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.fail = storage.ErrThrottled
		h.log.throttleFor(time.Second)
		c := dial()
		resp := c.throttled(-1, 13-1, 1000)
		wantCode(t, "full", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeNotEnoughReplicas)
		meta := kmsg.NewPtrMetadataRequest()
		correlation := c.send(meta, 9)
		c.expectSilence(999 * time.Millisecond)
		c.receive(meta, correlation)
	})
}

// TestThrottleOnlyOfProduce: answers to other requests do not hold the client back, and do not tell
// it to wait.
func TestThrottleOnlyOfProduce(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.throttleFor(time.Minute)
		c := dial()
		began := time.Now()
		for range 3 {
			if resp := ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9); resp.ThrottleMillis != 0 {
				t.Errorf("Metadata says %d ms", resp.ThrottleMillis)
			}
			if resp := ask[*kmsg.FetchResponse](c, fetchRequest("t", 0, 0, 0), 11); resp.ThrottleMillis != 0 {
				t.Errorf("Fetch says %d ms", resp.ThrottleMillis)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// TestMuteIsNoSilence: neither the idle limit nor the limit of a slow frame counts while the
// connection is muted. Both do afterwards.
func TestMuteIsNoSilence(t *testing.T) {
	cfg := Config{IdleTimeout: 10 * time.Second, StallTimeout: 5 * time.Second}
	virtually(t, cfg, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.throttleFor(time.Minute)
		idle, begun := dial(), dial()
		idle.throttled(-1, 9, 60_000)
		begun.throttled(-1, 9, 60_000)
		meta := kmsg.NewPtrMetadataRequest()
		meta.SetVersion(9)
		frame := requestFrame(meta, 2, "raw")
		begun.write(frame[:len(frame)-1]) // the rest comes when the mute is over
		<-time.After(62 * time.Second)
		begun.write(frame[len(frame)-1:])
		begun.receive(meta, 2)
		<-time.After(7 * time.Second) // 9 s after the mute
		ask[*kmsg.MetadataResponse](idle, kmsg.NewPtrMetadataRequest(), 9)
		began := time.Now()
		idle.expectClosedWithin(t, 10*time.Second, began)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("an idle connection was closed after %v", took)
		}
	})
}

// TestStopEndsMute: a stop does not wait until the mute is over.
func TestStopEndsMute(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.throttleFor(time.Hour)
		c := dial()
		c.throttled(-1, 9, 3_600_000)
		c.send(kmsg.NewPtrMetadataRequest(), 9)
		synctest.Wait()
		began := time.Now()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("stopping took %v", took)
		}
		c.expectClosed()
	})
}

// TestThrottlesAddUp: each answer counts bytes of its own, also answers to requests that were read
// before the mute began. The sum has a bound, and less than a millisecond is not told.
func TestThrottlesAddUp(t *testing.T) {
	for _, c := range []struct {
		each time.Duration
		told []int32
		mute time.Duration
	}{
		{100 * time.Millisecond, []int32{100, 200, 300}, 300 * time.Millisecond},
		{400 * time.Microsecond, []int32{0, 0, 2}, 1200 * time.Microsecond},
		{600 * time.Millisecond, []int32{600, 1000, 1000}, time.Second},
		{3 * time.Second, []int32{3000, 3000, 3000}, 3 * time.Second},
	} {
		virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
			h.topics.create(t, "t", 1, nil)
			h.log.hold = true
			h.log.throttleFor(c.each)
			client := dial()
			req := produceRequest("t", plainBatch(t, "x"))
			for range c.told {
				client.send(req, 8)
			}
			synctest.Wait()
			began := time.Now()
			for i, want := range c.told {
				h.log.release(1)
				synctest.Wait() // the answer leaves by itself
				if resp := client.receive(req, int32(i+1)).(*kmsg.ProduceResponse); resp.ThrottleMillis != want {
					t.Errorf("%v each: answer %d says %d ms, want %d", c.each, i, resp.ThrottleMillis, want)
				}
			}
			h.log.throttleFor(0)
			meta := kmsg.NewPtrMetadataRequest()
			client.receive(meta, client.send(meta, 9))
			if took := time.Since(began); took != c.mute {
				t.Errorf("%v each: read again after %v, want %v", c.each, took, c.mute)
			}
		})
	}
}
