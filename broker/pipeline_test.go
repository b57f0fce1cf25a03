package broker

import (
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// virtually runs a test in virtual time, with a broker behind in-memory pipes. synctest.Wait
// returns when every goroutine is blocked, so what has not happened by then does not happen.
func virtually(t *testing.T, cfg Config, f func(t *testing.T, h *harness, dial func() *rawClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		h := start(t, cfg, l, nil)
		var open []net.Conn
		f(t, h, func() *rawClient {
			nc := l.dial()
			open = append(open, nc)
			return &rawClient{t: t, nc: nc}
		})
		for _, nc := range open {
			_ = nc.Close()
		}
		h.log.mu.Lock()
		n := len(h.log.held)
		h.log.mu.Unlock()
		h.log.release(n)
		if err := h.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
		synctest.Wait()
		h.wantBudgetsWhole(t)
	})
}

// wantBudgetsWhole checks that no share of any budget is held.
func (b *Broker) wantBudgetsWhole(t *testing.T) {
	t.Helper()
	for name, budget := range b.namedBudgets() {
		if held := budget.bytes - budget.available(); held != 0 {
			t.Errorf("%d bytes of the budget %s were not given back", held, name)
		}
	}
}

func (l *memoryLog) heldCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// TestProduceOverlapsOthersWait: consecutive Produce requests are placed while the first is not yet
// durable. A Metadata request behind them starts when they are answered. All answers come in order
// (docs/kafka-behaviour.md).
func TestProduceOverlapsOthersWait(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		for i := range 5 {
			c.send(produceRequest("t", plainBatch(t, fmt.Sprint(i))), 9)
		}
		meta := kmsg.NewPtrMetadataRequest()
		c.send(meta, 9)
		c.send(produceRequest("t", plainBatch(t, "after")), 9)
		synctest.Wait()
		if got := h.log.heldCount(); got != 5 {
			t.Fatalf("%d requests were placed, want the 5 before Metadata and not the one behind", got)
		}
		c.expectSilence(time.Second)
		h.log.release(4)
		req := produceRequest("t")
		req.SetVersion(9)
		for i := range 4 {
			resp := c.receive(req, int32(i+1)).(*kmsg.ProduceResponse)
			if got := resp.Topics[0].Partitions[0].BaseOffset; got != int64(i) {
				t.Errorf("request %d got offset %d", i, got)
			}
		}
		c.expectSilence(time.Second)
		h.log.release(1)
		c.receive(req, 5)
		c.receive(meta, 6)
		synctest.Wait()
		h.log.release(1)
		c.receive(req, 7)
	})
}

// TestAnswersStayInOrder: the log settles the second request first, and its answer waits for the
// first one's.
func TestAnswersStayInOrder(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		c.send(produceRequest("t", plainBatch(t, "a")), 8)
		c.send(produceRequest("t", plainBatch(t, "b")), 8)
		synctest.Wait()
		h.log.mu.Lock()
		h.log.held[0], h.log.held[1] = h.log.held[1], h.log.held[0]
		h.log.mu.Unlock()
		h.log.release(1)
		c.expectSilence(time.Second)
		h.log.release(1)
		req := produceRequest("t")
		req.SetVersion(8)
		c.receive(req, 1)
		c.receive(req, 2)
	})
}

// TestE20_UnansweredRequestsStopReading: if acknowledgements of a class do not come, 64 answers of
// a connection are parked, and not one more. Other connections go on.
func TestE20_UnansweredRequestsStopReading(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		for range 100 {
			req := produceRequest("t", plainBatch(t, "x"))
			req.TimeoutMillis = 0
			c.send(req, 9)
		}
		synctest.Wait()
		if got := h.log.heldCount(); got != unansweredMax {
			t.Fatalf("%d requests were placed, want %d", got, unansweredMax)
		}
		other := dial()
		ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest(), 9)

		h.log.release(10)
		req := produceRequest("t")
		req.SetVersion(9)
		for i := range 10 {
			c.receive(req, int32(i+1))
		}
		synctest.Wait()
		if got := h.log.heldCount(); got != unansweredMax {
			t.Errorf("%d requests are placed after 10 answers, want %d", got, unansweredMax)
		}
	})
}

// TestE20_UnansweredBytesStopReading: the limit in bytes holds as well.
func TestE20_UnansweredBytesStopReading(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"max.message.bytes": "20000000"})
		h.log.hold = true
		c := dial()
		big := make([]byte, 12*mib)
		batch, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: time.Now().UnixMilli(), Value: big}})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			c.send(produceRequest("t", batch), 9)
		}
		synctest.Wait()
		if got := h.log.heldCount(); got != 3 { // 24 MiB leave room, 36 MiB do not
			t.Errorf("%d requests of 12 MiB were placed, want 3", got)
		}
	})
}

// TestE20_TimeoutIsHonoured: a request that is not settled in time is answered with
// REQUEST_TIMED_OUT. Its later outcome is dropped, and its memory comes back only then.
func TestE20_TimeoutIsHonoured(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 2, nil)
		h.log.hold = true
		c := dial()
		req := produceRequest("t", plainBatch(t, "x"), []byte("no batch at all, but long enough"))
		req.TimeoutMillis = 1500
		began := time.Now()
		resp := ask[*kmsg.ProduceResponse](c, req, 9)
		if waited := time.Since(began); waited != 1500*time.Millisecond {
			t.Errorf("answered after %v, want 1.5s", waited)
		}
		wantCode(t, "placed", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeRequestTimedOut)
		wantCode(t, "refused", resp.Topics[0].Partitions[1].ErrorCode, protocol.CodeInvalidRecord)
		synctest.Wait()
		if h.memory.available() == h.cfg.MemoryBytesMax {
			t.Error("memory was given back while the log still has the batch")
		}
		h.log.release(1)
		synctest.Wait()
		if h.memory.available() != h.cfg.MemoryBytesMax {
			t.Error("memory was not given back when the log let go of the batch")
		}
		ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9) // the connection lives
	})
}

// TestE20_TimeoutIsHonouredWhileLent: the reader is in a sync that hangs. Its request is answered
// in time all the same, and once. The connection goes on when the sync ends.
func TestE20_TimeoutIsHonouredWhileLent(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		c := dial()
		ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "x")), 9)
		for range 2 { // the first round starts the writer
			stuck := make(chan struct{})
			h.log.setStuck(stuck)
			req := produceRequest("t", plainBatch(t, "x"))
			req.TimeoutMillis = 1500
			began := time.Now()
			resp := ask[*kmsg.ProduceResponse](c, req, 9)
			if waited := time.Since(began); waited != 1500*time.Millisecond {
				t.Errorf("answered after %v, want 1.5s", waited)
			}
			wantCode(t, "lent", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeRequestTimedOut)
			if h.memory.available() == h.cfg.MemoryBytesMax {
				t.Error("memory was given back while the log still has the batch")
			}
			c.expectSilence(time.Minute)
			h.log.setStuck(nil)
			close(stuck)
			synctest.Wait()
			if h.memory.available() != h.cfg.MemoryBytesMax {
				t.Error("memory was not given back when the log let go of the batch")
			}
			resp = ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "y")), 9)
			wantCode(t, "after", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeNone)
		}
	})
}

// TestStopsWhileLent: StopTimeout holds although a reader is in a sync that hangs for longer.
func TestStopsWhileLent(t *testing.T) {
	virtually(t, Config{StopTimeout: 3 * time.Second}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		stuck := make(chan struct{})
		h.log.setStuck(stuck)
		c := dial()
		c.send(produceRequest("t", plainBatch(t, "x")), 9)
		other := dial()
		ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest(), 9)
		// The reader is in its sync. The answer on the other connection does not show that.
		synctest.Wait()
		time.AfterFunc(time.Minute, func() { close(stuck) })
		began := time.Now()
		h.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stopped after %v, want 3s", took)
		}
		time.Sleep(2 * time.Minute) // by then the goroutine of the sync has ended
	})
}

// TestFailsWhileLent: the connection ends while its reader is in a sync. Nothing is given back
// twice.
func TestFailsWhileLent(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		stuck := make(chan struct{})
		h.log.setStuck(stuck)
		c := dial()
		req := produceRequest("t", plainBatch(t, "x"))
		req.TimeoutMillis = 1500
		c.send(req, 9)
		synctest.Wait()
		_ = c.nc.Close()
		time.Sleep(2 * time.Second) // the writer cannot write its answer
		synctest.Wait()
		if h.memory.available() == h.cfg.MemoryBytesMax {
			t.Error("memory was given back while the log still has the batch")
		}
		close(stuck)
		synctest.Wait()
		if h.memory.available() != h.cfg.MemoryBytesMax {
			t.Errorf("%d of %d bytes of memory are free", h.memory.available(), h.cfg.MemoryBytesMax)
		}
	})
}

// TestInlineThenQueued: the reader gives one answer on the spot, then the writer, which starts only
// now, gives another.
func TestInlineThenQueued(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		c := dial()
		ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "x")), 9)
		h.log.mu.Lock()
		h.log.hold = true
		h.log.mu.Unlock()
		c.send(produceRequest("t", plainBatch(t, "y")), 9)
		synctest.Wait()
		h.log.release(1)
		req := produceRequest("t")
		req.SetVersion(9)
		c.receive(req, 2)
	})
}

// TestAcksZero: no byte is ever answered. A failure closes the connection, after the answers before
// it (docs/kafka-behaviour.md).
func TestAcksZero(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		c := dial()
		quiet := produceRequest("t", plainBatch(t, "a"))
		quiet.Acks = 0
		c.send(quiet, 9)
		// The next bytes answer this request.
		ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9)
		if h.log.parts[partitionOf(h, "t")].end != 1 {
			t.Error("the record was not appended")
		}

		h.log.mu.Lock()
		h.log.hold = true
		h.log.mu.Unlock()
		c.send(produceRequest("t", plainBatch(t, "b")), 9)
		quiet.Topics[0].Partitions[0].Partition = 9
		c.send(quiet, 9)
		synctest.Wait()
		h.log.release(1)
		req := produceRequest("t")
		req.SetVersion(9)
		c.receive(req, 3)
		if _, _, err := c.frame(); err != io.EOF {
			t.Errorf("after a failed acks=0: %v, want the end of the connection", err)
		}
	})
}

// TestLongPollWakesOnData: an idle fetch answers when its time is over, or as soon as there is
// enough data. It does not spin (docs/kafka-behaviour.md).
func TestLongPollWakesOnData(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		c, p := dial(), dial()
		began := time.Now()
		resp := ask[*kmsg.FetchResponse](c, fetchRequest("t", 0, 1, 700), 11)
		if waited := time.Since(began); waited != 700*time.Millisecond {
			t.Errorf("waited %v, want 700ms", waited)
		}
		if rp := resp.Topics[0].Partitions[0]; rp.RecordBatches == nil || len(rp.RecordBatches) != 0 || rp.AbortedTransactions != nil {
			t.Errorf("empty fetch: %+v", rp)
		}
		if h.log.reads > 2 {
			t.Errorf("%d reads while nothing happened", h.log.reads)
		}

		req := fetchRequest("t", 0, 1, 60_000)
		id := c.send(req, 11)
		c.send(kmsg.NewPtrMetadataRequest(), 9) // pipelined behind the poll
		synctest.Wait()
		began = time.Now()
		ask[*kmsg.ProduceResponse](p, produceRequest("t", plainBatch(t, "x")), 9)
		resp = c.receive(req, id).(*kmsg.FetchResponse)
		if time.Since(began) != 0 || len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Errorf("woke after %v with %d bytes", time.Since(began), len(resp.Topics[0].Partitions[0].RecordBatches))
		}
		meta := kmsg.NewPtrMetadataRequest()
		meta.SetVersion(9)
		c.receive(meta, id+1)
	})
}

// TestLongPollMinBytes: one small record is not enough, two are. An error is answered at once.
func TestLongPollMinBytes(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		topic := h.topics.create(t, "t", 1, nil)
		c, p := dial(), dial()
		one := plainBatch(t, "x")
		req := fetchRequest("t", 0, int32(2*len(one)), 60_000)
		id := c.send(req, 11)
		ask[*kmsg.ProduceResponse](p, produceRequest("t", one), 9)
		c.expectSilence(time.Second)
		ask[*kmsg.ProduceResponse](p, produceRequest("t", plainBatch(t, "y")), 9)
		c.receive(req, id)

		req = fetchRequest("t", 2, 1, 60_000)
		id = c.send(req, 11)
		synctest.Wait()
		if err := h.topics.DeleteTopic(t.Context(), topic.ID); err != nil {
			t.Fatal(err)
		}
		h.log.mu.Lock()
		h.log.signalLocked()
		h.log.mu.Unlock()
		resp := c.receive(req, id).(*kmsg.FetchResponse)
		wantCode(t, "deleted", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeUnknownTopicOrPartition)
	})
}

// TestStopIsPrompt: an idle client and a long poll do not hold up the stop. A placed request is
// still answered.
func TestStopIsPrompt(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		idle, poll, writer, half := dial(), dial(), dial(), dial()
		fetch := fetchRequest("t", 0, 1, 60_000)
		poll.send(fetch, 11)
		half.write([]byte{0, 0, 1, 0, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0}) // a frame that never ends
		synctest.Wait()
		h.log.mu.Lock()
		h.log.hold = true
		h.log.mu.Unlock()
		produce := produceRequest("t", plainBatch(t, "x"))
		writer.send(produce, 9)
		synctest.Wait()

		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.stop() }()
		poll.receive(fetch, 1)
		idle.expectClosed()
		half.expectClosed()
		synctest.Wait()
		h.log.release(1)
		resp := writer.receive(produce, 1).(*kmsg.ProduceResponse)
		wantCode(t, "in flight", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeNone)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("stopping took %v", took)
		}
	})
}

// TestStopDeadline: a request that never settles delays the stop by StopTimeout, not for ever.
func TestStopDeadline(t *testing.T) {
	virtually(t, Config{StopTimeout: 3 * time.Second}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		c.send(produceRequest("t", plainBatch(t, "x")), 9)
		synctest.Wait()
		began := time.Now()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stopping took %v, want 3s", took)
		}
	})
}

// TestSlowPeersAreCut: half a frame, an idle connection and a peer that does not read are each cut
// at their deadline.
func TestSlowPeersAreCut(t *testing.T) {
	cfg := Config{IdleTimeout: time.Minute, StallTimeout: 5 * time.Second}
	virtually(t, cfg, func(t *testing.T, h *harness, dial func() *rawClient) {
		began := time.Now()
		loris := dial()
		loris.write([]byte{0, 0, 1, 0, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0})
		loris.expectClosedWithin(t, 6*time.Second, began)

		began = time.Now()
		dial().expectClosedWithin(t, time.Minute, began)

		deaf := dial()
		began = time.Now()
		// The pipe takes nothing, so the answer cannot leave.
		deaf.send(kmsg.NewPtrMetadataRequest(), 9)
		synctest.Wait()
		<-time.After(6 * time.Second)
		synctest.Wait()
		deaf.expectClosedWithin(t, 7*time.Second, began)
	})
}

func (c *rawClient) expectClosedWithin(t *testing.T, d time.Duration, began time.Time) {
	t.Helper()
	var one [1]byte
	if n, err := c.nc.Read(one[:]); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v: want the end", n, err)
	}
	if took := time.Since(began); took > d {
		t.Errorf("closed after %v, want at most %v", took, d)
	}
}

// TestMemoryBudgetStopsReading: at the bound a connection's next frame waits. It is read when
// memory comes back.
func TestMemoryBudgetStopsReading(t *testing.T) {
	virtually(t, Config{FrameBytesMax: 8 * mib, MemoryBytesMax: 8 * mib}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"max.message.bytes": "20000000"})
		h.log.hold = true
		batch, err := protocol.BuildBatch(protocol.NoProducerSpec, []protocol.Record{{Timestamp: time.Now().UnixMilli(), Value: make([]byte, 5*mib)}})
		if err != nil {
			t.Fatal(err)
		}
		a, b := dial(), dial()
		a.send(produceRequest("t", batch), 9)
		synctest.Wait()
		b.send(produceRequest("t", batch), 9)
		synctest.Wait()
		if got := h.log.heldCount(); got != 1 {
			t.Fatalf("%d requests were placed, want 1 within 8 MiB", got)
		}
		ask[*kmsg.FetchResponse](dial(), fetchRequest("t", 0, 1, 0), 11) // reads go on
		h.log.release(1)
		req := produceRequest("t")
		req.SetVersion(9)
		a.receive(req, 1)
		synctest.Wait()
		if got := h.log.heldCount(); got != 1 {
			t.Errorf("%d requests were placed after memory came back, want 1", got)
		}
	})
}

// TestBadFramesClose: a length out of bounds, an unknown API or an unknown version ends the
// connection without an answer.
func TestBadFramesClose(t *testing.T) {
	frames := map[string][]byte{
		"negative length":        {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 9, 0, 0, 0, 1},
		"huge length":            {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1},
		"zero length":            {0, 0, 0, 0, 0, 3, 0, 9, 0, 0, 0, 1},
		"admin frame over 8 MiB": {0, 0x90, 0, 0, 0, 3, 0, 9, 0, 0, 0, 1},
		"unknown api":            {0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 0, 0},
		"produce 2":              {0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0},
		"fetch 19":               {0, 0, 0, 10, 0, 1, 0, 19, 0, 0, 0, 1, 0, 0},
		"body cut off":           {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0},
		"count without elements": {0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff},
	}
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
				c := dial()
				c.write(frame)
				c.expectClosed()
			})
		})
	}
}

// TestConnectionLimits: a connection above a limit is closed. One that leaves makes room.
func TestConnectionLimits(t *testing.T) {
	virtually(t, Config{ConnectionsMax: 3, ConnectionsPerIPMax: 2}, func(t *testing.T, h *harness, dial func() *rawClient) {
		a, b := dial(), dial()
		ask[*kmsg.MetadataResponse](a, kmsg.NewPtrMetadataRequest(), 9)
		ask[*kmsg.MetadataResponse](b, kmsg.NewPtrMetadataRequest(), 9)
		dial().expectClosed()
		_ = a.nc.Close()
		synctest.Wait()
		ask[*kmsg.MetadataResponse](dial(), kmsg.NewPtrMetadataRequest(), 9)
	})
}

// TestDoneAfterConnectionIsGone: an outcome that comes after the end of the connection gives the
// request's memory back.
func TestDoneAfterConnectionIsGone(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		c.send(produceRequest("t", plainBatch(t, "x")), 9)
		synctest.Wait()
		_ = c.nc.Close()
		synctest.Wait()
		h.log.release(1)
		synctest.Wait()
		if free := h.memory.available(); free != h.cfg.MemoryBytesMax {
			t.Errorf("%d bytes are still held", h.cfg.MemoryBytesMax-free)
		}
	})
}

// TestProduceAnswersEveryPartitionOnce: some outcomes come from the log and some from the broker,
// and each partition is answered exactly once (docs/kafka-behaviour.md).
func TestProduceAnswersEveryPartitionOnce(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 3, nil)
		h.log.fail = storage.ErrThrottled
		req := produceRequest("t", plainBatch(t, "a"), nil, plainBatch(t, "c"), plainBatch(t, "no such partition"))
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = "unknown"
		rt.Partitions = []kmsg.ProduceRequestTopicPartition{{Partition: 4, Records: plainBatch(t, "d")}}
		req.Topics = append(req.Topics, rt)
		resp := ask[*kmsg.ProduceResponse](dial(), req, 9)
		var got []string
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				got = append(got, fmt.Sprintf("%s/%d %s", topic.Topic, p.Partition, protocol.Code(p.ErrorCode)))
			}
		}
		want := "[t/0 NOT_ENOUGH_REPLICAS t/1 INVALID_RECORD t/2 NOT_ENOUGH_REPLICAS t/3 UNKNOWN_TOPIC_OR_PARTITION unknown/4 UNKNOWN_TOPIC_OR_PARTITION]"
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	})
}

// TestE20_TimeoutIsHonouredBehindAnIdleWriter: requests that came together are not lent. The writer
// has answered every earlier request and is not woken for these. The first is answered in time all
// the same, and then the second.
func TestE20_TimeoutIsHonouredBehindAnIdleWriter(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		first := produceRequest("t", plainBatch(t, "x"))
		first.TimeoutMillis = 1000
		wantCode(t, "starts the writer", ask[*kmsg.ProduceResponse](c, first, 9).Topics[0].Partitions[0].ErrorCode, protocol.CodeRequestTimedOut)
		h.log.release(1)
		synctest.Wait()
		began := time.Now()
		var frames []byte
		for _, timeout := range []int32{1500, 2500} {
			req := produceRequest("t", plainBatch(t, "y"))
			req.SetVersion(9)
			req.TimeoutMillis = timeout
			c.next++
			frames = append(frames, requestFrame(req, c.next, "raw")...)
		}
		c.write(frames)
		_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute)) // fails the test if no answer comes
		for i, timeout := range []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond} {
			resp := c.receive(first, int32(2+i)).(*kmsg.ProduceResponse)
			if waited := time.Since(began); waited != timeout {
				t.Errorf("answered after %v, want %v", waited, timeout)
			}
			wantCode(t, "not lent", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeRequestTimedOut)
		}
	})
}

// TestE20_TimeoutIsHonouredWhilePlacingHangs: a request is not lent, since another came with it,
// and its append takes a minute. It is answered in time all the same.
func TestE20_TimeoutIsHonouredWhilePlacingHangs(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		h.log.arrived = make(chan struct{}) // an append waits until this is received from
		c := dial()
		req := produceRequest("t", plainBatch(t, "x"))
		req.SetVersion(9)
		req.TimeoutMillis = 1500
		began := time.Now()
		c.write(append(requestFrame(req, 0, "raw"), requestFrame(req, 1, "raw")...))
		time.AfterFunc(time.Minute, func() { <-h.log.arrived; <-h.log.arrived })
		// The deadline fails the test if no answer comes.
		_ = c.nc.SetReadDeadline(time.Now().Add(2 * time.Minute))
		resp := c.receive(req, 0).(*kmsg.ProduceResponse)
		if waited := time.Since(began); waited != 1500*time.Millisecond {
			t.Errorf("answered after %v", waited)
		}
		wantCode(t, "placing", resp.Topics[0].Partitions[0].ErrorCode, protocol.CodeRequestTimedOut)
		c.receive(req, 1)
		synctest.Wait()
	})
}
