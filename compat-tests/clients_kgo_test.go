package compat

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// startKgo runs franz-go's client with the verbs of the other drivers, inside the test.
func startKgo(t testing.TB, verb string, words ...string) *harness.Program {
	args := make(map[string]string)
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	d := &kgoDriver{args: args, topic: args["topic"]}
	verbs := map[string]func() error{"produce": d.produce, "drain": d.drain, "seek": d.seek, "member": d.member}
	return harness.Go(t, "kgo "+verb+" "+strings.Join(words, " "), func(in io.Reader, out io.Writer) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d.ctx, d.out = ctx, out
		go func() {
			s := bufio.NewScanner(in)
			for s.Scan() {
			}
			cancel()
		}()
		return verbs[verb]()
	})
}

// kgoDriver is one call. Its ctx ends with its input.
type kgoDriver struct {
	args  map[string]string
	topic string
	ctx   context.Context
	out   io.Writer
}

func (d *kgoDriver) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *kgoDriver) number(key string) int64 {
	n, err := strconv.ParseInt(d.args[key], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %s: %v", key, err))
	}
	return n
}

func (d *kgoDriver) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(d.args["bootstrap"]), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
}

func kgoCodec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

// codecValue is the value of record i that every driver writes.
func codecValue(codec string, i int) []byte {
	return fmt.Appendf(nil, "%s-%d-%s", codec, i, strings.Repeat("x", 1000))
}

func (d *kgoDriver) produce() error {
	for partition, codec := range codecs {
		cl, err := d.client(kgo.ProducerBatchCompression(kgoCodec(codec)), kgo.ProducerLinger(20*time.Millisecond))
		if err != nil {
			return err
		}
		var records []*kgo.Record
		for i := range int(d.number("count")) {
			records = append(records, &kgo.Record{
				Topic: d.topic, Partition: int32(partition), Key: fmt.Appendf(nil, "k%d", i), Value: codecValue(codec, i),
				Headers:   []kgo.RecordHeader{{Key: "codec", Value: []byte(codec)}},
				Timestamp: time.UnixMilli(d.number("time") + int64(i)*d.number("step")),
			})
		}
		err = cl.ProduceSync(context.Background(), records...).FirstErr()
		cl.Close()
		if err != nil {
			return err
		}
		for _, r := range records {
			d.say("acked %d %d", r.Partition, r.Offset)
		}
	}
	return nil
}

func (d *kgoDriver) sayRecord(r *kgo.Record) { d.say("%s", recordLine(r)) }

// recordLine is the line that every driver prints for a record.
func recordLine(r *kgo.Record) string {
	key, header := "-", "-"
	if r.Key != nil {
		key = string(r.Key)
	}
	if len(r.Headers) > 0 {
		header = string(r.Headers[0].Value)
	}
	return fmt.Sprintf("record %d %d %d %s %d %08x %s", r.Partition, r.Offset, r.Timestamp.UnixMilli(), key, len(r.Value), crc32.ChecksumIEEE(r.Value), header)
}

func (d *kgoDriver) drain() error {
	parts := make(map[int32]kgo.Offset)
	for p := range int32(d.number("partitions")) {
		parts[p] = kgo.NewOffset().AtStart()
	}
	cl, err := d.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.topic: parts}))
	if err != nil {
		return err
	}
	defer cl.Close()
	for left := d.number("count"); left > 0; {
		fetches := cl.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			d.sayRecord(r)
			left--
		})
	}
	return nil
}

func (d *kgoDriver) seek() error {
	cl, err := d.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	for at := range strings.SplitSeq(d.args["at"], ",") {
		offset, err := d.position(kadm.NewClient(cl), at)
		if err != nil {
			return err
		}
		d.say("position %s %d", at, offset)
		if offset < 0 {
			continue
		}
		cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{d.topic: {0: kgo.NewOffset().At(offset)}})
		fetches := cl.PollRecords(context.Background(), 1)
		if err := fetches.Err(); err != nil {
			return err
		}
		d.sayRecord(fetches.Records()[0])
		cl.RemoveConsumePartitions(map[string][]int32{d.topic: {0}})
	}
	return nil
}

// position asks for an offset. kadm answers with the end if no record is as late.
func (d *kgoDriver) position(adm *kadm.Client, at string) (int64, error) {
	ctx := context.Background()
	var offsets kadm.ListedOffsets
	var err error
	switch at {
	case "earliest":
		offsets, err = adm.ListStartOffsets(ctx, d.topic)
	case "latest":
		offsets, err = adm.ListEndOffsets(ctx, d.topic)
	default:
		var ms int64
		if ms, err = strconv.ParseInt(at, 10, 64); err != nil {
			return 0, err
		}
		offsets, err = adm.ListOffsetsAfterMilli(ctx, ms, d.topic)
	}
	if err != nil {
		return 0, err
	}
	o, _ := offsets.Lookup(d.topic, 0)
	if o.Err == nil && at != "earliest" && at != "latest" && o.Timestamp < 0 {
		return -1, nil
	}
	return o.Offset, o.Err
}

// kgoMember commits what it has read, from the goroutine that polls and from the hook of a
// rebalance.
type kgoMember struct {
	*kgoDriver
	mu   sync.Mutex
	mine map[int32]bool
}

func (d *kgoDriver) member() error {
	m := &kgoMember{kgoDriver: d, mine: make(map[int32]bool)}
	balancer := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}[d.args["assignor"]]
	opts := []kgo.Opt{
		kgo.ConsumerGroup(d.args["group"]), kgo.ConsumeTopics(d.topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(300 * time.Millisecond), kgo.SessionTimeout(6 * time.Second),
		kgo.MetadataMaxAge(2 * time.Second), kgo.MetadataMinAge(100 * time.Millisecond), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { m.change(parts, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { m.change(parts, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.say("lost")
			m.change(parts, false)
		}),
	}
	if id := d.args["instance"]; id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	cl, err := d.client(opts...)
	if err != nil {
		return err
	}
	for d.ctx.Err() == nil {
		fetches := cl.PollFetches(d.ctx)
		fetches.EachRecord(d.sayRecord)
		if fetches.NumRecords() > 0 {
			m.commit(cl)
		}
		cl.AllowRebalance()
	}
	cl.CloseAllowingRebalance()
	d.say("closed")
	return nil
}

func (m *kgoMember) commit(cl *kgo.Client) {
	if err := cl.CommitUncommittedOffsets(context.Background()); err != nil {
		m.say("commit-failed %v", err)
		return
	}
	m.say("committed")
}

// change keeps the assigned partitions and prints them.
func (m *kgoMember) change(parts map[string][]int32, added bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts[m.topic] {
		if added {
			m.mine[p] = true
		} else {
			delete(m.mine, p)
		}
	}
	var list []string
	for _, p := range slices.Sorted(maps.Keys(m.mine)) {
		list = append(list, strconv.Itoa(int(p)))
	}
	if len(list) == 0 {
		list = []string{"-"}
	}
	m.say("assigned %s", strings.Join(list, ","))
}
