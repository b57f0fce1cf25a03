package storage

import (
	"slices"
	"sort"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/pstate"
)

// batch is one batch of a partition that is not in the bucket yet or is still in memory. It takes
// about 100 bytes; Config.UnflushedBatchesMax bounds the number of batches.
type batch struct {
	start, end   ident.Offset
	maxTimestamp int64 // no record is newer; if no record has a time, when the batch arrived
	producer     ident.ProducerID
	bytes        []byte // nil if they have to be read from the WAL
	source       *source
	position     ident.Position // valid once durable
	crc          uint32         // CRC-32C of the whole batch as stored; valid once durable
	size         int32
	epoch        ident.Epoch // the leader epoch that clients see
	// under is the leader epoch under which the log has the batch. A carried batch's may be later.
	under    ident.Epoch
	sequence int32
	// arrived is in seconds since 1970 by the broker's clock, rounded up; milliseconds would not
	// fit.
	arrived    uint32
	pepoch     int16
	appendTime bool // maxTimestamp is the broker's time
	carried    bool // its place is not in the order of offsets (carry.go)
}

// state returns the batch as the producer state sees it.
func (b *batch) state() pstate.Batch {
	s := pstate.Batch{
		Producer: b.producer, Epoch: b.pepoch, FirstSequence: b.sequence,
		Start: b.start, End: b.end, Placed: int64(b.arrived) * 1000, AppendTime: -1,
	}
	if b.appendTime {
		s.AppendTime = b.maxTimestamp
	}
	return s
}

// arrivedAt converts a time in milliseconds to batch.arrived.
func arrivedAt(ms int64) uint32 { return uint32((max(ms, 0) + 999) / 1000) }

// newestTime returns the largest time of a batch's records, or arrived if none has one. The broker
// has corrected the header of each batch that it takes, but earlier releases did not, so a time in
// the header that cannot be that of a record is not trusted here either.
func newestTime(h *protocol.BatchHeader, bytes []byte, arrived int64) int64 {
	newest := h.MaxTimestamp
	if newest < max(h.BaseTimestamp, 0) && !h.Attributes.LogAppendTime() {
		if largest, err := protocol.LargestTimestamp(bytes); err == nil {
			newest = largest
		}
	}
	if newest < 0 {
		return arrived
	}
	return newest
}

// batchLog holds batches in offset order, without gaps. Indexes count from its front; a batch's
// number never changes.
type batchLog struct {
	batches []batch
	head    int
	first   int64 // number of the batch at the front
}

func (l *batchLog) len() int        { return len(l.batches) - l.head }
func (l *batchLog) at(i int) *batch { return &l.batches[l.head+i] }

func (l *batchLog) push(b batch) { l.batches = append(l.batches, b) }

// nextLine reads the memory where the next batch goes, if there is room, to have it in the cache.
func (l *batchLog) nextLine() int64 {
	if n := len(l.batches); n < cap(l.batches) {
		next := &l.batches[:n+1][n]
		return int64(next.start) + int64(next.size)
	}
	return 0
}

// copy returns the batches from index i up to j in new memory.
func (l *batchLog) copy(i, j int) []batch { return slices.Clone(l.batches[l.head+i : l.head+j]) }

// end returns the number that the next batch gets.
func (l *batchLog) end() int64 { return l.first + int64(l.len()) }

// numbered returns the batch of a number that is in the log.
func (l *batchLog) numbered(n int64) *batch { return l.at(int(n - l.first)) }

// nearEnd is how many batches search looks at one by one: as many as a producer has in flight.
const nearEnd = 5

// search returns the index of the first batch that ends after offset. Almost every search is for
// one of the newest batches (publish, fetches of the tail) or for the oldest (eviction, flush). A
// binary search would fetch a dozen cold cache lines for each.
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

// dropFront removes batches from the front as long as gone returns true.
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
