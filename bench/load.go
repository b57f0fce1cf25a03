package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	topicName   = "bench"
	recordBytes = 1024
)

// cell is one thing that is measured of every system.
type cell struct {
	name    string
	clients int
	rate    float64 // MiB/s; 0: as fast as it goes
	linger  time.Duration
	sync    bool // one record at a time
}

var cells = []cell{
	{name: "throughput-1", clients: 1},
	{name: "throughput-4", clients: 4},
	{name: "latency-20", clients: 4, rate: 20, linger: time.Millisecond},
	{name: "latency-100", clients: 4, rate: 100, linger: time.Millisecond},
	{name: "one-at-a-time", clients: 1, sync: true},
}

// measured is what one round of a cell gave.
type measured struct {
	MiBPerSecond  float64 `json:"mib_per_second"`
	P50Millis     float64 `json:"p50_ms"`
	P99Millis     float64 `json:"p99_ms"`
	CPUPerGiB     float64 `json:"broker_cpu_seconds_per_gib"`
	ForeignCores  float64 `json:"foreign_cores"`
	Errors        int64   `json:"errors"`
	RecordsCount  int64   `json:"records"`
	MeasuredNanos int64   `json:"measured_ns"`
}

// load is one running cell.
type load struct {
	cell    cell
	payload []byte
	counted atomic.Bool // after the warm-up
	records atomic.Int64
	errs    atomic.Int64

	mu        sync.Mutex
	latencies []time.Duration
}

// createTopic makes the topic with retention that keeps the disk small; the limit servers have it already.
func createTopic(ctx context.Context, addr string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topicName, limitPartitions, 1
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = "retention.bytes", kmsg.StringPtr(fmt.Sprint(64<<20))
	t.Configs = append(t.Configs, c)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if code := resp.Topics[0].ErrorCode; code != 0 && code != 36 { // 36: it exists
		return fmt.Errorf("create topic: error code %d", code)
	}
	return nil
}

// run produces for warm-up and duration and returns what was counted in the latter.
func (l *load) run(addr string, warmup, duration time.Duration, sample func()) (measured, error) {
	l.payload = make([]byte, 1<<20)
	for i := range l.payload[:len(l.payload)/2] { // half random, as OpenMessaging Benchmark has it
		l.payload[2*i] = byte(rand.Int())
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, l.cell.clients)
	for i := range l.cell.clients {
		wg.Go(func() { errs[i] = l.client(ctx, addr) })
	}
	time.Sleep(warmup)
	sample()
	l.counted.Store(true)
	start := time.Now()
	time.Sleep(duration)
	l.counted.Store(false)
	took := time.Since(start)
	sample()
	cancel()
	wg.Wait()
	m := measured{
		MiBPerSecond: float64(l.records.Load()) * recordBytes / (1 << 20) / took.Seconds(),
		Errors:       l.errs.Load(), RecordsCount: l.records.Load(), MeasuredNanos: int64(took),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.latencies)
	if n := len(l.latencies); n > 0 {
		m.P50Millis = float64(l.latencies[n/2]) / float64(time.Millisecond)
		m.P99Millis = float64(l.latencies[n*99/100]) / float64(time.Millisecond)
	}
	return m, errors.Join(errs...)
}

func (l *load) client(ctx context.Context, addr string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topicName),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(l.cell.linger),
		kgo.MaxBufferedRecords(50_000), kgo.RecordPartitioner(kgo.StickyPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	switch {
	case l.cell.sync:
		l.oneAtATime(ctx, cl)
	case l.cell.rate > 0:
		l.paced(ctx, cl)
	default:
		for i := 0; ctx.Err() == nil; i++ {
			l.produce(cl, i, time.Time{})
		}
	}
	flush, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return cl.Flush(flush)
}

// produce sends one record; latency counts from the intended time, if there is one.
func (l *load) produce(cl *kgo.Client, i int, intended time.Time) {
	at := i * recordBytes % (len(l.payload) - recordBytes)
	cl.Produce(context.Background(), &kgo.Record{Value: l.payload[at : at+recordBytes]}, func(_ *kgo.Record, err error) {
		if err != nil {
			l.errs.Add(1)
			return
		}
		if !l.counted.Load() {
			return
		}
		l.records.Add(1)
		if !intended.IsZero() {
			l.note(time.Since(intended))
		}
	})
}

func (l *load) note(d time.Duration) {
	l.mu.Lock()
	l.latencies = append(l.latencies, d)
	l.mu.Unlock()
}

// paced sends at a fixed rate, open loop: what is late is sent at once and counted from when it was due.
func (l *load) paced(ctx context.Context, cl *kgo.Client) {
	interval := time.Duration(float64(time.Second) * recordBytes * float64(l.cell.clients) / (l.cell.rate * (1 << 20)))
	due := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		due = due.Add(interval)
		if wait := time.Until(due); wait > 200*time.Microsecond {
			time.Sleep(wait)
		}
		l.produce(cl, i, due)
	}
}

func (l *load) oneAtATime(ctx context.Context, cl *kgo.Client) {
	for ctx.Err() == nil {
		start := time.Now()
		err := cl.ProduceSync(context.Background(), &kgo.Record{Value: l.payload[:recordBytes]}).FirstErr()
		if err != nil {
			l.errs.Add(1)
			return
		}
		if l.counted.Load() {
			l.records.Add(1)
			l.note(time.Since(start))
		}
	}
}
