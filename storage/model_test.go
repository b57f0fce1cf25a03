package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// modelLog is a partition as a reader should find it: a slice of records.
type modelLog struct {
	tp      ident.TopicPartition
	start   ident.Offset
	records []modelRecord // by offset
}

type modelRecord struct {
	timestamp  int64
	value      string
	epoch      ident.Epoch
	base, next ident.Offset // of the record's batch
}

func (m *modelLog) end() ident.Offset { return ident.Offset(len(m.records)) }

// modelBatch describes the batch that put makes.
type modelBatch struct {
	codec      int
	appendTime bool
	bytes      int     // of each value
	times      []int64 // of each record
	claims     int64   // the largest time that the batch's header claims, if not 0
	more       byte    // how many records the header claims that are not there
}

// put appends a batch and waits for its acknowledgement.
func (r *rig) put(m *modelLog, spec modelBatch) {
	r.t.Helper()
	if err := r.tryPut(m, spec); err != nil {
		r.t.Fatalf("append to %s: %v", m.tp, err)
	}
}

func (r *rig) tryPut(m *modelLog, spec modelBatch) error {
	r.t.Helper()
	records := make([]protocol.Record, len(spec.times))
	base := m.end()
	for i, ts := range spec.times {
		v := fmt.Appendf(nil, "%s/%d ", m.tp, base+ident.Offset(i))
		for len(v) < spec.bytes {
			v = append(v, byte('a'+len(v)*7%26))
		}
		records[i] = protocol.Record{Timestamp: ts, Value: v}
	}
	header := protocol.NoProducerSpec
	header.Attributes = protocol.Attributes(spec.codec)
	b, err := protocol.BuildBatch(header, records)
	if err != nil {
		r.t.Fatal(err)
	}
	if spec.claims != 0 {
		protocol.SetMaxTimestamp(b, spec.claims)
	}
	if spec.more > 0 {
		b[26], b[60] = b[26]+spec.more, b[60]+spec.more
		protocol.SetMaxTimestamp(b, int64(binary.BigEndian.Uint64(b[35:])))
	}
	now := time.Now().UnixMilli()
	if spec.appendTime {
		protocol.SetLogAppendTime(b, now)
	}
	h, err := protocol.ParseBatchHeader(b)
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	req := &storage.AppendRequest{
		Partitions: []storage.PartitionAppend{{Partition: m.tp, Batch: b, Header: h}},
		Done:       func(*storage.AppendRequest) { close(done) },
	}
	r.engine().Append(req)
	<-done
	in := &req.Partitions[0]
	if in.Err != nil {
		return in.Err
	}
	if in.BaseOffset != base {
		r.t.Fatalf("append to %s at %d, want %d", m.tp, in.BaseOffset, base)
	}
	epoch := r.head(m.tp).Leader.Epoch
	for i := range records {
		ts := records[i].Timestamp
		if spec.appendTime {
			ts = now
		}
		m.records = append(m.records, modelRecord{ts, string(records[i].Value), epoch, base, base + ident.Offset(len(records))})
	}
	return nil
}

// fill appends count plain batches of n records each, with the current time.
func (r *rig) fill(m *modelLog, count, n, bytes int) {
	r.t.Helper()
	for range count {
		r.put(m, modelBatch{bytes: bytes, times: slices.Repeat([]int64{time.Now().UnixMilli()}, n)})
	}
}

// fillFlushed appends batches of one record and flushes after each, so that each becomes a range.
func (r *rig) fillFlushed(m *modelLog, count int) {
	r.t.Helper()
	for range count {
		r.fill(m, 1, 1, 40)
		r.mustFlush()
	}
}

func (r *rig) newLog(name string, configs map[string]string) *modelLog {
	r.t.Helper()
	return &modelLog{tp: r.mustCreate(name, 1, configs)[0]}
}

func (r *rig) advanceLog(m *modelLog, start ident.Offset) {
	r.advance(m.tp, start)
	m.start = max(m.start, start)
}

// fetch reads one partition.
func (r *rig) fetch(tp ident.TopicPartition, offset ident.Offset, limit int) *storage.FetchPartition {
	f := storage.Fetch{MaxBytes: limit, Partitions: []storage.FetchPartition{{Partition: tp, Offset: offset, MaxBytes: limit, CurrentEpoch: ident.NoEpoch}}}
	r.engine().Read(context.Background(), &f)
	return &f.Partitions[0]
}

// holds checks an answer that must have data: whole batches, of which the first holds the offset
// and the rest follow without a gap, and every record is the model's. It joins batches that are
// split, and returns where the answer ends.
func (m *modelLog) holds(t testing.TB, q *storage.FetchPartition) ident.Offset {
	t.Helper()
	if q.Err != nil {
		t.Fatalf("fetch %s at %d: %v", m.tp, q.Offset, q.Err)
	}
	if q.HighWatermark != m.end() || q.LastStable != m.end() || q.LogStart != m.start {
		t.Fatalf("fetch %s at %d: high %d stable %d start %d, want %d and %d", m.tp, q.Offset, q.HighWatermark, q.LastStable, q.LogStart, m.end(), m.start)
	}
	if q.Split {
		q.Batches = putTogether(t, q.Batches)
	}
	next, size := q.Offset, 0
	for i, b := range q.Batches {
		h, err := protocol.ParseBatchHeader(b)
		if err != nil || h.Bytes != len(b) || protocol.VerifyCRC(b) != nil {
			t.Fatalf("fetch %s at %d: batch %d of %d bytes: %+v, %v", m.tp, q.Offset, i, len(b), h, err)
		}
		if base := ident.Offset(h.BaseOffset); base > next || i > 0 && base != next || ident.Offset(h.End()) <= next {
			t.Fatalf("I8: fetch %s at %d: batch %d is [%d,%d), want one that holds %d", m.tp, q.Offset, i, base, h.End(), next)
		}
		if ident.Offset(h.End()) > m.end() {
			t.Fatalf("I5: fetch %s at %d: batch ends at %d, high watermark is %d", m.tp, q.Offset, h.End(), m.end())
		}
		m.sameRecords(t, b, &h)
		next = ident.Offset(h.End())
		size += len(b)
	}
	if size != q.Bytes {
		t.Fatalf("fetch %s at %d: %d bytes, says %d", m.tp, q.Offset, size, q.Bytes)
	}
	return next
}

// putTogether joins split batches and returns one slice per batch.
func putTogether(t testing.TB, split [][]byte) (batches [][]byte) {
	t.Helper()
	for all := slices.Concat(split...); len(all) > 0; {
		h, err := protocol.ParseBatchHeader(all)
		if err != nil || h.Bytes > len(all) {
			t.Fatalf("batch %d of %d bytes: %+v, %v", len(batches), len(all), h, err)
		}
		batches, all = append(batches, all[:h.Bytes]), all[h.Bytes:]
	}
	return batches
}

func (m *modelLog) sameRecords(t testing.TB, b []byte, h *protocol.BatchHeader) {
	t.Helper()
	offset := ident.Offset(h.BaseOffset)
	for rec, err := range protocol.Records(b) {
		if err != nil {
			t.Fatal(err)
		}
		want := &m.records[offset]
		if ident.Offset(rec.Offset) != offset || string(rec.Value) != want.value || rec.Timestamp != want.timestamp || ident.Epoch(h.LeaderEpoch) != want.epoch {
			t.Fatalf("I2: %s offset %d is %d %.12q time %d epoch %d, want %.12q time %d epoch %d",
				m.tp, offset, rec.Offset, rec.Value, rec.Timestamp, h.LeaderEpoch, want.value, want.timestamp, want.epoch)
		}
		offset++
	}
	if int64(offset) != h.End() {
		t.Fatalf("%s: batch [%d,%d) has records up to %d", m.tp, h.BaseOffset, h.End(), offset)
	}
}

// checkFetch reads at every offset that exists, and at the offsets next to them.
func (m *modelLog) checkFetch(r *rig, random *rand.Rand) {
	t := r.t
	t.Helper()
	for offset := m.start; offset < m.end(); offset++ {
		limit := random.IntN(2000)
		q := r.fetch(m.tp, offset, limit)
		if m.holds(t, q) == offset {
			t.Fatalf("I1: fetch %s at %d with limit %d: nothing, log is [%d,%d)", m.tp, offset, limit, m.start, m.end())
		}
		if q.Bytes > limit && len(q.Batches) > 1 {
			t.Fatalf("fetch %s at %d: %d bytes in %d batches, limit %d", m.tp, offset, q.Bytes, len(q.Batches), limit)
		}
	}
	for _, offset := range []ident.Offset{-1, m.start - 1, m.end() + 1, m.end() + 1000} {
		q := r.fetch(m.tp, offset, 100)
		if !errors.Is(q.Err, storage.ErrOffsetOutOfRange) || q.HighWatermark != -1 || q.LastStable != -1 || q.LogStart != -1 || len(q.Batches) > 0 {
			t.Fatalf("fetch %s at %d: %+v, log is [%d,%d)", m.tp, offset, q, m.start, m.end())
		}
	}
	if q := r.fetch(m.tp, m.end(), 100); m.holds(t, q) != m.end() {
		t.Fatalf("fetch %s at its end: %+v", m.tp, q)
	}
}

// after is the model's answer to ListOffsets by time.
func (m *modelLog) after(ts int64) storage.OffsetAt {
	for o := m.start; o < m.end(); o++ {
		if rec := &m.records[o]; rec.timestamp >= ts {
			return storage.OffsetAt{Offset: o, Timestamp: rec.timestamp, Epoch: rec.epoch}
		}
	}
	return storage.OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}
}

func (m *modelLog) newest() storage.OffsetAt {
	at := storage.OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}
	for o := m.start; o < m.end(); o++ {
		if rec := &m.records[o]; rec.timestamp > at.Timestamp {
			at = storage.OffsetAt{Offset: o, Timestamp: rec.timestamp, Epoch: rec.epoch}
		}
	}
	return at
}

// checkOffsets compares ListOffsets with the model.
func (m *modelLog) checkOffsets(r *rig, random *rand.Rand) {
	t := r.t
	t.Helper()
	leader := r.head(m.tp).Leader.Epoch
	latest := storage.OffsetAt{Offset: m.end(), Timestamp: -1, Epoch: leader}
	earliest := storage.OffsetAt{Offset: m.start, Timestamp: -1, Epoch: leader}
	if m.start < m.end() {
		earliest.Epoch = m.records[m.start].epoch
	}
	nothing := storage.OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}
	want := map[int64]storage.OffsetAt{
		storage.TimestampLatest: latest, storage.TimestampEarliest: earliest, storage.TimestampEarliestLocal: earliest,
		storage.TimestampMax: m.newest(), storage.TimestampLatestTiered: nothing, storage.TimestampEarliestUpload: nothing,
		0: m.after(0), 1 << 62: nothing,
	}
	for range 12 {
		if len(m.records) > 0 {
			ts := m.records[random.IntN(len(m.records))].timestamp + random.Int64N(3) - 1
			if ts >= 0 {
				want[ts] = m.after(ts)
			}
		}
	}
	for ts, at := range want {
		got, err := r.engine().ListOffset(context.Background(), m.tp, ts, ident.NoEpoch, storage.ReadUncommitted)
		if err != nil || got != at {
			t.Fatalf("ListOffsets of %s at %d: %+v, %v, want %+v; log is [%d,%d)", m.tp, ts, got, err, at, m.start, m.end())
		}
	}
	if _, err := r.engine().ListOffset(context.Background(), m.tp, -7, ident.NoEpoch, storage.ReadUncommitted); !errors.Is(err, storage.ErrUnsupportedTimestamp) {
		t.Fatalf("ListOffsets at -7: %v", err)
	}
}

// checkEpochs compares OffsetForLeaderEpoch with the epochs in the batches (KIP-320).
func (m *modelLog) checkEpochs(r *rig) {
	t := r.t
	t.Helper()
	leader := r.head(m.tp).Leader.Epoch
	type first struct {
		epoch ident.Epoch
		start ident.Offset
	}
	var history []first
	for o := m.start; o < m.end(); o++ {
		if e := m.records[o].epoch; len(history) == 0 || history[len(history)-1].epoch != e {
			history = append(history, first{e, o})
		}
	}
	if len(history) == 0 || history[len(history)-1].epoch != leader {
		history = append(history, first{leader, m.end()})
	}
	for asked := ident.Epoch(-1); asked <= leader+1; asked++ {
		epoch, end := ident.NoEpoch, ident.Offset(-1)
		switch {
		case asked < 0 || asked > leader:
		case asked < history[0].epoch:
			epoch, end = asked, history[0].start
		default:
			for i, h := range history {
				if h.epoch <= asked {
					epoch, end = h.epoch, m.end()
					if i+1 < len(history) {
						end = history[i+1].start
					}
				}
			}
		}
		gotEpoch, gotEnd, err := r.engine().EpochEnd(m.tp, asked, ident.NoEpoch)
		if err != nil || gotEpoch != epoch || gotEnd != end {
			t.Fatalf("end of epoch %d of %s: %d, %d, %v, want %d, %d; log is [%d,%d), history %v", asked, m.tp, gotEpoch, gotEnd, err, epoch, end, m.start, m.end(), history)
		}
	}
}

// randomBatch describes batches of every kind.
func randomBatch(random *rand.Rand, appendTime bool) modelBatch {
	b := modelBatch{codec: random.IntN(5), appendTime: appendTime, bytes: 10 + random.IntN(60), times: make([]int64, 1+random.IntN(6))}
	if random.IntN(20) == 0 {
		b.bytes = 3000
	}
	for i := range b.times {
		b.times[i] = time.Now().UnixMilli() - random.Int64N(20_000) // out of order
	}
	if random.IntN(25) == 0 {
		for i := range b.times {
			b.times[i] = -1 // a producer that has no clock
		}
	}
	return b
}

// init makes the codecs create what they share before there is any bubble, because a channel made
// in one bubble may not be used in another.
func init() {
	b, err := protocol.BuildBatch(protocol.BatchSpec{Attributes: protocol.CodecZstd}, []protocol.Record{{Value: []byte("a")}})
	if err != nil {
		panic(err)
	}
	for _, err := range protocol.Records(b) {
		if err != nil {
			panic(err)
		}
	}
}
