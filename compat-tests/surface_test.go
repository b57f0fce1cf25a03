package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/harness"
)

// The surface_*_test.go files show the wire from outside: every version of what a producer and a
// consumer need, the errors of bad requests (compared with Apache Kafka's), producer ids, epochs,
// topics that come and go, and broken frames.

// wire is a raw client. It pipelines as it likes, retries nothing, and sees every byte.
type wire struct {
	t      testing.TB
	nc     net.Conn
	client string
	next   int32
}

// wireLimit is how long an answer may take.
const wireLimit = 20 * time.Second

func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &wire{t: t, nc: nc, client: "compat-tests"}
}

// send writes a request at a version and returns its correlation id.
func (w *wire) send(req kmsg.Request, version int16) int32 {
	w.t.Helper()
	req.SetVersion(version)
	w.next++
	w.write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(w.client)).AppendRequest(nil, req, w.next))
	return w.next
}

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// receive reads the next answer, which must be that of req.
func (w *wire) receive(req kmsg.Request, correlation int32) kmsg.Response {
	w.t.Helper()
	if err := w.nc.SetReadDeadline(time.Now().Add(wireLimit)); err != nil {
		w.t.Fatal(err)
	}
	body, err := readAnswer(w.nc)
	if err != nil {
		w.t.Fatalf("answer to %s: %v", nameOf(req), err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		w.t.Fatalf("answer to %s has correlation id %d, want %d", nameOf(req), got, correlation)
	}
	body = body[4:]
	if req.IsFlexible() && req.Key() != 18 { // ApiVersions is answered with the old header
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		w.t.Fatalf("answer to %s: %v", nameOf(req), err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		w.t.Errorf("answer to %s does not have the shape of its version: %d bytes, read and written again %d", nameOf(req), len(body), len(again))
	}
	return resp
}

func readAnswer(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, body)
	return body, err
}

func nameOf(req kmsg.Request) string {
	return fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), req.GetVersion())
}

// do sends and receives.
func (w *wire) do(req kmsg.Request, version int16) kmsg.Response {
	w.t.Helper()
	return w.receive(req, w.send(req, version))
}

// closed reports whether the broker closes the connection within the limit without sending anything
// more.
func (w *wire) closed(limit time.Duration) error {
	if err := w.nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	var one [1]byte
	switch n, err := w.nc.Read(one[:]); {
	case n != 0:
		return errors.New("it answers")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("open after %v", limit)
	case err == nil:
		return errors.New("nothing was read, without an error")
	}
	return nil
}

func (w *wire) wantClosed(what string, limit time.Duration) {
	w.t.Helper()
	if err := w.closed(limit); err != nil {
		w.t.Errorf("%s: the connection is to be closed: %v", what, err)
	}
}

func wantCode(t testing.TB, what string, got int16, want *kerr.Error) {
	t.Helper()
	code := int16(0)
	if want != nil {
		code = want.Code
	}
	if got != code {
		t.Errorf("%s: code %d (%v), want %d (%v)", what, got, kerr.ErrorForCode(got), code, kerr.ErrorForCode(code))
	}
}

// surfaceBatch describes a batch. Each of Values is a record.
type surfaceBatch struct {
	Producer   int64 // -1 if there is none
	Epoch      int16
	Sequence   int32
	Attributes int16
	Timestamp  int64 // 0 is now
	Values     []string
	Compressor kgo.Compressor
}

func plain(values ...string) surfaceBatch {
	return surfaceBatch{Producer: -1, Epoch: -1, Sequence: -1, Values: values}
}

func (s surfaceBatch) bytes() []byte {
	if s.Timestamp == 0 {
		s.Timestamp = time.Now().UnixMilli()
	}
	var records []byte
	for i, v := range s.Values {
		r := kmsg.Record{OffsetDelta: int32(i), Value: []byte(v)}
		// Without the length itself, which takes one byte while it is 0.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	if s.Compressor != nil {
		packed, codec := s.Compressor.Compress(new(bytes.Buffer), records)
		records, s.Attributes = bytes.Clone(packed), s.Attributes|int16(codec)
	}
	b := (&kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: s.Attributes, LastOffsetDelta: int32(len(s.Values) - 1),
		FirstTimestamp: s.Timestamp, MaxTimestamp: s.Timestamp,
		ProducerID: s.Producer, ProducerEpoch: s.Epoch, FirstSequence: s.Sequence,
		NumRecords: int32(len(s.Values)), Records: records,
	}).AppendTo(nil)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	return sealed(b)
}

// sealed sets the checksum of a batch to that of its bytes.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// unplaced is a batch as it was before a broker gave it an offset and an epoch.
func unplaced(b []byte) []byte {
	b = bytes.Clone(b)
	clear(b[:8])
	binary.BigEndian.PutUint32(b[12:], 0xffffffff)
	return b
}

// splitBatches cuts a fetch's answer into batches. If there is room, a broker sends whole batches.
func splitBatches(t testing.TB, raw []byte) [][]byte {
	t.Helper()
	var list [][]byte
	for len(raw) > 0 {
		if len(raw) < 12 || len(raw) < 12+int(binary.BigEndian.Uint32(raw[8:])) {
			t.Fatalf("%d bytes of an incomplete batch", len(raw))
		}
		n := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		list, raw = append(list, raw[:n:n]), raw[n:]
	}
	return list
}

func baseOf(b []byte) int64  { return int64(binary.BigEndian.Uint64(b)) }
func epochOf(b []byte) int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// topicRef is a topic as requests name it: by name, or by id from some version on.
type topicRef struct {
	name string
	id   [16]byte
}

func askTopic(t testing.TB, addr, name string) kmsg.MetadataResponseTopic {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	w := dialWire(t, addr)
	defer w.nc.Close()
	return w.do(req, 12).(*kmsg.MetadataResponse).Topics[0]
}

func mustCreate(t testing.TB, addr, name string, partitions int32, configs ...string) topicRef {
	t.Helper()
	if err := harness.CreateTopic(addr, name, partitions, configs...); err != nil {
		t.Fatal(err)
	}
	var ref topicRef
	// Apache Kafka shows a topic, and leads it, some time after it answered.
	err := harness.Until(wireLimit, func() error {
		got := askTopic(t, addr, name)
		ref = topicRef{name, got.TopicID}
		if got.ErrorCode != 0 {
			return kerr.ErrorForCode(got.ErrorCode)
		}
		return leads(addr, name, partitions)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// leads asks for the ends of a topic's first and last partition.
func leads(addr, name string, partitions int32) error {
	c, err := harness.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, p := range []int32{0, partitions - 1} {
		if _, _, err := c.ListOffset(name, p, harness.Latest); err != nil {
			return err
		}
	}
	return nil
}

// produceOf puts batches into partitions 0, 1, 2, … of a topic.
func produceOf(topic topicRef, acks int16, batches ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = topic.name, topic.id
	for i, b := range batches {
		rt.Partitions = append(rt.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i), Records: b})
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// produceTo sends one batch to one partition and returns the answer for it.
func (w *wire) produceTo(topic topicRef, partition int32, version int16, batch []byte) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	req := produceOf(topic, -1, batch)
	req.Topics[0].Partitions[0].Partition = partition
	resp := w.do(req, version).(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != partition {
		w.t.Fatalf("Produce v%d to one partition is answered with %+v", version, resp.Topics)
	}
	return resp.Topics[0].Partitions[0]
}

func fetchOf(topic topicRef, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 1, 32<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic.name, topic.id
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = partition, offset, 32<<20, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func (w *wire) fetchFrom(topic topicRef, partition int32, offset int64, version int16) kmsg.FetchResponseTopicPartition {
	w.t.Helper()
	resp := w.do(fetchOf(topic, partition, offset), version).(*kmsg.FetchResponse)
	wantCode(w.t, fmt.Sprintf("Fetch v%d as a whole", version), resp.ErrorCode, nil)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != partition {
		w.t.Fatalf("Fetch v%d of one partition is answered with %+v", version, resp.Topics)
	}
	return resp.Topics[0].Partitions[0]
}

// fetchAll reads a partition from an offset to its end, batch by batch.
func (w *wire) fetchAll(topic topicRef, partition int32, offset int64, version int16) [][]byte {
	w.t.Helper()
	var list [][]byte
	for {
		got := w.fetchFrom(topic, partition, offset, version)
		if got.ErrorCode == kerr.OffsetNotAvailable.Code || got.ErrorCode == kerr.NotLeaderForPartition.Code {
			continue // the partition is still loading
		}
		wantCode(w.t, fmt.Sprintf("Fetch v%d of %s-%d from %d", version, topic.name, partition, offset), got.ErrorCode, nil)
		batches := splitBatches(w.t, got.RecordBatches)
		if len(batches) == 0 {
			return list
		}
		list = append(list, batches...)
		last := batches[len(batches)-1]
		offset = baseOf(last) + int64(int32(binary.BigEndian.Uint32(last[23:]))) + 1
	}
}

// surfaceEnv makes flushes and rolls happen soon.
func surfaceEnv() map[string]string {
	env := budgets()
	env["SLUICE_WAL_SEGMENT_BYTES"] = strconv.Itoa(16 << 20)
	env["SLUICE_FLUSH_BYTES"] = strconv.Itoa(4 << 20)
	return env
}

func startSluice(t testing.TB) *harness.Broker {
	t.Helper()
	b := harness.Sluice(t, harness.Config{Dir: t.TempDir(), Env: surfaceEnv()})
	b.Start()
	return b
}

// TestSurfaceProduceFetch: what is written at every version of Produce is read at every version of
// Fetch, by name and by id, from memory, from a sealed tail and from the bucket. The bytes are the
// same except for offset and epoch.
func TestSurfaceProduceFetch(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	topic := mustCreate(t, b.Addr, "every", 1)
	w := dialWire(t, b.Addr)
	var sent [][]byte
	end := int64(0)
	for version := int16(3); version <= 13; version++ {
		for _, acks := range []int16{-1, 1} {
			s := plain(fmt.Sprintf("version %d acks %d", version, acks), "second", "third")
			s.Compressor = compressor(t, version)
			batch := s.bytes()
			got := w.do(produceOf(topic, acks, batch), version).(*kmsg.ProduceResponse)
			wantProduced(t, version, topic, got, end)
			sent, end = append(sent, batch), end+int64(len(s.Values))
		}
	}
	wantFetched(t, b, "from memory", topic, sent)
	b.Kill()
	b.Start()
	wantFetched(t, b, "from a sealed tail", topic, sent)
	b.Stop(stopLimit)
	b.Start()
	wantFetched(t, b, "from the bucket", topic, sent)
}

// compressor returns a compressor that the version of Produce may use.
func compressor(t testing.TB, version int16) kgo.Compressor {
	t.Helper()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	if version < 7 {
		codecs = codecs[:4]
	}
	c, err := kgo.DefaultCompressor(codecs[int(version)%len(codecs)])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantProduced(t *testing.T, version int16, topic topicRef, resp *kmsg.ProduceResponse, base int64) {
	t.Helper()
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Fatalf("Produce v%d is answered with %+v", version, resp.Topics)
	}
	rt := resp.Topics[0]
	if version >= 13 && rt.TopicID != topic.id || version < 13 && rt.Topic != topic.name {
		t.Errorf("Produce v%d is answered for topic %q %x", version, rt.Topic, rt.TopicID)
	}
	got := rt.Partitions[0]
	wantCode(t, fmt.Sprintf("Produce v%d", version), got.ErrorCode, nil)
	if got.BaseOffset != base || got.LogAppendTime != -1 || version >= 5 && got.LogStartOffset != 0 || resp.ThrottleMillis != 0 {
		t.Errorf("Produce v%d: base offset %d, append time %d, log start %d, throttle %d; want %d, -1, 0, 0",
			version, got.BaseOffset, got.LogAppendTime, got.LogStartOffset, resp.ThrottleMillis, base)
	}
}

func wantFetched(t *testing.T, b *harness.Broker, from string, topic topicRef, sent [][]byte) {
	t.Helper()
	w := dialWire(t, b.Addr)
	for version := int16(4); version <= 18; version++ {
		got := w.fetchAll(topic, 0, 0, version)
		if len(got) != len(sent) {
			t.Fatalf("%s, Fetch v%d: %d batches, want %d", from, version, len(got), len(sent))
		}
		offset := int64(0)
		for i := range got {
			if baseOf(got[i]) != offset || epochOf(got[i]) != 0 || !bytes.Equal(unplaced(got[i]), sent[i]) {
				t.Fatalf("%s, Fetch v%d: batch %d has offset %d, epoch %d; or other bytes than those sent:\n%x\n%x", from, version, i, baseOf(got[i]), epochOf(got[i]), got[i], sent[i])
			}
			offset += 3
		}
		// An offset in the middle of a batch gives the whole batch.
		last := w.fetchFrom(topic, 0, offset-1, version)
		if last.HighWatermark != offset || last.LastStableOffset != offset || version >= 5 && last.LogStartOffset != 0 {
			t.Errorf("%s, Fetch v%d: high watermark %d, last stable offset %d, log start %d; want %d, %d, 0", from, version, last.HighWatermark, last.LastStableOffset, last.LogStartOffset, offset, offset)
		}
		if !bytes.Equal(last.RecordBatches, got[len(got)-1]) {
			t.Errorf("%s, Fetch v%d from inside the last batch gives %d bytes, want that batch", from, version, len(last.RecordBatches))
		}
	}
}

// TestSurfaceListOffsets asks for earliest, latest, by time, and the special times of each version.
func TestSurfaceListOffsets(t *testing.T) {
	t.Parallel()
	listOffsets(t, startSluice(t))
}

func listOffsets(t *testing.T, b *harness.Broker) {
	topic := mustCreate(t, b.Addr, "times", 2)
	w := dialWire(t, b.Addr)
	t0 := time.Now().UnixMilli() - 60_000
	for _, stamp := range []int64{t0, t0 + 2000, t0 + 1000} {
		s := plain("a", "b")
		s.Timestamp = stamp
		wantCode(t, "produce", w.produceTo(topic, 0, 9, s.bytes()).ErrorCode, nil)
	}
	for _, c := range []struct {
		since        int16 // the lowest version
		partition    int32
		time         int64
		offset, when int64
		epoch        int32
		code         *kerr.Error
	}{
		{1, 0, -1, 6, -1, 0, nil},
		{1, 0, -2, 0, -1, 0, nil},
		{1, 0, t0 - 5, 0, t0, 0, nil},
		{1, 0, t0 + 1, 2, t0 + 2000, 0, nil},
		{1, 0, t0 + 3000, -1, -1, -1, nil},
		{7, 0, -3, 2, t0 + 2000, 0, nil},
		{8, 0, -4, 0, -1, 0, nil},
		{9, 0, -5, -1, -1, -1, nil},
		{11, 0, -6, -1, -1, -1, nil},
		{1, 1, -1, 0, -1, 0, nil},
		{1, 1, -2, 0, -1, 0, nil},
		{1, 1, t0, -1, -1, -1, nil},
		{1, 2, -1, -1, -1, -1, kerr.UnknownTopicOrPartition},
		{1, 0, -9, -1, -1, -1, kerr.UnsupportedVersion},
	} {
		for version := c.since; version <= 11; version++ {
			what := fmt.Sprintf("ListOffsets v%d of partition %d at %d", version, c.partition, c.time)
			got := w.listOffset(topic, c.partition, c.time, -1, version)
			wantCode(t, what, got.ErrorCode, c.code)
			if got.Offset != c.offset || got.Timestamp != c.when || version >= 4 && got.LeaderEpoch != c.epoch {
				t.Errorf("%s: offset %d, time %d, epoch %d; want %d, %d, %d", what, got.Offset, got.Timestamp, got.LeaderEpoch, c.offset, c.when, c.epoch)
			}
		}
	}
	wantCode(t, "an epoch from ahead", w.listOffset(topic, 0, -1, 7, 6).ErrorCode, kerr.UnknownLeaderEpoch)
}

func (w *wire) listOffset(topic topicRef, partition int32, at int64, current int32, version int16) kmsg.ListOffsetsResponseTopicPartition {
	w.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.TimeoutMillis = -1, 10_000
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic.name
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = partition, at, current
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp := w.do(req, version).(*kmsg.ListOffsetsResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		w.t.Fatalf("ListOffsets v%d is answered with %+v", version, resp.Topics)
	}
	return resp.Topics[0].Partitions[0]
}

// TestSurfaceAdmin: topics are created, shown and deleted, and producer ids are given, at every
// version.
func TestSurfaceAdmin(t *testing.T) {
	t.Parallel()
	b := startSluice(t)
	w := dialWire(t, b.Addr)
	var topics []topicRef
	for version := int16(2); version <= 7; version++ {
		topics = append(topics, createAt(t, w, version))
	}
	for version := int16(0); version <= 13; version++ {
		metadataAt(t, w, version, topics)
	}
	for version := int16(1); version <= 6; version++ {
		deleteAt(t, w, version, topics[version-1])
	}
	given := map[int64]bool{}
	for version := int16(0); version <= 5; version++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 60_000, -1, -1
		resp := w.do(req, version).(*kmsg.InitProducerIDResponse)
		wantCode(t, nameOf(req), resp.ErrorCode, nil)
		if resp.ProducerID < 0 || given[resp.ProducerID] || resp.ProducerEpoch != 0 {
			t.Errorf("%s gives producer %d with epoch %d", nameOf(req), resp.ProducerID, resp.ProducerEpoch)
		}
		given[resp.ProducerID] = true
	}
}

func createAt(t *testing.T, w *wire, version int16) topicRef {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = fmt.Sprintf("created-%d", version), 3, 1
	req.Topics = append(req.Topics, rt)
	got := w.do(req, version).(*kmsg.CreateTopicsResponse).Topics[0]
	wantCode(t, nameOf(req), got.ErrorCode, nil)
	again := w.do(req, version).(*kmsg.CreateTopicsResponse).Topics[0]
	wantCode(t, nameOf(req)+" again", again.ErrorCode, kerr.TopicAlreadyExists)
	if version >= 5 && (got.NumPartitions != 3 || got.ReplicationFactor != 1 || len(got.Configs) == 0) {
		t.Errorf("%s: %d partitions, %d replicas, %d configs", nameOf(req), got.NumPartitions, got.ReplicationFactor, len(got.Configs))
	}
	if version < 7 {
		return topicRef{name: rt.Topic}
	}
	return topicRef{rt.Topic, got.TopicID}
}

func metadataAt(t *testing.T, w *wire, version int16, topics []topicRef) {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	for i := range topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &topics[i].name})
	}
	resp := w.do(req, version).(*kmsg.MetadataResponse)
	if len(resp.Brokers) != 1 || len(resp.Topics) != len(topics) {
		t.Fatalf("%s: %d brokers, %d topics", nameOf(req), len(resp.Brokers), len(resp.Topics))
	}
	for i, rt := range resp.Topics {
		wantCode(t, nameOf(req), rt.ErrorCode, nil)
		if *rt.Topic != topics[i].name || len(rt.Partitions) != 3 {
			t.Errorf("%s: topic %s with %d partitions", nameOf(req), *rt.Topic, len(rt.Partitions))
		}
		for _, p := range rt.Partitions {
			if p.Leader != resp.Brokers[0].NodeID || len(p.Replicas) != 1 || len(p.ISR) != 1 || version >= 7 && p.LeaderEpoch != 0 {
				t.Errorf("%s: partition %+v", nameOf(req), p)
			}
		}
		if version >= 10 {
			topics[i].id = rt.TopicID
		}
	}
	metadataByIDAt(t, w, version, topics[0])
	all := kmsg.NewPtrMetadataRequest() // null means all; at version 0 an empty list does
	if version == 0 {
		all.Topics = []kmsg.MetadataRequestTopic{}
	}
	if got := w.do(all, version).(*kmsg.MetadataResponse); len(got.Topics) < len(topics) {
		t.Errorf("%s of all topics gives %d", nameOf(all), len(got.Topics))
	}
	if version >= 4 {
		name := "nobody-made-this"
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
		wantCode(t, nameOf(req)+" of no topic", w.do(req, version).(*kmsg.MetadataResponse).Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
	}
}

func metadataByIDAt(t *testing.T, w *wire, version int16, topic topicRef) {
	t.Helper()
	if version < 12 {
		return
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: topic.id}, kmsg.MetadataRequestTopic{TopicID: [16]byte{0xee}})
	got := w.do(req, version).(*kmsg.MetadataResponse).Topics
	wantCode(t, nameOf(req)+" by id", got[0].ErrorCode, nil)
	if got[0].Topic == nil || *got[0].Topic != topic.name {
		t.Errorf("%s by id gives topic %v", nameOf(req), got[0].Topic)
	}
	wantCode(t, nameOf(req)+" by an unknown id", got[1].ErrorCode, kerr.UnknownTopicID)
}

func deleteAt(t *testing.T, w *wire, version int16, topic topicRef) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	missing := kerr.UnknownTopicOrPartition
	if version < 6 {
		req.TopicNames = []string{topic.name}
	} else {
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: topic.id}}
		missing = kerr.UnknownTopicID
	}
	wantCode(t, nameOf(req), w.do(req, version).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, nil)
	wantCode(t, nameOf(req)+" again", w.do(req, version).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, missing)
}
