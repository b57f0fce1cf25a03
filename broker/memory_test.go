package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// repeatedFetch names one partition n times and waits for ten minutes.
func repeatedFetch(topic string, n int) *kmsg.FetchRequest {
	req := fetchRequest(topic, 0, 1, 600_000)
	req.Topics[0].Partitions = slices.Repeat(req.Topics[0].Partitions, n)
	return req
}

// Two dozen requests of 5 MB that wait for ten minutes hold up no other consumers, no members of
// groups and no Metadata.
func TestLongPollsStarveNobody(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		many := repeatedFetch("t", 200_000)
		many.SetVersion(11)
		frame := requestFrame(many, 1, "test")
		for range 24 {
			dial().write(frame)
			synctest.Wait()
		}
		if len(h.log.watched) != 24 || slices.Max(h.log.watched) != 1 {
			t.Errorf("partitions watched: %v, want one for each of 24 requests", h.log.watched)
		}
		if held := h.fetches.decoded.bytes - h.fetches.decoded.available(); held > 24*kib {
			t.Errorf("24 requests that wait for one partition each hold %d bytes", held)
		}
		began := time.Now()
		c := dial()
		ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9)
		large := kmsg.NewPtrMetadataRequest()
		large.Topics = slices.Repeat([]kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}}, 100_000)
		ask[*kmsg.MetadataResponse](c, large, 9)
		findGroup(c, "g")
		member, generation := joinAlone(c, "g", 9)
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](c, &kmsg.HeartbeatRequest{Group: "g", MemberID: member, Generation: generation}, 4).ErrorCode, 0)
		ask[*kmsg.FetchResponse](c, fetchRequest("t", 0, 0, 0), 11)
		now := repeatedFetch("t", 200_000)
		now.MaxWaitMillis = 0
		ask[*kmsg.FetchResponse](c, now, 11)
		if took := time.Since(began); took > 0 {
			t.Errorf("the others waited for %v", took)
		}
	})
}

// A request for many partitions keeps its plan while it waits. If more than half of the memory for
// plans is held, such waits end early, so that other requests get in.
func TestWaitsEndWhereMemoryIsShort(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1000, nil)
		req := fetchRequest("t", 0, 1, 600_000)
		req.Topics[0].Partitions = nil
		for i := range int32(1000) {
			rp := kmsg.NewFetchRequestTopicPartition()
			rp.Partition, rp.PartitionMaxBytes = i, 1000
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
		}
		c := dial()
		correlation := c.send(req, 11)
		synctest.Wait()
		if held := h.fetches.decoded.bytes - h.fetches.decoded.available(); held != 1000*fetchPlanBytes {
			t.Errorf("a wait for 1,000 partitions holds %d bytes, want %d", held, 1000*fetchPlanBytes)
		}
		c.expectSilence(10 * crowdedLook)
		rest, ok := h.fetches.decoded.tryReserve(decodedBytesMax / 2)
		if !ok {
			t.Fatal("half of the budget is not free")
		}
		defer rest.release()
		began := time.Now()
		c.receive(req, correlation)
		if took := time.Since(began); took > crowdedLook {
			t.Errorf("the wait ended after %v, want %v at most", took, crowdedLook)
		}
	})
}

// A partition that is named again, in the same entry or in another one of its topic, is answered
// once.
func TestFetchAnswersEachPartitionOnce(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 2, nil)
	h.topics.create(t, "u", 1, nil)
	c := h.dial(t)
	ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, "v")), 9)
	req := fetchRequest("t", 0, 1, 0)
	one := req.Topics[0]
	req.Topics = []kmsg.FetchRequestTopic{repeatedFetch("t", 3).Topics[0], fetchRequest("u", 0, 1, 0).Topics[0], one, repeatedFetch("u", 2).Topics[0]}
	other := one.Partitions[0]
	other.Partition = 1
	req.Topics[2].Partitions = append(slices.Clone(one.Partitions), other)
	resp := ask[*kmsg.FetchResponse](c, req, 11)
	var got [][]int32
	for i := range resp.Topics {
		var parts []int32
		for j := range resp.Topics[i].Partitions {
			parts = append(parts, resp.Topics[i].Partitions[j].Partition)
		}
		got = append(got, parts)
	}
	if want := [][]int32{{0, 1}, {0}}; !slices.EqualFunc(got, want, slices.Equal) || resp.Topics[0].Topic != "t" || resp.Topics[1].Topic != "u" {
		t.Errorf("answered: %v of %+v, want %v of t and u", got, resp.Topics, want)
	}
	if len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Error("the record did not come")
	}
}

// Small requests still come in when peers that send their frames slowly hold all memory for frames.
func TestSmallRequestsAlwaysHaveRoom(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		for range framesBytesMax / otherFrameBytesMax {
			for _, key := range []byte{3, 1} { // Metadata, Fetch
				dial().write([]byte{0, 0x80, 0, 0, 0, key, 0, 9, 0, 0, 0, 1})
			}
		}
		synctest.Wait()
		if free := h.others.frames.available() + h.fetches.frames.available(); free != 0 {
			t.Fatalf("%d bytes are free, want none", free)
		}
		began := time.Now()
		c := dial()
		ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9)
		findGroup(c, "g")
		joinAlone(c, "g", 9)
		ask[*kmsg.FetchResponse](c, fetchRequest("t", 0, 0, 0), 11)
		if took := time.Since(began); took > 0 {
			t.Errorf("they waited for %v", took)
		}
	})
}

// What Produce requests decode to has a budget of its own: a log that does not settle them holds up
// no other request.
func TestProduceHoldsNoMemoryOfOthers(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		h.log.hold = true
		c := dial()
		for range 3 {
			req := produceRequest("t", plainBatch(t, "v"))
			for range 100_000 {
				req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: 9})
			}
			c.send(req, 8)
		}
		synctest.Wait()
		if n := h.log.heldCount(); n != 3 {
			t.Fatalf("%d requests are with the log, want 3", n)
		}
		if free := h.others.decoded.available(); free != decodedBytesMax {
			t.Errorf("others have %d bytes for what they decode to, want %d", free, decodedBytesMax)
		}
	})
}

// fetchMemory fills a topic with 40 batches of 500 KB.
func fetchMemory(t *testing.T, h *harness, c *rawClient) (all []byte) {
	t.Helper()
	h.topics.create(t, "t", 1, nil)
	for range 40 {
		ask[*kmsg.ProduceResponse](c, produceRequest("t", plainBatch(t, string(bytes.Repeat([]byte("x"), 500_000)))), 8)
	}
	for _, b := range h.log.parts[partitionOf(h, "t")].batches {
		all = append(all, b...)
	}
	return all
}

var fetchMemoryConfig = Config{FrameBytesMax: 4 * mib, FetchMemoryBytesMax: 32 * mib, StallTimeout: time.Minute}

// Answers become smaller as their memory fills up, but no smaller than a turn, which takes one
// batch. A consumer that finds no memory waits for its turn, and turns come in the order of
// arrival. A peer that does not read holds its share until it is cut.
func TestAnswersToFetchShareMemory(t *testing.T) {
	virtually(t, fetchMemoryConfig, func(t *testing.T, h *harness, dial func() *rawClient) {
		all := fetchMemory(t, h, dial())
		whole := fetchRequest("t", 0, 1, 0)
		whole.MaxBytes, whole.Topics[0].Partitions[0].PartitionMaxBytes = 50*mib, 50*mib
		var readers []*rawClient
		var held []int64
		for range 5 {
			readers = append(readers, dial())
			readers[len(readers)-1].send(whole, 11)
			synctest.Wait()
			held = append(held, h.answers.held.Load())
		}
		if left := 32*mib - held[4]; left < 0 || left > fetchTurnBytes || held[0] < 15*mib || held[1]-held[0] > 8*mib || held[2]-held[1] > 5*mib {
			t.Errorf("held after each of five readers that do not read: %v of 32 MiB", held)
		}
		turns := dial()
		began := time.Now()
		correlation := turns.send(whole, 11)
		turns.expectSilence(time.Second)
		_ = readers[0].nc.Close()
		synctest.Wait()
		resp := turns.receive(whole, correlation).(*kmsg.FetchResponse)
		if got := resp.Topics[0].Partitions[0].RecordBatches; len(got) < 500_000 || !bytes.HasPrefix(all, got) {
			t.Errorf("%d bytes came, want some whole batches", len(got))
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("its turn came after %v", took)
		}
		// The others get what they were promised, though it was copied meanwhile.
		for i, c := range readers[1:] {
			got := c.receive(whole, 1).(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
			if len(got) < 500_000 || !bytes.HasPrefix(all, got) {
				t.Errorf("reader %d: %d bytes came", i+1, len(got))
			}
		}
	})
}

// A consumer that never gets a turn is answered without records and without an error, before it
// gives up.
func TestNoTurnIsAnEmptyAnswer(t *testing.T) {
	virtually(t, fetchMemoryConfig, func(t *testing.T, h *harness, dial func() *rawClient) {
		fetchMemory(t, h, dial())
		rest, ok := h.answers.tryReserve(h.answers.bytes)
		if !ok {
			t.Fatal("the memory is not free")
		}
		defer rest.release()
		for _, waits := range []int32{0, 500, 60_000} {
			req := fetchRequest("t", 0, 1, 0)
			req.MaxWaitMillis = waits
			began := time.Now()
			p := ask[*kmsg.FetchResponse](dial(), req, 11).Topics[0].Partitions[0]
			if took := time.Since(began); p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 40 || took != fetchTurnWait {
				t.Errorf("a wait of %d ms, after %v: code %d, %d bytes, high watermark %d", waits, took, p.ErrorCode, len(p.RecordBatches), p.HighWatermark)
			}
		}
	})
}

// A batch that is larger than a turn is served as soon as there is memory for it.
func TestLargeBatchGetsItsTurn(t *testing.T) {
	virtually(t, fetchMemoryConfig, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"max.message.bytes": "20000000"})
		c := dial()
		batch := plainBatch(t, string(make([]byte, 3_500_000)))
		ask[*kmsg.ProduceResponse](c, produceRequest("t", batch), 8)
		rest, ok := h.answers.tryReserve(29 * mib)
		if !ok {
			t.Fatal("the memory is not free")
		}
		req := fetchRequest("t", 0, 1, 0)
		correlation := c.send(req, 11)
		c.expectSilence(time.Second)
		rest.release()
		if got := c.receive(req, correlation).(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches; len(got) != len(batch) {
			t.Errorf("%d bytes came, want a batch of %d", len(got), len(batch))
		}
	})
}

// A batch that is nearly as large as all memory for answers is served, with all of that memory.
func TestLargestBatchIsServed(t *testing.T) {
	cfg := fetchMemoryConfig
	cfg.FetchMemoryBytesMax = int64(cfg.FrameBytesMax)
	virtually(t, cfg, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"max.message.bytes": "20000000"})
		batch := plainBatch(t, string(make([]byte, cfg.FrameBytesMax-kib)))
		ask[*kmsg.ProduceResponse](dial(), produceRequest("t", batch), 8)
		p := ask[*kmsg.FetchResponse](dial(), fetchRequest("t", 0, 1, 0), 11).Topics[0].Partitions[0]
		if len(p.RecordBatches) != len(batch) {
			t.Errorf("%d bytes came, want a batch of %d", len(p.RecordBatches), len(batch))
		}
	})
}

// A request that waits for its turn, and then for memory for a large batch, does not wait for twice
// its time.
func TestTwoWaitsForMemoryAreOne(t *testing.T) {
	virtually(t, fetchMemoryConfig, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"max.message.bytes": "20000000"})
		ask[*kmsg.ProduceResponse](dial(), produceRequest("t", plainBatch(t, string(make([]byte, 3_500_000)))), 8)
		turn, ok1 := h.answers.tryReserve(fetchTurnBytes)
		rest, ok2 := h.answers.tryReserve(h.answers.available())
		if !ok1 || !ok2 {
			t.Fatal("the memory is not free")
		}
		defer rest.release()
		began := time.Now()
		c, req := dial(), fetchRequest("t", 0, 1, 0)
		correlation := c.send(req, 11)
		time.Sleep(15 * time.Second)
		turn.release()
		c.receive(req, correlation)
		if took := time.Since(began); took != fetchTurnWait {
			t.Errorf("answered after %v, want %v", took, fetchTurnWait)
		}
	})
}

// An answer that the peer does not take is copied, so that the log's memory is free. The peer gets
// the same bytes.
func TestStalledAnswerLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := newConn(&Broker{cfg: Config{StallTimeout: time.Minute}}, here)
		var buffers [][]byte
		for i := range 100 {
			buffers = append(buffers, bytes.Repeat([]byte{byte(i)}, 300+100*i))
		}
		want := slices.Concat(buffers...)
		written := make(chan error, 1)
		go func() { written <- c.write(buffers, len(want)) }()
		got := make([]byte, 2000)
		if _, err := there.Read(got[:1000]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lentMax)
		synctest.Wait()
		for i := range buffers {
			if buffers[i] != nil {
				t.Fatalf("buffer %d is still referred to", i)
			}
		}
		n := 1000
		for n < len(want) {
			m, err := there.Read(got[1000:])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[1000:1000+m], want[n:n+m]) {
				t.Fatalf("bytes %d to %d differ", n, n+m)
			}
			n += m
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		go func() { written <- c.write([][]byte{{1}, {2}}, 2) }()
		if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a peer that reads nothing: %v", err)
		}
	})
}

// A small batch that is appended out of a large frame does not keep the frame in memory. Out of an
// ordinary frame nothing is copied.
func TestFrameIsKeptForItsBatchesOnly(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 2, nil)
		good, bad := plainBatch(t, "v"), plainBatch(t, string(make([]byte, 900_000)))
		bad[len(bad)-1] ^= 1
		h.log.hold = true
		for _, c := range []struct {
			name    string
			batches [][]byte
			pinned  func(frame, good int) int
		}{
			{"a refused one beside it", [][]byte{good, bad}, func(_, good int) int { return good }},
			{"alone", [][]byte{good}, func(frame, _ int) int { return frame }},
		} {
			req := produceRequest("t", c.batches...)
			for i := range req.Topics[0].Partitions {
				req.Topics[0].Partitions[i].Partition = int32(i)
			}
			dial().send(req, 9)
			synctest.Wait()
			held := h.log.held[len(h.log.held)-1]
			frame := len(requestFrame(req, 1, "test")) - protocol.FrameLengthBytes
			if len(held.Partitions) != 1 || cap(held.Partitions[0].Batch) > 2*len(good) && c.name != "alone" {
				t.Errorf("%s: %d partitions, the batch's memory has %d bytes", c.name, len(held.Partitions), cap(held.Partitions[0].Batch))
			}
			if want := c.pinned(frame, len(good)); held.PinnedBytes < want-20 || held.PinnedBytes > want+20 {
				t.Errorf("%s: %d bytes are said to be kept, want about %d", c.name, held.PinnedBytes, want)
			}
		}
	})
}

// Batches that are rebuilt in another codec are counted until they are answered. At the bound they
// are refused retriably.
func TestRebuiltBatchesAreCounted(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, map[string]string{"compression.type": "uncompressed"})
		h.log.hold = true
		bomb := testBatch(t, protocol.BatchSpec{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Attributes: protocol.CodecZstd}, string(make([]byte, 1_000_000)))
		dial().send(produceRequest("t", bomb), 9)
		synctest.Wait()
		if held := h.rebuilt.held.Load(); held < 1_000_000 {
			t.Errorf("a batch of 1 MB in %d bytes is counted with %d", len(bomb), held)
		}
		if got := h.log.held[0].PinnedBytes; got < 1_000_000 {
			t.Errorf("it is said to keep %d bytes", got)
		}
		rest, ok := h.rebuilt.tryReserve(h.rebuilt.available())
		if !ok {
			t.Fatal("the memory is not free")
		}
		resp := ask[*kmsg.ProduceResponse](dial(), produceRequest("t", bomb), 9)
		wantCode(t, "without memory", resp.Topics[0].Partitions[0].ErrorCode, codeOf(storage.ErrThrottled))
		rest.release()
	})
}

// Members that wait hold what the groups count, and nothing of their requests. At the bound a new
// member is told to try again with the same coordinator. Those that are members already go on.
func TestGroupsHaveABound(t *testing.T) {
	cfg := groupsNow
	cfg.Groups.MemoryBytesMax = 4 * mib
	virtually(t, cfg, func(t *testing.T, h *harness, dial func() *rawClient) {
		c := dial()
		findGroup(c, "g")
		member, generation := joinAlone(c, "g", 9)
		large := joinRequest("h", "")
		large.Protocols[0].Metadata = make([]byte, mib)
		first := ask[*kmsg.JoinGroupResponse](dial(), large, 3)
		wantCode(t, "first join", first.ErrorCode, 0)
		waits := dial()
		waits.send(large, 3) // waits for the first member, which is to join again
		synctest.Wait()
		waits.expectSilence(time.Second)
		if used := h.groups.MemoryUsed(); used < 2*mib {
			t.Errorf("two members of a MiB count %d bytes", used)
		}
		if held := h.others.frames.held.Load() + h.others.decoded.held.Load(); held != 0 {
			t.Errorf("a member that waits holds %d bytes of budgets", held)
		}
		refused := ask[*kmsg.JoinGroupResponse](dial(), large, 3)
		wantCode(t, "a third one", refused.ErrorCode, protocol.CodeCoordinatorLoadInProgress)
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](c, &kmsg.HeartbeatRequest{Group: "g", MemberID: member, Generation: generation}, 4).ErrorCode, 0)
		again := ask[*kmsg.JoinGroupResponse](c, joinRequest("g", member), 9)
		wantCode(t, "join again", again.ErrorCode, 0)
	})
}

// bucketLog is a log whose topic "cold" lies in a bucket that takes 5 s to say that it is away.
type bucketLog struct {
	*memoryLog
	cold ident.TopicID
}

func (l bucketLog) Read(ctx context.Context, f *storage.Fetch) {
	f.Behind = f.Partitions[0].Partition.Topic == l.cold
	if f.Behind {
		time.Sleep(5 * time.Second)
	}
	l.memoryLog.Read(ctx, f)
}

func (l bucketLog) ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, epoch ident.Epoch, level storage.Isolation) (storage.OffsetAt, error) {
	if tp.Topic == l.cold {
		time.Sleep(5 * time.Second)
	}
	return l.memoryLog.ListOffset(ctx, tp, timestamp, epoch, level)
}

// However many consumers wait for the bucket, consumers that read from memory do not wait with
// them.
func TestConsumersBehindLeaveMemoryToOthers(t *testing.T) {
	virtually(t, fetchMemoryConfig, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "hot", 1, nil)
		h.topics.create(t, "cold", 1, nil)
		ask[*kmsg.ProduceResponse](dial(), produceRequest("hot", plainBatch(t, "v")), 8)
		cold, _ := h.topics.TopicByName("cold")
		h.Broker.log = bucketLog{h.log, cold.ID}
		late := time.Now().Add(3 * time.Minute)
		var readers sync.WaitGroup
		for range 60 { // four times as many as get a turn at once
			c := dial()
			readers.Go(func() {
				for time.Now().Before(late) {
					ask[*kmsg.FetchResponse](c, fetchRequest("cold", 0, 1, 500), 11)
				}
			})
		}
		time.Sleep(time.Minute)
		c := dial()
		for range 5 {
			began := time.Now()
			p := ask[*kmsg.FetchResponse](c, fetchRequest("hot", 0, 1, 500), 11).Topics[0].Partitions[0]
			if took := time.Since(began); took > 0 || len(p.RecordBatches) == 0 {
				t.Errorf("after %v, %d bytes", took, len(p.RecordBatches))
			}
			time.Sleep(time.Second)
		}
		readers.Wait()
	})
}

// Answers that are much larger than their requests take turns. Peers that do not read them hold no
// more than the budget. They keep out neither small answers nor, once they are cut, other large
// ones.
func TestLargeAnswersShareMemory(t *testing.T) {
	virtually(t, Config{StallTimeout: 15 * time.Second, Groups: groupsNow.Groups}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "small", 1, nil)
		for i := range 10 {
			h.topics.create(t, fmt.Sprint("t", i), 10_000, nil)
		}
		all := kmsg.NewPtrMetadataRequest() // a frame of 3 MB
		var deaf []*rawClient
		for range 60 {
			deaf = append(deaf, dial())
			deaf[len(deaf)-1].send(all, 9)
		}
		synctest.Wait()
		if held := h.replies.held.Load(); held < repliesBytesMax/2 || held > repliesBytesMax {
			t.Errorf("60 peers that do not read hold %d bytes of %d", held, repliesBytesMax)
		}
		began := time.Now()
		c := dial()
		small := kmsg.NewPtrMetadataRequest()
		small.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("small")}}
		ask[*kmsg.MetadataResponse](c, small, 9)
		findGroup(c, "g")
		member, generation := joinAlone(c, "g", 9)
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](c, &kmsg.HeartbeatRequest{Group: "g", MemberID: member, Generation: generation}, 4).ErrorCode, 0)
		wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](c, commitRequest("g", "small", ident.TopicID{}, generation, member, 5), 8).Topics[0].Partitions[0].ErrorCode, 0)
		offsets := &kmsg.OffsetFetchRequest{Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g"}}}
		if got := ask[*kmsg.OffsetFetchResponse](c, offsets, 9).Groups[0]; got.ErrorCode != 0 || len(got.Topics) != 1 {
			t.Errorf("offsets of a small group: %+v", got)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("small answers waited for %v", took)
		}
		resp := ask[*kmsg.MetadataResponse](c, all, 9)
		if took := time.Since(began); took == 0 || took > time.Minute || len(resp.Topics) != 12 {
			t.Errorf("%d topics came after %v", len(resp.Topics), took)
		}
	})
}

// A large answer to a member that waited is counted too, since it is built from what the group
// holds.
func TestAnswersToMembersAreCounted(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		c := dial()
		findGroup(c, "g")
		join := joinRequest("g", "")
		join.Protocols[0].Metadata = make([]byte, mib)
		rest, ok := h.replies.tryReserve(repliesBytesMax)
		if !ok {
			t.Fatal("the memory is not free")
		}
		correlation := c.send(join, 3)
		synctest.Wait()
		c.expectSilence(time.Second)
		rest.release()
		joined := c.receive(join, correlation).(*kmsg.JoinGroupResponse)
		wantCode(t, "join", joined.ErrorCode, 0)
		sync := syncRequest("g", joined.MemberID, joined.Generation)
		sync.GroupAssignment[0].MemberAssignment = make([]byte, mib)
		synctest.Wait() // until the answer's share is given back
		if rest, ok = h.replies.tryReserve(repliesBytesMax); !ok {
			t.Fatal("the memory is not free any more")
		}
		correlation = c.send(sync, 3)
		synctest.Wait()
		c.expectSilence(time.Second)
		rest.release()
		wantCode(t, "sync", c.receive(sync, correlation).(*kmsg.SyncGroupResponse).ErrorCode, 0)
	})
}

// Building an answer takes at most twice the estimate, and its frame at most three quarters of it.
func TestLargeAnswersAreEstimated(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "t", 20_000, nil)
	req := kmsg.NewPtrMetadataRequest()
	said := h.metadataBytes(t.Context(), req)
	c := &call{b: h.Broker, row: apis[3], version: 9, req: req}
	before := allocated()
	frame := c.encode(h.metadata(t.Context(), c, req))
	if took := int64(allocated() - before); took > 2*said || int64(cap(frame)) > said/4*3 {
		t.Errorf("building took %d bytes, the frame has %d, said were %d", took, cap(frame), said)
	}
}

// A partition that has a long text and stands a thousand times in a request does not make an answer
// that no budget counts.
func TestRepeatedOffsetsAreBounded(t *testing.T) {
	virtually(t, groupsNow, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, "t", 1, nil)
		c := dial()
		findGroup(c, "g")
		commit := commitRequest("g", "t", ident.TopicID{}, -1, "", 5)
		commit.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(string(bytes.Repeat([]byte("x"), 4000)))
		wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](c, commit, 8).Topics[0].Partitions[0].ErrorCode, 0)
		for times, want := range map[int]protocol.Code{2: 0, 1000: protocol.CodeCoordinatorLoadInProgress} {
			named := []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: slices.Repeat([]int32{0}, times)}}
			got := ask[*kmsg.OffsetFetchResponse](c, &kmsg.OffsetFetchRequest{Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: named}}}, 9)
			wantCode(t, fmt.Sprint(times, " times"), got.Groups[0].ErrorCode, want)
		}
	})
}

// Partitions of one ListOffsets that have to wait for the bucket wait side by side, up to a bound,
// and are answered in the request's order.
func TestLookupsByTimeGoSideBySide(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		const partitions = 3 * lookupsParallel
		cold := h.topics.create(t, "cold", partitions, nil)
		h.Broker.log = bucketLog{h.log, cold.ID}
		req := kmsg.NewPtrListOffsetsRequest()
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "cold"
		for i := range int32(partitions) {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = i, 1000
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		began := time.Now()
		resp := ask[*kmsg.ListOffsetsResponse](dial(), req, 5)
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("%d partitions of 5 s took %v", partitions, took)
		}
		for i, p := range resp.Topics[0].Partitions {
			if p.Partition != int32(i) || p.ErrorCode != 0 {
				t.Errorf("answer %d: %+v", i, p)
			}
		}
	})
}
