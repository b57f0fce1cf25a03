package broker

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKcat produces and consumes with the stock librdkafka client, in every codec. librdkafka does
// that only if Produce is listed from version 0 (docs/kafka-behaviour.md).
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatalf("kcat is needed: %v", err)
	}
	h := startTCP(t, Config{})
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "kcat-" + codec
		var in bytes.Buffer
		var want []string
		for i := range 500 {
			fmt.Fprintf(&in, "key%d:value %d of a codec called %s\n", i, i, codec)
			want = append(want, fmt.Sprintf("%d:key%d:value %d of a codec called %s", i, i, i, codec))
		}
		run(t, &in, kcat, "-b", h.addr, "-t", topic, "-P", "-K", ":", "-z", codec, "-X", "enable.idempotence=true")
		out := run(t, nil, kcat, "-b", h.addr, "-t", topic, "-C", "-e", "-q", "-o", "beginning", "-f", "%o:%k:%s\n", "-X", "check.crcs=true")
		if got := strings.Split(strings.TrimSpace(out), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s: got %d lines, want %d; first %q", codec, len(got), len(want), got[0])
		}
	}
	if out := run(t, nil, kcat, "-b", h.addr, "-L"); !strings.Contains(out, `topic "kcat-zstd" with 1 partitions`) {
		t.Errorf("listing: %s", out)
	}
	if out := run(t, nil, kcat, "-b", h.addr, "-Q", "-t", "kcat-gzip:0:-1"); !strings.Contains(out, "offset 500") {
		t.Errorf("end offset: %s", out)
	}
}

func run(t *testing.T, in *bytes.Buffer, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if in != nil {
		cmd.Stdin = in
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// TestFranz produces idempotently to several partitions and consumes with topic ids. The client
// asks for fetch sessions.
func TestFranz(t *testing.T) {
	h := startTCP(t, Config{})
	h.topics.create(t, "franz", 4, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.addr), kgo.DefaultProduceTopic("franz"), kgo.ProducerLinger(0),
		kgo.ConsumeTopics("franz"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const n = 2000
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Key: []byte(fmt.Sprint(i % 97)), Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for len(seen) < n {
		fetches := cl.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			t.Fatalf("fetch: %v", errs)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for v, times := range seen {
		if times != 1 {
			t.Errorf("value %s came %d times", v, times)
		}
	}
}

// TestKcatGroup consumes as a group with librdkafka, which leaves, comes again and goes on where it
// was.
func TestKcatGroup(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatalf("kcat is needed: %v", err)
	}
	h := startTCP(t, groupsNow)
	h.topics.create(t, "orders", 3, nil)
	for round := range 3 {
		var in bytes.Buffer
		for i := range 300 {
			fmt.Fprintf(&in, "%d-%d\n", round, i)
		}
		run(t, &in, kcat, "-b", h.addr, "-t", "orders", "-P")
		out := run(t, nil, kcat, "-b", h.addr, "-G", "stock", "-q", "-X", "auto.offset.reset=earliest", "-X", "enable.auto.commit=true", "-c", "300", "orders")
		lines := strings.Fields(out)
		slices.Sort(lines)
		if lines = slices.Compact(lines); len(lines) != 300 || !strings.HasPrefix(lines[0], fmt.Sprint(round, "-")) || !strings.HasPrefix(lines[299], fmt.Sprint(round, "-")) {
			t.Errorf("round %d: %d lines, from %s to %s", round, len(lines), lines[0], lines[len(lines)-1])
		}
	}
}

// TestFranzGroup: members of one group come and go, with eager and with cooperative balancing and
// as static members. Every record is seen exactly once, since each member commits what it has seen
// before its partitions are taken away.
func TestFranzGroup(t *testing.T) {
	t.Run("eager", func(t *testing.T) { franzGroup(t, kgo.RangeBalancer(), false) })
	t.Run("cooperative", func(t *testing.T) { franzGroup(t, kgo.CooperativeStickyBalancer(), false) })
	t.Run("cooperative and static", func(t *testing.T) { franzGroup(t, kgo.CooperativeStickyBalancer(), true) })
}

func franzGroup(t *testing.T, balancer kgo.GroupBalancer, static bool) {
	cfg := groupsNow
	cfg.Groups.MinSessionTimeout = time.Second // the group waits for static members that are gone
	h := startTCP(t, cfg)
	h.topics.create(t, "orders", 6, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(h.addr), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	seen := &seenRecords{times: map[string]int{}, more: make(chan struct{}, 1)}
	var members []*kgo.Client
	for i := range 3 { // each member joins while those before it consume
		members = append(members, franzMember(t, h.addr, balancer, static, i, seen))
		produceSome(t, ctx, producer, i)
		seen.await(t, ctx, (i+1)*perRound)
	}
	members[0].CloseAllowingRebalance()
	produceSome(t, ctx, producer, 3)
	seen.await(t, ctx, 4*perRound)
	for _, m := range members[1:] {
		m.CloseAllowingRebalance()
	}
	// Every record so far is committed, so this member sees only new ones.
	again := franzMember(t, h.addr, balancer, static, 0, seen)
	produceSome(t, ctx, producer, 4)
	seen.await(t, ctx, 5*perRound)
	again.CloseAllowingRebalance()
	for v, times := range seen.times {
		if times != 1 {
			t.Errorf("%s was seen %d times", v, times)
		}
	}
}

const perRound = 120

func produceSome(t *testing.T, ctx context.Context, producer *kgo.Client, round int) {
	t.Helper()
	records := make([]*kgo.Record, perRound)
	for i := range records {
		records[i] = &kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "%d-%d", round, i)}
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// seenRecords counts the records that the members of a group have seen.
type seenRecords struct {
	mu    sync.Mutex
	times map[string]int
	more  chan struct{}
}

func (s *seenRecords) add(fetches kgo.Fetches) {
	s.mu.Lock()
	fetches.EachRecord(func(r *kgo.Record) { s.times[string(r.Value)]++ })
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// await waits until n different records were seen.
func (s *seenRecords) await(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	for {
		s.mu.Lock()
		got := len(s.times)
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			t.Fatalf("%d of %d records were seen", got, n)
		}
	}
}

// franzMember joins the group. It reads and commits until it is closed.
func franzMember(t *testing.T, addr string, balancer kgo.GroupBalancer, static bool, i int, seen *seenRecords) *kgo.Client {
	t.Helper()
	opts := []kgo.Opt{
		kgo.SeedBrokers(addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.Balancers(balancer), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.HeartbeatInterval(50 * time.Millisecond), kgo.SessionTimeout(6 * time.Second),
	}
	if static {
		opts = append(opts, kgo.InstanceID(fmt.Sprint("member-", i)), kgo.SessionTimeout(1500*time.Millisecond))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { cl.CloseAllowingRebalance(); <-done })
	go func() {
		defer close(done)
		for {
			fetches := cl.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			if err := cl.CommitRecords(context.Background(), fetches.Records()...); err != nil {
				t.Errorf("commit: %v", err)
			}
			seen.add(fetches)
			cl.AllowRebalance()
		}
	}()
	return cl
}
