package limits

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// patience bounds every wait of these tests. Nothing takes nearly that long.
const patience = 20 * time.Second

// start serves a limit until the test ends or stop is called. stop returns what Serve returned.
func start(t testing.TB, kind Kind, cfg Config) (addr string, stop func() error) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.RingBytes == 0 {
		cfg.RingBytes = 8 << 20
	}
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan net.Addr, 1)
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, kind, cfg, func(a net.Addr) { listening <- a }) }()
	select {
	case a := <-listening:
		addr = a.String()
	case err := <-served:
		cancel()
		t.Fatalf("%s: %v", kind, err)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-served
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	})
	return addr, stop
}

func client(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// produce sends records of the given size to partition i%4, and requires the offsets that a log
// would give.
func produce(t testing.TB, cl *kgo.Client, topic string, recordCount, bytesEach int) {
	t.Helper()
	for i := range recordCount {
		value := bytes.Repeat([]byte{byte(i)}, bytesEach)
		binary.BigEndian.PutUint32(value, uint32(i))
		cl.Produce(patient(t), &kgo.Record{Topic: topic, Partition: int32(i % 4), Value: value}, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			} else if r.Offset != int64(i/4) {
				t.Errorf("record %d of partition %d has offset %d, wanted %d", i, r.Partition, r.Offset, i/4)
			}
		})
	}
	if err := cl.Flush(patient(t)); err != nil {
		t.Fatal(err)
	}
}

// Every kind accepts what a stock client produces, small and large, and answers with any version
// that the client picks.
func TestProduce(t *testing.T) {
	url := "file://" + t.TempDir()
	for _, kind := range []Kind{Null, WAL, WALOverlapped, WALUpload, WALTwice, Fetch} {
		t.Run(string(kind), func(t *testing.T) {
			addr, _ := start(t, kind, Config{BucketURL: url})
			cl := client(t, addr)
			produce(t, cl, "small", 2000, 100)
			produce(t, cl, "large", 16, 700_000)
		})
	}
}

// A folder that a killed run has used can be used again.
func TestWAL_SecondRun(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	for range 2 {
		addr, stop := start(t, WAL, cfg)
		produce(t, client(t, addr), "topic", 8, 100)
		must(t, stop())
	}
}

// What was produced to Fetch is read back whole, in order and under its offsets.
func TestFetch_ReadsBack(t *testing.T) {
	addr, _ := start(t, Fetch, Config{})
	produce(t, client(t, addr), "topic", 4000, 300)
	cl := client(t, addr, kgo.ConsumePartitions(all("topic", 4, kgo.NewOffset().AtStart())), kgo.FetchMaxBytes(20_000))
	next := make([]int64, 4)
	for seen := 0; seen < 4000; {
		fetches := cl.PollFetches(patient(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			i := int64(binary.BigEndian.Uint32(r.Value))
			if r.Offset != next[r.Partition] || i != 4*r.Offset+int64(r.Partition) || len(r.Value) != 300 {
				t.Fatalf("partition %d offset %d is record %d; wanted offset %d", r.Partition, r.Offset, i, next[r.Partition])
			}
			next[r.Partition]++
			seen++
		}
	}
}

func all(topic string, partitionCount int32, at kgo.Offset) map[string]map[int32]kgo.Offset {
	m := map[int32]kgo.Offset{}
	for p := range partitionCount {
		m[p] = at
	}
	return map[string]map[int32]kgo.Offset{topic: m}
}

// A Fetch waits for min_bytes. Any of its partitions wakes it, and otherwise only time does.
func TestFetch_LongPoll(t *testing.T) {
	addr, _ := start(t, Fetch, Config{Partitions: 2})
	cl := client(t, addr)
	metadata(t, cl, "topic")
	req := fetchRequest("topic", 0, 1)
	req.MaxWaitMillis, req.MinBytes = int32(patience.Milliseconds()), 1
	type result struct {
		resp *kmsg.FetchResponse
		err  error
	}
	got := make(chan result, 1)
	go func() {
		resp, err := req.RequestWith(patient(t), cl.Broker(1))
		got <- result{resp, err}
	}()
	select {
	case r := <-got:
		t.Fatalf("an empty topic was answered before anything came: %+v", r)
	// The request may not even have arrived: then this proves less.
	case <-time.After(50 * time.Millisecond):
	}
	if err := client(t, addr).ProduceSync(patient(t), &kgo.Record{Topic: "topic", Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	if n := len(r.resp.Topics[0].Partitions[1].RecordBatches); n == 0 {
		t.Fatal("it was woken without the record")
	}
	began := time.Now()
	req.MaxWaitMillis, req.MinBytes = 60, 1<<20 // more than there is
	if _, err := req.RequestWith(patient(t), cl.Broker(1)); err != nil || time.Since(began) < 60*time.Millisecond {
		t.Fatalf("answered after %v: %v", time.Since(began), err)
	}
}

func metadata(t *testing.T, cl *kgo.Client, topic string) {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	if _, err := req.RequestWith(patient(t), cl); err != nil {
		t.Fatal(err)
	}
}

func fetchRequest(topic string, partitions ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = 1 << 30
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	for _, p := range partitions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = p, 1<<30
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// max_bytes and a partition's share are honoured. One batch is sent whatever its size.
func TestFetch_Limits(t *testing.T) {
	addr, _ := start(t, Fetch, Config{Partitions: 2})
	cl := client(t, addr)
	for i := range 6 { // one batch each
		if err := cl.ProduceSync(patient(t), &kgo.Record{Topic: "topic", Partition: int32(i % 2), Value: make([]byte, 1000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		maxBytes, partitionBytes int32
		want                     [2]int // number of batches
	}{
		{1 << 30, 1 << 30, [2]int{3, 3}},
		{1 << 30, 2500, [2]int{2, 2}},
		{3500, 1 << 30, [2]int{3, 0}},
		{1, 1, [2]int{1, 0}},
		{1 << 30, 1, [2]int{1, 0}},
	} {
		req := fetchRequest("topic", 0, 1)
		req.MaxBytes = c.maxBytes
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = c.partitionBytes
		}
		resp, err := req.RequestWith(patient(t), cl.Broker(1))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range resp.Topics[0].Partitions {
			if got := len(p.RecordBatches) / 1000; got != c.want[i] {
				t.Errorf("max %d, partition %d: partition %d gave %d batches, wanted %d", c.maxBytes, c.partitionBytes, i, got, c.want[i])
			}
		}
	}
}

// Above its memory, Fetch forgets the oldest batches and says so.
func TestFetch_Memory(t *testing.T) {
	addr, _ := start(t, Fetch, Config{Partitions: 1, MemoryBytes: 10_000})
	cl := client(t, addr)
	for range 30 {
		if err := cl.ProduceSync(patient(t), &kgo.Record{Topic: "topic", Value: make([]byte, 1000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	req := fetchRequest("topic", 0)
	resp, err := req.RequestWith(patient(t), cl.Broker(1))
	if err != nil {
		t.Fatal(err)
	}
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != 1 || p.HighWatermark != 30 || p.LogStartOffset < 20 {
		t.Fatalf("offset 0: code %d, log from %d to %d", p.ErrorCode, p.LogStartOffset, p.HighWatermark)
	}
	req.Topics[0].Partitions[0].FetchOffset = p.LogStartOffset
	if resp, err = req.RequestWith(patient(t), cl.Broker(1)); err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("from the log's start: %+v, %v", resp, err)
	}
	if n := len(resp.Topics[0].Partitions[0].RecordBatches); n > 10_000 || n < 5_000 {
		t.Fatalf("%d bytes are kept", n)
	}
}

func TestConfigInvalid(t *testing.T) {
	for want, c := range map[string]struct {
		kind Kind
		cfg  Config
	}{
		`unknown kind "wall"`:  {"wall", Config{}},
		"wal needs a folder":   {WAL, Config{}},
		"the URL of a bucket":  {WALUpload, Config{Dir: "/x"}},
		"RingBytes 5":          {Null, Config{RingBytes: 5}},
		"FlushInterval -1ns":   {Null, Config{FlushInterval: -1}},
		"PendingBytes 1: want": {Null, Config{PendingBytes: 1}},
	} {
		err := Serve(t.Context(), c.kind, c.cfg, func(net.Addr) { t.Error("it serves") })
		if err == nil || !bytes.Contains([]byte(fmt.Sprint(err)), []byte(want)) {
			t.Errorf("%s: %v, wanted something with %q", c.kind, err, want)
		}
	}
}
