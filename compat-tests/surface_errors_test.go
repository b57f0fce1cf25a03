package compat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// same says that Apache Kafka answers with our code.
const same = -99

// badRequest is a request with a fault, and the code of its answer.
type badRequest struct {
	name  string
	want  int16
	kafka int16 // Kafka's code if it differs; docs/differences.md says why
	ask   func(w *wire, topics map[string]topicRef) int16
}

// edited is a good batch that was damaged, with a correct checksum.
func edited(edit func(b []byte)) []byte {
	b := plain("one", "two").bytes()
	edit(b)
	return sealed(b)
}

func producing(topic string, version int16, batch func() []byte) func(*wire, map[string]topicRef) int16 {
	return func(w *wire, topics map[string]topicRef) int16 {
		return w.produceTo(topics[topic], 0, version, batch()).ErrorCode
	}
}

func producingEdited(edit func(b []byte)) func(*wire, map[string]topicRef) int16 {
	return producing("plain", 9, func() []byte { return edited(edit) })
}

func producingAt(topic string, at func() int64) func(*wire, map[string]topicRef) int16 {
	return producing(topic, 9, func() []byte {
		s := plain("one")
		s.Timestamp = at()
		return s.bytes()
	})
}

func fetching(edit func(*kmsg.FetchRequest), version int16) func(*wire, map[string]topicRef) int16 {
	return func(w *wire, topics map[string]topicRef) int16 {
		req := fetchOf(topics["plain"], 0, 0)
		edit(req)
		resp := w.do(req, version).(*kmsg.FetchResponse)
		if resp.ErrorCode != 0 || len(resp.Topics) == 0 {
			return resp.ErrorCode
		}
		return resp.Topics[0].Partitions[0].ErrorCode
	}
}

func creating(edit func(*kmsg.CreateTopicsRequestTopic)) func(*wire, map[string]topicRef) int16 {
	return func(w *wire, _ map[string]topicRef) int16 {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "new", 1, 1
		edit(&rt)
		req.Topics = append(req.Topics, rt)
		return w.do(req, 7).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
	}
}

func config(name, value string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(rt *kmsg.CreateTopicsRequestTopic) {
		rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value})
	}
}

// badRequests are sent to Sluice and to Apache Kafka.
var badRequests = []badRequest{
	{"produce to no topic", 3, same, producing("none", 9, func() []byte { return plain("x").bytes() })},
	{"produce to no topic id", 100, same, producing("none", 13, func() []byte { return plain("x").bytes() })},
	{"produce to no partition", 3, same, func(w *wire, topics map[string]topicRef) int16 {
		return w.produceTo(topics["plain"], 9, 9, plain("x").bytes()).ErrorCode
	}},
	{"produce with acks 2", 21, same, func(w *wire, topics map[string]topicRef) int16 {
		return w.do(produceOf(topics["plain"], 2, plain("x").bytes()), 9).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
	}},
	{"produce nothing", 87, same, producing("plain", 9, func() []byte { return []byte{} })},
	{"produce two batches", 87, same, producing("plain", 9, func() []byte { return append(plain("x").bytes(), plain("y").bytes()...) })},
	{"produce a batch and some bytes", 87, 0, producing("plain", 9, func() []byte { return append(plain("x").bytes(), 1, 2, 3) })},
	{"produce half a batch", 2, 87, producing("plain", 9, func() []byte { return plain("one", "two").bytes()[:70] })},
	{"produce format 1", 87, same, producingEdited(func(b []byte) { b[16] = 1 })},
	{"produce format 3", 87, 2, producingEdited(func(b []byte) { b[16] = 3 })},
	{"produce with a bad checksum", 2, same, producing("plain", 9, func() []byte {
		b := plain("one", "two").bytes()
		b[len(b)-3] ^= 1
		return b
	})},
	{"produce more than max.message.bytes", 10, same, producing("small", 9, func() []byte { return plain(strings.Repeat("x", 2000)).bytes() })},
	{"produce a control batch", 87, same, producingEdited(func(b []byte) { b[22] |= 0x20 })},
	{"produce a transactional batch", 53, same, producingEdited(func(b []byte) { b[22] |= 0x10 })},
	{"produce a base offset", 87, same, producingEdited(func(b []byte) { b[7] = 5 })},
	{"produce no records", 87, same, producingEdited(func(b []byte) { binary.BigEndian.PutUint32(b[57:], 0) })},
	{"produce a wrong last offset delta", 87, same, producingEdited(func(b []byte) { b[26] = 7 })},
	{"produce a wrong record count", 87, same, producingEdited(func(b []byte) { b[60] = 3 })},
	{"produce a count that only the records contradict", 0, 87, producingEdited(func(b []byte) { b[60], b[26] = 3, 2 })},
	{"produce LogAppendTime of the client's", 32, 0, producingEdited(func(b []byte) { b[22] |= 0x08 })},
	{"produce codec 5", 76, -1, producingEdited(func(b []byte) { b[22] |= 5 })},
	{"produce bytes that are no gzip", 0, -1, producingEdited(func(b []byte) { b[22] |= 1 })},
	{"produce zstd at version 6", 76, same, producing("plain", 6, func() []byte {
		s := plain("one")
		s.Compressor, _ = kgo.DefaultCompressor(kgo.ZstdCompression())
		return s.bytes()
	})},
	{"produce a negative sequence", 87, same, producing("plain", 9, func() []byte {
		return surfaceBatch{Producer: 7, Epoch: 0, Sequence: -1, Values: []string{"x"}}.bytes()
	})},
	{"produce a negative producer epoch", 87, 0, producing("plain", 9, func() []byte {
		return surfaceBatch{Producer: 7, Epoch: -1, Sequence: 0, Values: []string{"x"}}.bytes()
	})},
	{"produce a producer id below -1", 87, 0, producing("plain", 9, func() []byte {
		return surfaceBatch{Producer: -5, Epoch: -1, Sequence: -1, Values: []string{"x"}}.bytes()
	})},
	{"produce two hours from now", 32, same, producingAt("plain", func() int64 { return time.Now().Add(2 * time.Hour).UnixMilli() })},
	{"produce from long ago", 0, same, producingAt("plain", func() int64 { return 1 })},
	{"produce from before the topic's limit", 32, same, producingAt("recent", func() int64 { return time.Now().Add(-time.Minute).UnixMilli() })},
	{"produce a null key to a compacted topic", 0, 87, producing("compact", 9, func() []byte { return plain("x").bytes() })},

	{"fetch beyond the end", 1, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 1 << 40 }, 12)},
	{"fetch from -1", 1, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = -1 }, 12)},
	{"fetch no partition", 3, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 9 }, 12)},
	{"fetch no partition by id", 3, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 9 }, 13)},
	{"fetch no topic", 3, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "none" }, 12)},
	{"fetch no topic id", 100, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = [16]byte{9} }, 13)},
	{"fetch with an epoch from ahead", 75, same, fetching(func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 99 }, 12)},
	{"fetch in a session that is not", 70, same, fetching(func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 99, 5 }, 12)},

	{"create a topic that is there", 36, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.Topic = "plain" })},
	{"create a bad name", 17, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.Topic = "a b" })},
	{"create a name too long", 17, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.Topic = strings.Repeat("x", 250) })},
	{"create a name that collides", 17, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.Topic = "dot_ted" })},
	{"create 0 partitions", 37, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.NumPartitions = 0 })},
	{"create 0 replicas", 38, same, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.ReplicationFactor = 0 })},
	{"create three replicas", 0, 38, creating(func(rt *kmsg.CreateTopicsRequestTopic) { rt.Topic, rt.ReplicationFactor = "three", 3 })},
	{"create with an unknown config", 40, same, creating(config("no.such", "1"))},
	{"create with a bad config", 40, same, creating(config("retention.ms", "soon"))},
	{"create with tiers", 40, same, creating(config("remote.storage.enable", "true"))},

	{"delete no topic", 3, same, func(w *wire, _ map[string]topicRef) int16 {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis, req.TopicNames = 10_000, []string{"none"}
		return w.do(req, 5).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
	}},
	{"fewer partitions", 37, same, func(w *wire, _ map[string]topicRef) int16 {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = append(req.Topics, kmsg.CreatePartitionsRequestTopic{Topic: "plain", Count: 1})
		return w.do(req, 3).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode
	}},
	{"a producer id for an empty transactional id", 42, same, func(w *wire, _ map[string]topicRef) int16 {
		return initProducer(w, "", 60_000)
	}},
	{"metadata of a bad name", 17, same, func(w *wire, _ map[string]topicRef) int16 {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("a b")})
		return w.do(req, 9).(*kmsg.MetadataResponse).Topics[0].ErrorCode
	}},
	{"the end of an epoch of no topic", 3, same, func(w *wire, _ map[string]topicRef) int16 {
		return w.epochEnd(topicRef{name: "none"}, 0, -1, 4).ErrorCode
	}},
	{"offsets of no topic", 3, same, func(w *wire, _ map[string]topicRef) int16 {
		return w.listOffset(topicRef{name: "none"}, 0, -1, -1, 8).ErrorCode
	}},
	{"offsets at a time that is none", 35, same, func(w *wire, topics map[string]topicRef) int16 {
		return w.listOffset(topics["plain"], 0, -9, -1, 8).ErrorCode
	}},
	{"ApiVersions at version 99", 35, same, func(w *wire, _ map[string]topicRef) int16 {
		w.write([]byte{0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff, 0})
		resp := w.receive(&kmsg.ApiVersionsRequest{Version: 0}, 77).(*kmsg.ApiVersionsResponse)
		if k := resp.ApiKeys; len(k) != 1 || k[0].ApiKey != 18 || k[0].MinVersion != 0 || k[0].MaxVersion != 4 {
			w.t.Errorf("ApiVersions v99 lists %+v, want ApiVersions 0 to 4", resp.ApiKeys)
		}
		return resp.ErrorCode
	}},
	{"ApiVersions of software without a name", 42, same, func(w *wire, _ map[string]topicRef) int16 {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "", "-"
		return w.do(req, 3).(*kmsg.ApiVersionsResponse).ErrorCode
	}},
}

func initProducer(w *wire, transactionalID string, timeoutMs int32) int16 {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &transactionalID, timeoutMs, -1, -1
	return w.do(req, 4).(*kmsg.InitProducerIDResponse).ErrorCode
}

// errorTopics are the topics that bad requests name.
func errorTopics(t *testing.T, b *harness.Broker) map[string]topicRef {
	t.Helper()
	topics := map[string]topicRef{"none": {"none", [16]byte{1, 2, 3}}}
	for name, configs := range map[string][]string{
		"plain": nil, "dot.ted": nil, "small": {"max.message.bytes", "1000"}, "recent": {"message.timestamp.before.max.ms", "10000"},
		"compact": {"cleanup.policy", "compact"}, "appended": {"message.timestamp.type", "LogAppendTime"},
	} {
		topics[name] = mustCreate(t, b.Addr, name, 2, configs...)
	}
	return topics
}

// TestSurfaceErrors: a request with a fault gets its code, and the connection goes on.
func TestSurfaceErrors(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topics := errorTopics(t, b)
	for _, c := range badRequests {
		t.Run(c.name, func(t *testing.T) {
			w := dialWire(t, b.Addr)
			if got := c.ask(w, topics); got != c.want {
				t.Errorf("code %d (%v), want %d (%v)", got, kerr.ErrorForCode(got), c.want, kerr.ErrorForCode(c.want))
			}
			wantCode(t, "the next request", w.produceTo(topics["small"], 0, 9, plain("fine").bytes()).ErrorCode, nil)
		})
	}
	appendTime(t, b, topics["appended"])
}

// TestSurfaceErrors_Oracle sends the same to Apache Kafka. The column kafka is Kafka's answer, and
// differences are listed in docs/differences.md.
func TestSurfaceErrors_Oracle(t *testing.T) {
	t.Parallel()
	b := harness.Kafka(t, harness.Config{Dir: t.TempDir()})
	b.Start()
	topics := errorTopics(t, b)
	for _, c := range badRequests {
		t.Run(c.name, func(t *testing.T) {
			want := c.kafka
			if want == same {
				want = c.want
			}
			if got := c.ask(dialWire(t, b.Addr), topics); got != want {
				t.Errorf("Apache Kafka answers %d (%v), the table says %d", got, kerr.ErrorForCode(got), want)
			}
		})
	}
	t.Run("ListOffsets", func(t *testing.T) { listOffsets(t, b) })
	t.Run("idempotence", func(t *testing.T) { idempotence(t, b) })
	appendTime(t, b, topics["appended"])
}

// appendTime: the broker's clock counts, in the answer and in every record.
func appendTime(t *testing.T, b *harness.Broker, topic topicRef) {
	t.Helper()
	w := dialWire(t, b.Addr)
	s := plain("a", "b")
	s.Timestamp = 1000
	before := time.Now().UnixMilli()
	got := w.produceTo(topic, 0, 9, s.bytes())
	wantCode(t, "produce with LogAppendTime", got.ErrorCode, nil)
	if got.LogAppendTime < before || got.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("the append time is %d, it was sent at %d", got.LogAppendTime, before)
	}
	batch := w.fetchAll(topic, 0, 0, 12)[0]
	stamp, attributes := int64(binary.BigEndian.Uint64(batch[35:])), batch[22]
	if stamp != got.LogAppendTime || attributes&8 == 0 || string(sealed(append([]byte(nil), batch...))) != string(batch) {
		t.Errorf("the stored batch has max timestamp %d and attributes %#x; answered %d", stamp, attributes, got.LogAppendTime)
	}
}

// TestSurfaceAcksZero: nothing is answered, a good batch is there, and a bad one ends the
// connection.
func TestSurfaceAcksZero(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "zero", 1)
	w := dialWire(t, b.Addr)
	for i := range 3 {
		w.send(produceOf(topic, 0, plain(fmt.Sprint(i)).bytes()), 9)
	}
	// The answer to the fetch is the first one to come.
	if got := w.fetchAll(topic, 0, 0, 12); len(got) != 3 {
		t.Errorf("%d batches, want 3", len(got))
	}
	w.send(produceOf(topicRef{name: "none"}, 0, plain("x").bytes()), 9)
	w.wantClosed("acks=0 to no topic", wireLimit)
}

// TestSurfaceFrames: bytes that are no request close their connection, cost nothing, and disturb
// nobody.
func TestSurfaceFrames(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "frames", 1)
	loris := dialWire(t, b.Addr)
	loris.write([]byte{0, 0, 1, 0, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0}) // 14 bytes of 260, and no more
	silent := dialWire(t, b.Addr)
	header := func(key, version int16) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		return append(b, 0, 0, 0, 1, 0xff, 0xff)
	}
	frame := func(length int32, rest ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(length)), rest...)
	}
	whole := func(key, version int16, body ...byte) []byte {
		rest := append(header(key, version), body...)
		return frame(int32(len(rest)), rest...)
	}
	for _, c := range []struct {
		what  string
		bytes []byte
	}{
		{"negative length", frame(-1, header(18, 0)...)},
		{"lowest length", frame(-1<<31, header(18, 0)...)},
		{"zero length", frame(0, header(18, 0)...)},
		{"2 GiB", frame(1<<31-1, header(0, 9)...)},
		{"Produce of 200 MiB", frame(200<<20, header(0, 9)...)},
		{"Metadata of 99 MiB", frame(99<<20, header(3, 9)...)},
		{"no API", whole(999, 0)},
		{"an API of controllers", whole(52, 0)},
		{"Produce version 2", whole(0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"Produce version 14", whole(0, 14, 0)},
		{"Fetch version 3", whole(1, 3)},
		{"negative version", whole(3, -1)},
		{"an array of two thousand million", whole(3, 1, 0x7f, 0xff, 0xff, 0xff)},
		{"a compact array of more than there is", whole(3, 9, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)},
		{"an endless varint", whole(3, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		{"a string past the end", whole(3, 1, 0, 0, 0, 1, 0x7f, 0xff, 'x')},
		{"a body cut short", whole(1, 12, 0, 0xff)},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n")},
		{"TLS", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		w := dialWire(t, b.Addr)
		w.write(c.bytes)
		w.wantClosed(c.what, wireLimit)
	}
	w := dialWire(t, b.Addr)
	wantCode(t, "a good request beside them", w.produceTo(topic, 0, 9, plain("fine").bytes()).ErrorCode, nil)
	loris.wantClosed("a frame that never ends", 25*time.Second)
	wantCode(t, "a connection that was silent", silent.produceTo(topic, 0, 9, plain("fine").bytes()).ErrorCode, nil)
}

// TestSurfaceManyPartitions: one request for thousands of partitions gets one answer with each of
// them, once, in order.
func TestSurfaceManyPartitions(t *testing.T) {
	t.Parallel()
	const count = 3000
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "many", count)
	w := dialWire(t, b.Addr)
	batches := make([][]byte, count)
	for i := range batches {
		batches[i] = plain(fmt.Sprint(i)).bytes()
	}
	for round := range 2 {
		resp := w.do(produceOf(topic, -1, batches...), 13).(*kmsg.ProduceResponse)
		for i, p := range resp.Topics[0].Partitions {
			if p.Partition != int32(i) || p.ErrorCode != 0 || p.BaseOffset != int64(round) {
				t.Fatalf("round %d: place %d has partition %d, code %d, offset %d", round, i, p.Partition, p.ErrorCode, p.BaseOffset)
			}
		}
		if n := len(resp.Topics[0].Partitions); n != count {
			t.Fatalf("%d partitions are answered, want %d", n, count)
		}
	}
	b.Kill()
	b.Start()
	w = dialWire(t, b.Addr)
	req := fetchOf(topic, 0, 0)
	for i := range count - 1 {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = int32(i+1), 1<<20, -1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	got := w.do(req, 13).(*kmsg.FetchResponse).Topics[0].Partitions
	for i, p := range got {
		if list := splitBatches(t, p.RecordBatches); p.Partition != int32(i) || p.ErrorCode != 0 || len(list) != 2 || string(unplaced(list[0])) != string(batches[i]) {
			t.Fatalf("place %d has partition %d, code %d, %d batches", i, p.Partition, p.ErrorCode, len(list))
		}
	}
	if len(got) != count {
		t.Errorf("%d partitions are fetched, want %d", len(got), count)
	}
}
