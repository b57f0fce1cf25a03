package storage

import (
	"slices"
	"sort"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/pstate"
)

// batch is one batch of a partition that is not in the bucket yet or still in
// memory. About 128 bytes: Config.UnflushedBatchesMax bounds their number.
type batch struct {
	start, end   ident.Offset
	maxTimestamp int64
	producer     ident.ProducerID
	bytes        []byte // nil: read it from the WAL
	source       *source
	position     ident.Position // valid once durable
	crc          uint32         // CRC-32C of the whole batch as stored; valid once durable
	size         int32
	epoch        ident.Epoch
	sequence     int32
	pepoch       int16
	appendTime   bool // maxTimestamp is the broker's
}

// state is the batch as producer state sees it.
func (b *batch) state() pstate.Batch {
	s := pstate.Batch{
		Producer: b.producer, Epoch: b.pepoch, FirstSequence: b.sequence,
		Start: b.start, End: b.end, Timestamp: b.maxTimestamp, AppendTime: -1,
	}
	if b.appendTime {
		s.AppendTime = b.maxTimestamp
	}
	return s
}

// batchLog holds batches in offset order, contiguous. Indexes are from its front; a batch's number never changes.
type batchLog struct {
	batches []batch
	head    int
	first   int64 // number of the batch at the front
}

func (l *batchLog) len() int        { return len(l.batches) - l.head }
func (l *batchLog) at(i int) *batch { return &l.batches[l.head+i] }

func (l *batchLog) push(b batch) { l.batches = append(l.batches, b) }

// nextLine reads where the next batch goes, if there is room.
func (l *batchLog) nextLine() int64 {
	if n := len(l.batches); n < cap(l.batches) {
		next := &l.batches[:n+1][n]
		return int64(next.start) + int64(next.size)
	}
	return 0
}

// copy returns the batches from index i up to j, in memory of their own.
func (l *batchLog) copy(i, j int) []batch { return slices.Clone(l.batches[l.head+i : l.head+j]) }

// end returns the number that the next batch gets.
func (l *batchLog) end() int64 { return l.first + int64(l.len()) }

// numbered returns a batch that is known to be there.
func (l *batchLog) numbered(n int64) *batch { return l.at(int(n - l.first)) }

// nearEnd is how many batches search looks at one by one: as many as a producer has in flight.
const nearEnd = 5

// search returns the index of the first batch that ends after offset. Almost every search is for one of the
// newest (publish, fetches of the tail) or for the oldest (eviction, flush): halving would fetch a dozen cold cache lines for each.
func (l *batchLog) search(offset ident.Offset) int {
	n := l.len()
	if n > 0 && l.at(0).end > offset {
		return 0
	}
	for i := n; i > 0 && i > n-nearEnd; i-- {
		if l.at(i-1).end <= offset {
			return i
		}
	}
	return sort.Search(l.len(), func(i int) bool { return l.at(i).end > offset })
}

// dropFront removes batches from the front as long as gone says so.
func (l *batchLog) dropFront(gone func(*batch) bool) {
	for l.len() > 0 && gone(l.at(0)) {
		l.batches[l.head] = batch{}
		l.head++
		l.first++
	}
	if l.head > 64 && l.head > len(l.batches)/2 {
		n := copy(l.batches, l.batches[l.head:])
		clear(l.batches[n:])
		l.batches, l.head = l.batches[:n], 0
	}
}
