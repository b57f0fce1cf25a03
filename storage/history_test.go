package storage_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// outcome is what a client was told about a batch.
type outcome int

const (
	pending outcome = iota
	acked
	refused // definitely not written
	unknown
)

// sent is one batch that a client has sent, perhaps several times.
type sent struct {
	tp       ident.TopicPartition
	values   []string
	producer int64 // -1 for a batch without a producer id
	epoch    int16
	sequence int32
	age      time.Duration // of its records, by their timestamps

	// The following fields are guarded by history.mu.
	outcome outcome
	doubt   bool // the outcome of an earlier attempt is unknown
	err     error
	base    ident.Offset // where the batch is, if it is acked
	done    chan struct{}
}

func (s *sent) String() string {
	return fmt.Sprintf("%s values %s.. (producer %d epoch %d sequence %d)", s.tp, s.values[0], s.producer, s.epoch, s.sequence)
}

// history is everything that clients have seen of a broker, over all of its lives.
type history struct {
	t testing.TB

	mu         sync.Mutex
	count      int
	started    int // number of requests; every other one lends its goroutine to the log
	sent       []*sent
	byValue    map[string]*sent
	partitions map[ident.TopicPartition]*seen
	deleted    map[ident.TopicID]bool
	nextSeq    map[producerKey]int32
}

type producerKey struct {
	tp ident.TopicPartition
	id int64
}

// seen is what readers have seen of a partition.
type seen struct {
	values    map[ident.Offset]string
	high      ident.Offset
	logStart  ident.Offset
	startsMax ident.Offset // the highest log start that was ever asked for
}

func newHistory(t testing.TB) *history {
	return &history{
		t: t, byValue: map[string]*sent{}, partitions: map[ident.TopicPartition]*seen{},
		deleted: map[ident.TopicID]bool{}, nextSeq: map[producerKey]int32{},
	}
}

func (h *history) seenLocked(tp ident.TopicPartition) *seen {
	s := h.partitions[tp]
	if s == nil {
		s = &seen{values: map[ident.Offset]string{}}
		h.partitions[tp] = s
	}
	return s
}

func (h *history) deleting(id ident.TopicID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deleted[id] = true
}

func (h *history) advancing(tp ident.TopicPartition, start ident.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seenLocked(tp)
	s.startsMax = max(s.startsMax, start)
}

// ended checks that a process that has ended has answered every request.
func (h *history) ended() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sent {
		if s.outcome == pending {
			h.t.Errorf("never answered, though the engine is closed: %s", s)
			s.outcome, s.doubt = unknown, true
			close(s.done)
		}
	}
}

// plain makes a batch of n records without a producer id.
func (r *rig) plain(tp ident.TopicPartition, n int) *sent { return r.batch(tp, n, 40, -1) }

// batch makes a batch of n records of some bytes each. Producer -1 makes it without a producer id;
// any other producer continues with its next sequence.
func (r *rig) batch(tp ident.TopicPartition, n, bytes int, producer int64) *sent {
	h := r.history
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &sent{tp: tp, producer: producer, epoch: -1, sequence: -1}
	if producer >= 0 {
		key := producerKey{tp, producer}
		s.epoch, s.sequence = 0, h.nextSeq[key]
		h.nextSeq[key] += int32(n)
	}
	for range n {
		h.count++
		v := fmt.Sprintf("%08d", h.count)
		for len(v) < bytes {
			v += ".........................................................."[:min(50, bytes-len(v))]
		}
		s.values = append(s.values, v)
		h.byValue[v] = s
	}
	h.sent = append(h.sent, s)
	s.outcome = refused // nothing of the batch has left the client
	return s
}

func (r *rig) encode(s *sent) storage.PartitionAppend {
	records := make([]protocol.Record, len(s.values))
	for i, v := range s.values {
		records[i] = protocol.Record{Timestamp: time.Now().Add(-s.age).UnixMilli(), Value: []byte(v)}
	}
	b, err := protocol.BuildBatch(protocol.BatchSpec{ProducerID: s.producer, ProducerEpoch: s.epoch, BaseSequence: s.sequence}, records)
	if err != nil {
		r.t.Fatal(err)
	}
	header, err := protocol.ParseBatchHeader(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return storage.PartitionAppend{Partition: s.tp, Batch: b, Header: header}
}

// start sends batches in one request and does not wait. A batch may be sent again.
func (r *rig) start(batches ...*sent) {
	h := r.history
	h.mu.Lock()
	h.started++
	req := &storage.AppendRequest{Lend: !r.holdsSyncs && h.started%2 == 0}
	for _, s := range batches {
		req.Partitions = append(req.Partitions, r.encode(s))
		s.outcome, s.done = pending, make(chan struct{})
	}
	h.mu.Unlock()
	p := r.process
	req.Done = func(req *storage.AppendRequest) { h.answered(p, batches, req) }
	p.engine.Append(req)
}

// answered notes what a client was told. The answer of a dead process reaches nobody.
func (h *history) answered(p *process, batches []*sent, req *storage.AppendRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range batches {
		if s.outcome != pending {
			h.t.Errorf("answered twice: %s", s)
			continue
		}
		in := &req.Partitions[i]
		s.err = in.Err
		switch {
		case p.dead():
			s.outcome = unknown
		case in.Err == nil:
			s.outcome = acked
			if s.base != 0 && s.base != in.BaseOffset {
				h.t.Errorf("I11: acknowledged at %d and before at %d: %s", in.BaseOffset, s.base, s)
			}
			s.base = in.BaseOffset
		case errors.Is(in.Err, storage.ErrWALFailed), errors.Is(in.Err, storage.ErrLeadershipLost):
			s.outcome = unknown
		case errors.Is(in.Err, storage.ErrUnknownPartition):
			s.outcome = unknown // its topic was deleted while it waited, or was never there
		case s.doubt:
			// The batch was not written this time, but may have been written an earlier time.
			s.outcome = unknown
		default:
			s.outcome = refused
		}
		s.doubt = s.doubt || s.outcome == unknown
		close(s.done)
	}
}

// wait waits until all batches are answered, at most a minute of virtual time, and reports whether
// they were.
func (r *rig) wait(batches ...*sent) bool {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for _, s := range batches {
		select {
		case <-s.done:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// send sends batches in one request and waits for their outcome.
func (r *rig) send(batches ...*sent) {
	r.t.Helper()
	r.start(batches...)
	if !r.wait(batches...) {
		r.t.Fatalf("no answer within a minute: %s", batches[0])
	}
}

// mustSend is send for tests in which nothing may fail.
func (r *rig) mustSend(batches ...*sent) {
	r.t.Helper()
	r.send(batches...)
	for _, s := range batches {
		if s.outcome != acked {
			r.t.Fatalf("not acknowledged: %v: %s", s.err, s)
		}
	}
}

// observe reads everything that can be read and compares it with what clients saw and were told
// before. Every violation is an error of the test. It returns false if something could not be read
// for now.
func (r *rig) observe() bool {
	r.t.Helper()
	all := true
	var topics []*catalog.Topic
	r.quorum.view(func(s *metadata.State) { topics = s.Topics() })
	for _, t := range topics {
		for i := range t.Partitions {
			all = r.observePartition(ident.TopicPartition{Topic: t.ID, Index: int32(i)}) && all
		}
	}
	return all
}

func (r *rig) observePartition(tp ident.TopicPartition) bool {
	r.t.Helper()
	e := r.engine()
	first, err := e.ListOffset(r.t.Context(), tp, storage.TimestampEarliest, ident.NoEpoch, storage.ReadUncommitted)
	if err != nil {
		r.t.Logf("earliest of %s: %v", tp, err)
		return false
	}
	read := map[ident.Offset]string{}
	next := first.Offset
	high := ident.Offset(0)
	for {
		f := storage.Fetch{MaxBytes: 300, Partitions: []storage.FetchPartition{{Partition: tp, Offset: next, MaxBytes: 300, CurrentEpoch: ident.NoEpoch}}}
		e.Read(r.t.Context(), &f)
		q := &f.Partitions[0]
		if q.Err != nil {
			r.t.Logf("read %s at %d: %v", tp, next, q.Err)
			return false
		}
		high = q.HighWatermark
		if next == high {
			break
		}
		if len(q.Batches) == 0 {
			if q.LogStart > next {
				next = q.LogStart // it moved meanwhile
				continue
			}
			r.t.Errorf("I1: %s: nothing at %d, high watermark %d, log start %d", tp, next, high, q.LogStart)
			return false
		}
		for _, b := range q.Batches {
			next = r.collect(tp, b, next, read)
		}
	}
	if !r.process.dead() {
		r.history.read(tp, first.Offset, high, read)
	}
	return true
}

// collect adds a batch's records to read, checks the batch, and returns its end.
func (r *rig) collect(tp ident.TopicPartition, b []byte, from ident.Offset, read map[ident.Offset]string) ident.Offset {
	r.t.Helper()
	h, err := protocol.ParseBatchHeader(b)
	if err == nil {
		err = protocol.VerifyCRC(b)
	}
	if err != nil {
		r.t.Fatalf("%s at %d: %v", tp, from, err)
	}
	if ident.Offset(h.BaseOffset) > from || ident.Offset(h.End()) <= from {
		r.t.Fatalf("I8: %s: asked for %d, got [%d,%d)", tp, from, h.BaseOffset, h.End())
	}
	for rec, err := range protocol.Records(b) {
		if err != nil {
			r.t.Fatal(err)
		}
		if ident.Offset(rec.Offset) >= from {
			read[ident.Offset(rec.Offset)] = string(rec.Value)
		}
	}
	return ident.Offset(h.End())
}

// read compares a full read of a partition with everything that is known.
func (h *history) read(tp ident.TopicPartition, logStart, high ident.Offset, read map[ident.Offset]string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seenLocked(tp)
	if high < s.high {
		h.t.Errorf("I5: high watermark of %s went from %d to %d", tp, s.high, high)
	}
	if logStart < s.logStart || logStart > max(s.startsMax, s.logStart) {
		h.t.Errorf("log start of %s went from %d to %d, asked for at most %d", tp, s.logStart, logStart, s.startsMax)
	}
	s.high, s.logStart = max(s.high, high), max(s.logStart, logStart)
	for o, v := range s.values {
		if o >= logStart && read[o] != v {
			h.t.Errorf("I2: %s offset %d was %.9q and is %.9q", tp, o, v, read[o])
		}
	}
	at := map[string]ident.Offset{}
	for _, o := range slices.Sorted(maps.Keys(read)) {
		v := read[o]
		if before, twice := at[v]; twice {
			h.t.Errorf("I11: %s holds %.9q at %d and at %d", tp, v, before, o)
		}
		at[v] = o
		s.values[o] = v
		from := h.byValue[v]
		if from == nil || from.tp != tp {
			h.t.Errorf("%s offset %d holds %.9q, which nobody sent there", tp, o, v)
		} else if from.outcome == refused {
			h.t.Errorf("%s offset %d holds %.9q, which was refused: %v", tp, o, v, from.err)
		}
	}
	for _, b := range h.sent {
		if b.tp != tp || b.outcome != acked {
			continue
		}
		for i, v := range b.values {
			o := b.base + ident.Offset(i)
			if o >= logStart && read[o] != v {
				h.t.Errorf("I1: acknowledged at offset %d of %s, read there: %.9q: %s", o, tp, read[o], b)
			}
		}
	}
}

// check runs observe where everything must be readable, and checks that the quorum's heads are
// consistent.
func (r *rig) check() {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !r.observe() {
		if r.t.Failed() {
			r.t.FailNow()
		}
		if time.Now().After(deadline) {
			r.t.Fatal("not everything can be read within a minute")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// unanswered returns idempotent batches whose producers do not know whether they were written, in
// order.
func (h *history) unanswered() (out []*sent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sent {
		if s.producer >= 0 && s.outcome != acked && s.outcome != pending && !h.deleted[s.tp.Topic] {
			out = append(out, s)
		}
	}
	return out
}

// newest returns each producer's newest acknowledged batch at or above the log start.
func (h *history) newest() (out []*sent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := map[producerKey]*sent{}
	for _, s := range h.sent {
		if s.producer >= 0 && s.outcome == acked && !h.deleted[s.tp.Topic] {
			last[producerKey{s.tp, s.producer}] = s
		}
	}
	for _, s := range last {
		out = append(out, s)
	}
	return out
}

// resume does what clients do after a restart. Batches in doubt are sent again. Then every producer
// sends its last batch once more, which must be recognised (I11), and a new batch, which must be
// accepted.
func (r *rig) resume() {
	r.t.Helper()
	for _, s := range r.history.unanswered() {
		r.start(s)
		if !r.wait(s) || s.outcome != acked {
			if !r.alive() {
				return
			}
			r.t.Fatalf("I11: sent again after a restart and not taken: %v: %s", s.err, s)
		}
	}
	for _, s := range r.history.newest() {
		base := s.base
		r.start(s)
		if !r.wait(s) || s.outcome != acked {
			if !r.alive() {
				return
			}
			r.t.Fatalf("I11: a repeated batch was not recognised: %v: %s", s.err, s)
		}
		if s.base != base {
			r.t.Errorf("I11: a repeated batch was answered with %d, the original had %d: %s", s.base, base, s)
		}
		next := r.batch(s.tp, 1, 40, s.producer)
		r.start(next)
		if !r.wait(next) || next.outcome != acked {
			if !r.alive() {
				return
			}
			r.t.Fatalf("I11: the next sequence was not accepted: %v: %s", next.err, next)
		}
	}
}

// drop forgets a batch that was refused for good, whose producer gives up.
func (h *history) drop(s *sent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = slices.DeleteFunc(h.sent, func(x *sent) bool { return x == s })
	h.nextSeq[producerKey{s.tp, s.producer}] -= int32(len(s.values))
}

// outcome returns what is known about a batch that may be in flight.
func (h *history) outcome(s *sent) outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.outcome
}

// inFlight counts a producer's batches on a partition that are not acknowledged.
func (h *history) inFlight(tp ident.TopicPartition, producer int64) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sent {
		if s.tp == tp && s.producer == producer && s.outcome != acked {
			n++
		}
	}
	return n
}
