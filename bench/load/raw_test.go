package load

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

const rawTestPatience = 30 * time.Second

// rawBroker is Sluice in this process. It can be started again on its folder and address.
type rawBroker struct {
	t      testing.TB
	dir    string
	addr   string
	bucket *mem.Bucket
	stop   func()
}

func startRawBroker(t testing.TB) *rawBroker {
	b := &rawBroker{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", bucket: mem.New()}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *rawBroker) start() {
	b.t.Helper()
	l, err := net.Listen("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.addr = l.Addr().String()
	cfg := node.Config{Dir: b.dir, NodeID: 1, BucketWait: rawTestPatience, StopTimeout: rawTestPatience, SnapshotInterval: time.Hour, SnapshotSoon: time.Hour}
	cfg.Storage.WALSegmentBytes = 4 << 20
	n, err := node.Open(b.t.Context(), cfg, node.Deps{
		Bucket: b.bucket, Listeners: []node.Listener{{Listener: l, Name: "PLAINTEXT"}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()
	b.stop = func() {
		b.stop = func() {}
		cancel()
		if err := <-served; err != nil {
			b.t.Error(err)
		}
		if err := n.Close(); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *rawBroker) target() Target {
	return Target{Seeds: []string{b.addr}, Processes: []Process{{"broker", os.Getpid()}}}
}

// runRaw runs one of our workloads for a short time and at a small scale.
func runRaw(t testing.TB, name string, target Target, scale float64) *Result {
	t.Helper()
	return runRawWorkload(t, rawNamed(t, name), target, scale)
}

func runRawWorkload(t testing.TB, w Workload, target Target, scale float64) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rawTestPatience)
	defer cancel()
	r, err := Run(ctx, target, w, Options{Warmup: -1, Duration: 50 * time.Millisecond, Scale: scale})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rawNamed(t testing.TB, name string) Workload {
	t.Helper()
	w, ok := Named(name)
	if !ok {
		t.Fatalf("no workload %s", name)
	}
	return w
}

// positive requires figures to be present and above zero.
func positive(t testing.TB, r *Result, names ...string) {
	t.Helper()
	for _, n := range names {
		if v, ok := r.Figures[n]; !ok || v <= 0 {
			t.Errorf("%s = %v (there: %v), want it above 0", n, v, ok)
		}
	}
}

func TestRaw_SyncAndParts(t *testing.T) {
	target := startRawBroker(t).target()
	r := runRaw(t, "sync-1", target, 1)
	positive(t, r, "requests_per_second", "ack_p50_ms", "ack_max_ms", "publish_p99_ms")
	if _, there := r.Figures["cpu_us_per_request.broker"]; !there {
		t.Error("no CPU per request of the broker")
	}
	for _, name := range []string{"parts-request-1", "parts-request-100", "parts-request-1000", "parts-used-1000"} {
		w := rawNamed(t, name)
		if name == "parts-used-1000" {
			w.Partitions = 30 // each partition is written to before anything counts
		}
		r := runRawWorkload(t, w, target, 1)
		positive(t, r, "ack_p50_ms", "one_partition_ack_p50_ms", "p50_ratio")
		if err := r.Verdict(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := rawNamed(t, "parts-request-100")
	w.Partitions = 150
	if _, err := Run(t.Context(), target, w, Options{}); !errors.Is(err, ErrWorkload) {
		t.Errorf("error %v, want that 100 does not divide 150", err)
	}
}

// rawProducing is a producer with the given number of acknowledged requests.
func rawProducing(t testing.TB, b *rawBroker, s rawShape, requests int) *rawProducer {
	t.Helper()
	l, err := openRawLoad(t.Context(), b.target(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.c.close)
	for range requests {
		if _, err := l.producers[0].produce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return l.producers[0]
}

func TestRaw_VerifyFindsLossAndDuplicates(t *testing.T) {
	b := startRawBroker(t)
	// Partitions 0 1 2 0 1 get two records each.
	p := rawProducing(t, b, rawShape{rawTopic{"t", 3}, 1, 2500}, 5)
	check := func(wantLost, wantDuplicates int64) {
		t.Helper()
		lost, duplicates, err := p.verify()
		if err != nil || lost != wantLost || duplicates != wantDuplicates {
			t.Errorf("%d lost, %d twice, error %v; want %d and %d", lost, duplicates, err, wantLost, wantDuplicates)
		}
	}
	check(0, 0)
	p.next++ // acknowledged, as far as the client knows, but not in the log
	check(2, 0)
	p.next--
	again, err := newRawProducer(t.Context(), p.c, p.shape)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.produce(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(0, 2)
}

func TestRaw_RefusalIsAnError(t *testing.T) {
	p := rawProducing(t, startRawBroker(t), rawShape{rawTopic{"t", 2}, 2, 1024}, 1)
	p.next += 7 // a gap in the sequence
	if _, err := p.produce(t.Context()); err == nil || !strings.Contains(err.Error(), "OUT_OF_ORDER_SEQUENCE_NUMBER") {
		t.Errorf("error %v, want the broker's", err)
	}
}

// A broker that has just started is asked again. One that refuses is not.
func TestRawProducer_AwaitsItsID(t *testing.T) {
	answer := func(correlation uint32, code int16, id int64) [][]byte {
		resp := kmsg.NewPtrInitProducerIDResponse()
		resp.Version, resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = rawProducerVersion, code, id, 3
		return [][]byte{rawFrame(correlation, resp.AppendTo([]byte{0})...)}
	}
	loading := kerr.CoordinatorLoadInProgress.Code
	id, epoch, err := rawServer(t, answer(1, loading, -1), answer(2, loading, -1), answer(3, 0, 7)).awaitProducerID(t.Context())
	if err != nil || id != 7 || epoch != 3 {
		t.Errorf("id %d, epoch %d, error %v", id, epoch, err)
	}
	refused := kerr.ClusterAuthorizationFailed
	if _, _, err := rawServer(t, answer(1, refused.Code, -1), answer(2, 0, 7)).awaitProducerID(t.Context()); !errors.Is(err, refused) {
		t.Errorf("error %v, want the refusal", err)
	}
}

// Apache Kafka names the leader of a new partition before that leader knows about it.
func TestRawProducer_FirstRequestIsSentAgain(t *testing.T) {
	answer := func(correlation uint32, code int16) [][]byte {
		p := kmsg.NewProduceResponseTopicPartition()
		p.ErrorCode = code
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.Partitions = "t", []kmsg.ProduceResponseTopicPartition{p}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version, resp.Topics = rawProduceVersion, []kmsg.ProduceResponseTopic{topic}
		return [][]byte{rawFrame(correlation, resp.AppendTo([]byte{0})...)}
	}
	notYet := kerr.NotLeaderForPartition
	batch, records, err := rawBatch(1024, 7, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := rawShape{rawTopic{"t", 1}, 1, 1024}
	c := rawServer(t, answer(1, notYet.Code), answer(2, 0), answer(3, notYet.Code))
	p := &rawProducer{c: c, shape: s, batch: batch, records: records, req: rawProduceRequest(s, batch)}
	if _, err := p.produce(t.Context()); err != nil || p.acknowledged(0) != 1 {
		t.Errorf("error %v, %d acknowledged: want the request repeated", err, p.acknowledged(0))
	}
	if _, err := p.produce(t.Context()); !errors.Is(err, notYet) || p.acknowledged(0) != 1 {
		t.Errorf("error %v, %d acknowledged: want a later refusal told", err, p.acknowledged(0))
	}
}

func TestRawBatch(t *testing.T) {
	for _, bytes := range []int{75, 102, 1024, 1100, 2500, rawTotalBytes} {
		batch, records, err := rawBatch(bytes, 7, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) > bytes || bytes > 100 && len(batch) < bytes-4 {
			t.Errorf("a batch of %d bytes, want %d", len(batch), bytes)
		}
		n := 0
		for _, err := range protocol.Records(batch) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if n != records || protocol.VerifyCRC(batch) != nil {
			t.Errorf("%d records, said %d; checksum %v", n, records, protocol.VerifyCRC(batch))
		}
	}
}

// rawServer answers each request on its one connection with the next frame. A frame is a list of
// pieces to write.
func rawServer(t testing.TB, frames ...[][]byte) *rawConn {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		request := make([]byte, 4096)
		for _, pieces := range frames {
			if _, err := server.Read(request); err != nil {
				return
			}
			for _, p := range pieces {
				_, _ = server.Write(p)
			}
		}
	}()
	t.Cleanup(func() { client.Close() })
	return &rawConn{conn: client, formatter: *kmsg.NewRequestFormatter(), forget: func() bool { return true }}
}

func rawFrame(correlation uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	return append(binary.BigEndian.AppendUint32(b, correlation), body...)
}

func TestRawConn_Frames(t *testing.T) {
	heartbeat := kmsg.NewPtrHeartbeatRequest() // version 0 is answered by an error code alone
	good := rawFrame(1, 0, 25)
	for _, c := range []struct {
		name string
		sent [][]byte
		want string // a part of the error; if empty, the answer is accepted
	}{
		{"whole", [][]byte{good}, ""},
		{"byte by byte", [][]byte{good[:1], good[1:2], good[2:4], good[4:9], good[9:]}, ""},
		{"cut", [][]byte{good[:7]}, "unexpected EOF"},
		{"none", nil, "EOF"},
		{"two", [][]byte{append(append([]byte{}, good...), good...)}, "10 bytes after the answer"},
		{"another's", [][]byte{rawFrame(2, 0, 0)}, "correlation id 2, want 1"},
		{"endless", [][]byte{{0x7f, 0xff, 0xff, 0xff}}, "an answer of 2147483647 bytes"},
		{"empty", [][]byte{{0, 0, 0, 0}}, "an answer of 0 bytes"},
		{"short", [][]byte{rawFrame(1, 0)}, "decode the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := rawServer(t, c.sent).ask(heartbeat)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || answer.(*kmsg.HeartbeatResponse).ErrorCode != 25 {
				t.Fatalf("answer %v, error %v", answer, err)
			}
		})
	}
}

// The room for answers is reused, however large they were.
func TestRawConn_RoomStays(t *testing.T) {
	frames := make([][][]byte, 1000)
	for i := range frames {
		frames[i] = [][]byte{rawFrame(uint32(i+1), 0, 0)}
	}
	c := rawServer(t, frames...)
	for range frames {
		if _, err := c.ask(kmsg.NewPtrHeartbeatRequest()); err != nil {
			t.Fatal(err)
		}
	}
	if cap(c.buf) != 4096 {
		t.Errorf("room for %d bytes after small answers, want 4096", cap(c.buf))
	}
}

func TestRawConn_EndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := dialRaw(ctx, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	cancel()
	if _, err := c.ask(kmsg.NewPtrHeartbeatRequest()); err == nil {
		t.Error("an answer of nobody")
	}
}

func TestOnlyLeader(t *testing.T) {
	partition := func(leader int32) kmsg.MetadataResponseTopicPartition {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader = leader
		return p
	}
	for _, c := range []struct {
		name    string
		code    int16
		leaders []int32
		ready   bool
		fails   bool
	}{
		{"ready", 0, []int32{3, 3}, true, false},
		{"unknown yet", 3, nil, false, false},
		{"refused", 29, nil, false, true},
		{"one is missing", 0, []int32{3}, false, false},
		{"one has none", 0, []int32{3, -1}, false, false},
		{"two brokers", 0, []int32{3, 4}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := kmsg.NewMetadataResponseTopic()
			topic.ErrorCode = c.code
			for _, l := range c.leaders {
				topic.Partitions = append(topic.Partitions, partition(l))
			}
			resp := &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{topic}}
			leader, ready, err := onlyLeader(resp, rawTopic{"t", 2})
			if ready != c.ready || (err != nil) != c.fails || ready && leader != 3 {
				t.Errorf("leader %d, ready %v, error %v", leader, ready, err)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	d := make([]time.Duration, 100)
	for i := range d {
		d[i] = time.Duration(100 - i)
	}
	f := make(figures)
	f.times("x", d)
	for _, c := range []struct {
		name string
		want float64
	}{{"x_p50_ms", 50e-6}, {"x_p99_ms", 99e-6}, {"x_p99.9_ms", 100e-6}, {"x_max_ms", 100e-6}} {
		if got := f[c.name]; got != c.want {
			t.Errorf("%s = %v, want %v", c.name, got, c.want)
		}
	}
	if got := quantile(nil, .5); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
}
