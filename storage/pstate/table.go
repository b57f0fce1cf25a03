package pstate

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"

	"github.com/sluicemq/sluice/ident"
)

// The refusals of a batch. Both are definite: nothing was changed.
var (
	ErrOutOfOrder = errors.New("out of order sequence number")            // Kafka's 45
	ErrStaleEpoch = errors.New("producer epoch is older than the newest") // Kafka's 47
)

// RecentMax is how many batches per producer are remembered to recognise duplicates. A client has
// at most that many requests in flight (KIP-98).
const RecentMax = 5

// sequenceMask keeps sequences within 0 to 2147483647. After the last one comes 0.
const sequenceMask = math.MaxInt32

// noTime is below every timestamp.
const noTime = math.MinInt64

// Batch is what producer state needs to know about a batch. A batch without a producer
// (ident.NoProducer) passes every check and changes nothing.
type Batch struct {
	Producer      ident.ProducerID
	Epoch         int16
	FirstSequence int32
	Start, End    ident.Offset // half-open; one sequence per offset
	Placed        int64        // milliseconds, by the broker's clock: never a client's timestamp
	AppendTime    int64        // milliseconds if the topic stamps LogAppendTime, otherwise -1
}

// BatchMeta is what is remembered of a batch: enough to answer its repetition.
type BatchMeta struct {
	FirstSequence int32
	Start, End    ident.Offset
	AppendTime    int64 // -1 if the client's timestamps count
}

// LastSequence returns the sequence of the record lastOffsetDelta after first. After 2147483647
// comes 0.
func LastSequence(first, lastOffsetDelta int32) int32 {
	return int32((int64(first) + int64(lastOffsetDelta)) & sequenceMask)
}

// producer is one producer id on one partition, in 144 bytes. A partition that was written to holds
// at least two of them (as placed and as committed), and there may be many such partitions.
type producer struct {
	id ident.ProducerID
	// placed is when the newest of its batches was placed. It never goes back, whatever the clock
	// does, since the expiry floor of a delta relies on that.
	placed  int64
	epoch   int16
	changed bool                  // since the last MarkBase
	count   uint8                 // number of entries of recent in use
	recent  [RecentMax]remembered // oldest first; all of this epoch; never empty in a table
}

// remembered is a BatchMeta without the fields that can be computed.
type remembered struct {
	start           ident.Offset
	appendTime      int64
	firstSequence   int32
	lastOffsetDelta int32
}

func (m BatchMeta) packed() remembered {
	return remembered{start: m.Start, appendTime: m.AppendTime, firstSequence: m.FirstSequence, lastOffsetDelta: int32(m.End - m.Start - 1)}
}

func (r *remembered) meta() BatchMeta {
	return BatchMeta{FirstSequence: r.firstSequence, Start: r.start, End: r.start + ident.Offset(r.lastOffsetDelta) + 1, AppendTime: r.appendTime}
}

func (r *remembered) lastSequence() int32 { return LastSequence(r.firstSequence, r.lastOffsetDelta) }

func (p *producer) last() *remembered { return &p.recent[p.count-1] }

// find returns the index in recent of the batch with exactly these sequences, or -1 if it is not
// remembered.
func (p *producer) find(first, last int32) int {
	for i := range p.recent[:p.count] {
		if r := &p.recent[i]; r.firstSequence == first && r.lastSequence() == last {
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
	p.recent[p.count] = m.packed()
	p.count++
}

// Table is the producers of one partition. It is not safe for concurrent use. It may be moved by
// assignment; only Clone makes a second one.
type Table struct {
	// only is the one producer that most partitions have; a map of one took 640 bytes. If there are
	// two or more, they are in more, and only is nil.
	only *producer
	more map[ident.ProducerID]*producer
	// floor is the highest time that was given to Expire since the last MarkBase. A producer that
	// the base holds below it, and no delta repeats, is gone.
	floor int64
}

// NewTable returns a table without producers.
func NewTable() *Table { return &Table{floor: noTime} }

// Len returns how many producers are remembered. The caller compares that with its cap (E11).
func (t *Table) Len() int {
	if t.only != nil {
		return 1
	}
	return len(t.more)
}

// Has reports whether the producer is remembered.
func (t *Table) Has(id ident.ProducerID) bool { return t.get(id) != nil }

// get returns a producer, or nil if it is not remembered.
func (t *Table) get(id ident.ProducerID) *producer {
	if t.only != nil {
		if t.only.id == id {
			return t.only
		}
		return nil
	}
	return t.more[id]
}

// put adds a producer, or replaces the one with its id.
func (t *Table) put(p *producer) {
	switch {
	case t.more != nil:
		t.more[p.id] = p
	case t.only == nil || t.only.id == p.id:
		t.only = p
	default:
		t.more = map[ident.ProducerID]*producer{t.only.id: t.only, p.id: p}
		t.only = nil
	}
}

// all yields the producers in no particular order.
func (t *Table) all() iter.Seq[*producer] {
	if t.only == nil {
		return maps.Values(t.more)
	}
	return func(yield func(*producer) bool) { yield(t.only) }
}

// Newest is the newest batch of one producer.
type Newest struct {
	Epoch    int16
	Sequence int32 // of its last record
	Placed   int64 // milliseconds, by the broker's clock
}

// Newest yields every producer with its newest batch, in no particular order.
func (t *Table) Newest() iter.Seq2[ident.ProducerID, Newest] {
	return func(yield func(ident.ProducerID, Newest) bool) {
		for p := range t.all() {
			if !yield(p.id, Newest{Epoch: p.epoch, Sequence: p.last().lastSequence(), Placed: p.placed}) {
				return
			}
		}
	}
}

// Check judges a batch that a client sent, in Kafka's order: duplicate, epoch, sequence. A batch
// whose first and last sequence equal those of one of the last five batches of the same epoch is a
// duplicate, and dup is its original (I11). A producer that is not remembered may begin at any
// sequence. A new epoch begins at sequence 0, whether a coordinator gave it out or the client
// raised it itself (KIP-360).
func (t *Table) Check(b Batch) (dup *BatchMeta, err error) {
	if b.Producer < 0 {
		return nil, nil
	}
	p := t.get(b.Producer)
	if p == nil {
		return nil, nil
	}
	last := LastSequence(b.FirstSequence, int32(b.End-b.Start-1))
	switch {
	case b.Epoch < p.epoch:
		// I12
		return nil, fmt.Errorf("%w: producer %d has epoch %d, the batch %d", ErrStaleEpoch, b.Producer, p.epoch, b.Epoch)
	case b.Epoch > p.epoch && b.FirstSequence != 0:
		return nil, fmt.Errorf("%w: producer %d begins epoch %d at sequence %d, want 0", ErrOutOfOrder, b.Producer, b.Epoch, b.FirstSequence)
	case b.Epoch > p.epoch:
		return nil, nil
	}
	if i := p.find(b.FirstSequence, last); i >= 0 {
		original := p.recent[i].meta() // only a duplicate costs an allocation
		return &original, nil          // I11
	}
	if want := LastSequence(p.last().lastSequence(), 1); b.FirstSequence != want {
		return nil, fmt.Errorf("%w: producer %d epoch %d sends sequence %d, want %d", ErrOutOfOrder, b.Producer, b.Epoch, b.FirstSequence, want)
	}
	return nil, nil
}

// Apply adds a batch to the table: after Check when the batch is placed, and without Check when it
// is read back from the log, since it was checked when it was written. A batch of an older epoch
// changes nothing, so that the newest epoch stays (I12).
func (t *Table) Apply(b Batch) {
	if b.Producer < 0 {
		return
	}
	p := t.get(b.Producer)
	switch {
	case p == nil:
		p = &producer{id: b.Producer, epoch: b.Epoch, placed: b.Placed}
		t.put(p)
	case b.Epoch < p.epoch:
		return
	case b.Epoch > p.epoch:
		*p = producer{id: b.Producer, epoch: b.Epoch, placed: p.placed}
	}
	p.push(BatchMeta{FirstSequence: b.FirstSequence, Start: b.Start, End: b.End, AppendTime: b.AppendTime})
	p.placed = max(p.placed, b.Placed)
	p.changed = true
}

// Expire forgets the producers whose newest batch was placed before the given time (milliseconds),
// and returns their number.
func (t *Table) Expire(before int64) int {
	n := t.Len()
	if t.only != nil && t.only.placed < before {
		t.only = nil
	}
	maps.DeleteFunc(t.more, func(_ ident.ProducerID, p *producer) bool { return p.placed < before })
	if len(t.more) < 2 {
		for p := range t.all() {
			t.only = p
		}
		t.more = nil
	}
	if n > t.Len() {
		t.floor = max(t.floor, before)
	}
	return n - t.Len()
}

// MarkBase says that the table as it is now is in a base block. Deltas from here on list what
// changes after it.
func (t *Table) MarkBase() {
	for p := range t.all() {
		p.changed = false
	}
	t.floor = noTime
}

// Clone returns a copy that shares no memory.
func (t *Table) Clone() *Table {
	c := &Table{floor: t.floor}
	if t.more != nil {
		c.more = make(map[ident.ProducerID]*producer, len(t.more))
	}
	for p := range t.all() {
		own := *p
		c.put(&own)
	}
	return c
}
