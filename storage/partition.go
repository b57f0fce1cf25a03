package storage

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
)

// topicFacts is what a topic's partitions know of the topic. It is replaced as a whole.
type topicFacts struct {
	topic  *catalog.Topic
	config catalog.TopicConfig
}

// keeps reports whether retention never deletes anything from the topic.
func (f *topicFacts) keeps() bool {
	return !f.config.CleanupPolicy.Delete || f.config.RetentionMs < 0 && f.config.RetentionBytes < 0
}

// ack is a produced batch that waits until the high watermark reaches end.
type ack struct {
	end  ident.Offset
	req  *AppendRequest
	item int
}

// partition is the one owner of a partition's offsets, producers and watermarks on this broker.
//
// A request of many partitions finds none of them in a cache. So the fields that place and publish
// touch stand in the first four cache lines, and the size is a multiple of a cache line, so that an
// allocated partition begins at a line.
type partition struct {
	mu    sync.Mutex // guards memory only; several are taken in id order (E8)
	facts atomic.Pointer[topicFacts]
	// The offsets rise in this order: logStart ≤ committed ≤ persisted ≤ end,
	// and logStart ≤ hw ≤ persisted (I5).
	leader    Leader
	status    status
	class     catalog.Class // of the leadership; it stays the same for this whole life
	stuck     bool          // its batches cannot go to the bucket, and it takes no more (stuck.go)
	noted     ident.Epoch   // the newest epoch in epochs; NoEpoch if there is none
	logStart  ident.Offset
	persisted ident.Offset // end of what is durable in the WAL
	hw        ident.Offset // end of what is shown
	end       ident.Offset // next offset to place

	log  batchLog // uncommitted batches, and committed ones still in memory
	acks []ack    // by end

	unflushed int64    // bytes of the uncommitted batches
	acksSpace [2]ack   // backs acks while two are enough
	published timeline // when offsets became durable, for metrics

	watchers  []*watcher
	producers pstate.Table // as placed

	id              ident.TopicPartition
	recordsInFlight int32        // state records that were handed to the WAL and are not durable
	committed       ident.Offset // end of what is in the bucket, according to the quorum
	epochs          []pstate.EpochStart
	flush           flushState
}

// flushState is what the flush path knows of a partition; guarded by partition.mu.
type flushState struct {
	producers pstate.Table // the producer state as of stateEnd
	stateEnd  ident.Offset // the state reflects every batch with an end at or below it
	// base is the newest base block in the bucket. If it is zero, the next section writes one.
	base catalog.StateRef
	// baseAt and deltaAt tell where the newest state records lie in the WAL: a base, and perhaps a
	// delta after it. A record that is missing, or lies in what is about to be trimmed, is written
	// again first (E24).
	baseAt, deltaAt walPlace
	baseBytes       int32 // size of base
	// walBase says that the base record is no older than the bucket's base, so that deltas build on
	// both.
	walBase    bool
	needRecord bool     // the committed end has moved since the newest record
	busy       bool     // chosen by a running flush
	trouble    *trouble // why its batches do not go to the bucket; nil if they do
}

// walPlace is a place in the WAL or in a sealed tail.
type walPlace struct {
	incarnation ident.Incarnation // 0 is no place
	position    ident.Position
}

func (p walPlace) before(q walPlace) bool {
	if p.incarnation != q.incarnation {
		return p.incarnation < q.incarnation
	}
	return p.position < q.position
}

// readEndLocked returns the end of what a reader of the isolation level may see. There are no
// transactions yet, so the last stable offset is the high watermark.
func (p *partition) readEndLocked(Isolation) ident.Offset { return p.hw }

// watcher is a goroutine that waits for partitions to move.
type watcher struct {
	c     chan<- struct{}
	group uint64 // the last group that gathered this watcher; only Engine.persisted uses it
}

// wakeLocked signals every watcher of the partition.
func (p *partition) wakeLocked() {
	for _, w := range p.watchers {
		signal(w.c) // if the channel is full, the watcher has a signal that it has not read yet
	}
}

// showLocked moves the high watermark, wakes the watchers, and appends the answers that this frees
// to freed.
func (p *partition) showLocked(freed []ack, hw ident.Offset) []ack {
	if hw > p.hw {
		p.wakeLocked() // the watchers read after this lock is released
	}
	return p.moveLocked(freed, hw)
}

// moveLocked is showLocked without waking watchers; the caller must wake them. It is the one place
// where batches become visible (I5).
func (p *partition) moveLocked(freed []ack, hw ident.Offset) []ack {
	if hw > p.persisted {
		panic("BUG: high watermark above what is durable") // I5
	}
	if hw <= p.hw {
		return freed
	}
	p.hw = hw
	n := 0
	for n < len(p.acks) && p.acks[n].end <= hw {
		n++
	}
	freed = append(freed, p.acks[:n]...)
	p.acks = slices.Delete(p.acks, 0, n)
	return freed
}

// advanceCommittedLocked notes that everything below to is in the bucket or void. It reports
// whether the committed end moved, and calls count for each batch that is no longer uncommitted.
func (p *partition) advanceCommittedLocked(to ident.Offset, count func(*batch)) bool {
	if to <= p.committed {
		return false
	}
	for i := p.log.search(p.committed); i < p.log.len(); i++ {
		b := p.log.at(i)
		if b.end > to {
			break
		}
		if b.end > p.flush.stateEnd {
			p.flush.producers.Apply(b.state())
			p.flush.stateEnd = b.end
		}
		p.unflushed -= int64(b.size)
		count(b)
	}
	p.committed = to
	p.flush.needRecord = true
	p.log.dropFront(func(b *batch) bool { return b.end <= to && b.bytes == nil })
	return true
}

// epochHistoryAt returns the leader epochs that started below end.
func epochHistoryAt(epochs []pstate.EpochStart, end ident.Offset) []pstate.EpochStart {
	n := len(epochs)
	for n > 0 && epochs[n-1].Start >= end && end > 0 {
		n--
	}
	return slices.Clone(epochs[:n])
}
