package pstate

import (
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/sluicemq/sluice/ident"
)

// Refusals of a batch. Both are definite: nothing was changed.
var (
	ErrOutOfOrder = errors.New("out of order sequence number")            // Kafka's 45
	ErrStaleEpoch = errors.New("producer epoch is older than the newest") // Kafka's 47
)

// RecentMax is how many batches per producer are remembered for duplicates. A
// client has at most that many requests in flight (KIP-98).
const RecentMax = 5

// sequenceMask keeps sequences within 0 to 2147483647: after the last comes 0.
const sequenceMask = math.MaxInt32

// noTime is below every timestamp.
const noTime = math.MinInt64

// Batch is one batch as producer state sees it. A batch without a producer
// (ident.NoProducer) passes every check and changes nothing.
type Batch struct {
	Producer      ident.ProducerID
	Epoch         int16
	FirstSequence int32
	Start, End    ident.Offset // half-open; a sequence per offset
	Timestamp     int64        // milliseconds, largest of the batch
	AppendTime    int64        // milliseconds if the topic stamps LogAppendTime, else -1
}

// BatchMeta is what is remembered of a batch: enough to answer its repetition.
type BatchMeta struct {
	FirstSequence int32
	Start, End    ident.Offset
	AppendTime    int64 // -1: the client's timestamps stand
}

// LastSequence returns the sequence of the batch's last record.
func (m BatchMeta) LastSequence() int32 {
	return LastSequence(m.FirstSequence, int32(m.End-m.Start-1))
}

// LastSequence returns the sequence of the record lastOffsetDelta after first,
// with the step from 2147483647 to 0.
func LastSequence(first, lastOffsetDelta int32) int32 {
	return int32((int64(first) + int64(lastOffsetDelta)) & sequenceMask)
}

// producer is one producer id on one partition.
type producer struct {
	// timestamp is the largest of all its batches, so that it never goes back:
	// the expiry floor of a delta relies on that.
	timestamp int64
	epoch     int16
	changed   bool                 // since the last MarkBase
	count     uint8                // of recent in use
	recent    [RecentMax]BatchMeta // oldest first; all of this epoch; never empty in a table
}

func (p *producer) last() BatchMeta { return p.recent[p.count-1] }

// find returns where in recent the batch with exactly these sequences is, -1 if it is not remembered.
func (p *producer) find(first, last int32) int {
	for i := range p.recent[:p.count] {
		if m := &p.recent[i]; m.FirstSequence == first && m.LastSequence() == last {
			return i
		}
	}
	return -1
}

func (p *producer) push(m BatchMeta) {
	if p.count == RecentMax {
		copy(p.recent[:], p.recent[1:])
		p.count--
	}
	p.recent[p.count] = m
	p.count++
}

// Table is the producers of one partition. Not safe for concurrent use.
type Table struct {
	producers map[ident.ProducerID]producer
	// floor is the highest time given to Expire since the last MarkBase: what the
	// base holds below it, and no delta repeats, is gone.
	floor int64
}

// NewTable returns a table without producers.
func NewTable() *Table {
	return &Table{producers: make(map[ident.ProducerID]producer), floor: noTime}
}

// Len returns how many producers are remembered. The caller holds its cap against it (E11).
func (t *Table) Len() int { return len(t.producers) }

// Has reports whether the producer is remembered.
func (t *Table) Has(id ident.ProducerID) bool {
	_, ok := t.producers[id]
	return ok
}

// Check judges a batch that a client sent, in Kafka's order: duplicate, epoch,
// sequence. A batch whose first and last sequence equal one of the last five of
// the same epoch is a duplicate and dup is its original (I11). A producer that is
// not remembered may begin anywhere; a new epoch begins at sequence 0, whether a
// coordinator gave it or the client raised it itself (KIP-360).
func (t *Table) Check(b Batch) (dup *BatchMeta, err error) {
	if b.Producer < 0 {
		return nil, nil
	}
	p, ok := t.producers[b.Producer]
	if !ok {
		return nil, nil
	}
	last := LastSequence(b.FirstSequence, int32(b.End-b.Start-1))
	switch {
	case b.Epoch < p.epoch:
		return nil, fmt.Errorf("%w: producer %d has epoch %d, the batch %d", ErrStaleEpoch, b.Producer, p.epoch, b.Epoch) // I12
	case b.Epoch > p.epoch && b.FirstSequence != 0:
		return nil, fmt.Errorf("%w: producer %d begins epoch %d at sequence %d, want 0", ErrOutOfOrder, b.Producer, b.Epoch, b.FirstSequence)
	case b.Epoch > p.epoch:
		return nil, nil
	}
	if i := p.find(b.FirstSequence, last); i >= 0 {
		original := p.recent[i] // only a duplicate costs an allocation
		return &original, nil   // I11
	}
	if want := LastSequence(p.last().LastSequence(), 1); b.FirstSequence != want {
		return nil, fmt.Errorf("%w: producer %d epoch %d sends sequence %d, want %d", ErrOutOfOrder, b.Producer, b.Epoch, b.FirstSequence, want)
	}
	return nil, nil
}

// Apply takes a batch into the table: after Check when it is placed, without it
// when it is read back from the log, which was checked when it was written. A
// batch of an older epoch changes nothing, so that the newest stands (I12).
func (t *Table) Apply(b Batch) {
	if b.Producer < 0 {
		return
	}
	p, ok := t.producers[b.Producer]
	switch {
	case !ok:
		p = producer{epoch: b.Epoch, timestamp: b.Timestamp}
	case b.Epoch < p.epoch:
		return
	case b.Epoch > p.epoch:
		p = producer{epoch: b.Epoch, timestamp: p.timestamp}
	}
	p.push(BatchMeta{FirstSequence: b.FirstSequence, Start: b.Start, End: b.End, AppendTime: b.AppendTime})
	p.timestamp = max(p.timestamp, b.Timestamp)
	p.changed = true
	t.producers[b.Producer] = p
}

// Expire forgets the producers whose newest timestamp lies below before
// (milliseconds) and returns how many they were.
func (t *Table) Expire(before int64) int {
	n := len(t.producers)
	maps.DeleteFunc(t.producers, func(_ ident.ProducerID, p producer) bool { return p.timestamp < before })
	if n > len(t.producers) {
		t.floor = max(t.floor, before)
	}
	return n - len(t.producers)
}

// MarkBase says that the table as it is now stands in a base block: deltas
// from here on list what changes after it.
func (t *Table) MarkBase() {
	for id, p := range t.producers {
		if p.changed {
			p.changed = false
			t.producers[id] = p
		}
	}
	t.floor = noTime
}

// Clone returns a copy that shares nothing.
func (t *Table) Clone() *Table {
	return &Table{producers: maps.Clone(t.producers), floor: t.floor}
}
