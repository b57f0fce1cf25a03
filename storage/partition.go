package storage

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
)

// topicFacts is what a topic's partitions know of it; replaced whole.
type topicFacts struct {
	topic  *catalog.Topic
	config catalog.TopicConfig
}

// keeps reports that no retention ever deletes from the topic.
func (f *topicFacts) keeps() bool {
	return !f.config.CleanupPolicy.Delete || f.config.RetentionMs < 0 && f.config.RetentionBytes < 0
}

// ack is a produced batch that waits until the high watermark reaches end.
type ack struct {
	end  ident.Offset
	req  *AppendRequest
	item int
}

// partition is the one owner of a partition's offsets, producers and
// watermarks on this broker.
//
// A request of many partitions finds each of them in no cache. What place and publish touch
// stands in the first four cache lines, and the whole is a multiple of a line, so that an allocated one begins with a line.
type partition struct {
	mu    sync.Mutex // guards memory only; several are taken in id order (E8)
	facts atomic.Pointer[topicFacts]
	// The offsets rise in this order: logStart ≤ committed ≤ persisted ≤ end,
	// and logStart ≤ hw ≤ persisted (I5).
	leader    Leader
	status    status
	class     catalog.Class // of the leadership: the same for all of this life
	stuck     bool          // nothing of it goes to the bucket: it takes no batches (stuck.go)
	noted     ident.Epoch   // the newest in epochs; NoEpoch: it is empty
	logStart  ident.Offset
	persisted ident.Offset // end of what is durable in the WAL
	hw        ident.Offset // end of what is shown
	end       ident.Offset // next offset to place

	log  batchLog // batches not committed, and committed ones still in memory
	acks []ack    // by end

	unflushed int64    // bytes of what is not committed
	acksSpace [2]ack   // for acks, as long as no more wait
	published timeline // when offsets became durable, for those who measure

	watchers  []*watcher
	producers pstate.Table // as placed

	id              ident.TopicPartition
	recordsInFlight int32        // state records that were handed to the WAL and are not durable
	committed       ident.Offset // end of what is in the bucket, by the quorum's word
	epochs          []pstate.EpochStart
	flush           flushState
}

// flushState is what the flush path knows of a partition; guarded by partition.mu.
type flushState struct {
	producers pstate.Table     // as of stateEnd
	stateEnd  ident.Offset     // every batch with an end at or below it is reflected
	base      catalog.StateRef // newest base block in the bucket; zero: the next section writes one
	// Where the newest state records lie in the WAL: a base, and perhaps a delta
	// after it. A record that is missing or lies in what is to be trimmed is written again first (E24).
	baseAt, deltaAt walPlace
	baseBytes       int32    // of base
	walBase         bool     // the base record is no older than the bucket's base: deltas build on both
	needRecord      bool     // the committed end has moved since the newest record
	busy            bool     // chosen by a running flush
	trouble         *trouble // why its batches do not go to the bucket; nil: they do
}

// walPlace is a place in the WAL or in a sealed tail.
type walPlace struct {
	incarnation ident.Incarnation // 0: nowhere
	position    ident.Position
}

func (p walPlace) before(q walPlace) bool {
	if p.incarnation != q.incarnation {
		return p.incarnation < q.incarnation
	}
	return p.position < q.position
}

// readEnd returns the end of what a reader of the isolation may see: there are
// no transactions yet, so the last stable offset is the high watermark.
func (p *partition) readEndLocked(Isolation) ident.Offset { return p.hw }

// watcher is somebody who waits for partitions to move.
type watcher struct {
	c     chan<- struct{}
	group uint64 // the last one that gathered it; only Engine.persisted uses it
}

// wakeLocked signals everyone who waits for the partition to move.
func (p *partition) wakeLocked() {
	for _, w := range p.watchers {
		signal(w.c) // or it has a signal that it has not read yet
	}
}

// showLocked moves the high watermark, wakes who waits for that, and appends the answers that it frees to freed.
func (p *partition) showLocked(freed []ack, hw ident.Offset) []ack {
	if hw > p.hw {
		p.wakeLocked() // they read after this lock is released
	}
	return p.moveLocked(freed, hw)
}

// moveLocked is showLocked for who wakes by itself, without fail.
// It is the one place where something becomes visible (I5).
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

// advanceCommittedLocked takes note that everything below to is in the bucket or void.
// It reports whether that is news, and how many batches and bytes stopped being uncommitted, by where they lie.
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
