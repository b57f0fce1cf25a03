package storage

import (
	"errors"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
)

// Errors that broker/errors.go turns into Kafka's codes. Those marked
// definite promise that nothing of the batch was or will be written.
var (
	ErrUnknownPartition  = errors.New("unknown topic or partition")                                // definite; 3
	ErrNotLeader         = errors.New("not the leader of this partition")                          // definite; 6
	ErrNotReady          = errors.New("partition is still loading its state")                      // definite, retriable; 5 (Produce, ListOffsets), never 1
	ErrStuck             = errors.New("partition is stuck: what it holds cannot go to the bucket") // definite, retriable; 19
	ErrThrottled         = errors.New("no room for now: try again")                                // definite, retriable; 19
	ErrWALFailed         = errors.New("write-ahead log failed: outcome unknown")                   // indefinite; 7
	ErrLeadershipLost    = errors.New("leadership moved meanwhile: outcome unknown")               // indefinite; 7
	ErrClosed            = errors.New("broker is shutting down")                                   // definite; 6
	ErrOutOfOrder        = errors.New("out of order producer sequence")                            // definite; 45
	ErrStaleProducer     = errors.New("stale producer epoch")                                      // definite; 47
	ErrInvalidTxnState   = errors.New("transactions are not served")                               // definite; 48
	ErrOffsetOutOfRange  = errors.New("offset out of range")                                       // 1, from certain knowledge only
	ErrFencedLeaderEpoch = errors.New("leader epoch of the request is too old")                    // 74
	ErrUnknownEpoch      = errors.New("leader epoch of the request is from ahead")                 // 75
	ErrUnavailable       = errors.New("object store unavailable: try again")                       // 56 on Fetch
	ErrCorrupt           = errors.New("stored data is damaged")                                    // 56 on Fetch; loud in the log
	ErrTooLarge          = errors.New("batch does not fit a write-ahead log segment")              // definite; 18
	ErrTooManyProducers  = errors.New("too many producer ids on this partition")                   // definite; 44
)

// AppendRequest is the placed part of one Produce request. The caller has
// authorised it and validated each batch by header and CRC.
//
// Engine.Append takes it over: batch bytes are patched in place (offset, epoch, time)
// and referenced by WAL, hot tail and flush; nobody may write to them again.
type AppendRequest struct {
	Partitions []PartitionAppend
	// PinnedBytes is the memory that the batches keep from being freed together, if that is more than their own bytes: the
	// request's frame.
	PinnedBytes int
	// Done is called exactly once, from any goroutine, perhaps before Append
	// returns, when every partition has its outcome: durable by its class and visible, or failed. It must not block.
	Done func(*AppendRequest)
	// Lend says that the caller has nothing to do before Done: Append may then use its goroutine for steps 2 to 5 of this and other
	// requests, which saves two wake-ups, and no lock may be held that Done takes.
	Lend bool
	// Epoch, with CheckEpoch, is the leader epoch that the caller works under: what it appends
	// makes sense under no other, and is refused there with ErrNotLeader (I4).
	Epoch      ident.Epoch
	CheckEpoch bool

	pending pendingAppend
}

// PartitionAppend is one partition's batch and, after Done, its outcome.
type PartitionAppend struct {
	Partition ident.TopicPartition
	Batch     []byte // one whole batch
	Header    protocol.BatchHeader

	// Err decides whether the rest is valid. It is settled before Engine.Append returns for every definite refusal.
	Err        error
	BaseOffset ident.Offset // of a duplicate: the original's
	AppendTime int64        // LogAppendTime in milliseconds, else -1
	LogStart   ident.Offset
}

// Isolation is Kafka's isolation level.
type Isolation int8

// Isolation levels.
const (
	ReadUncommitted Isolation = 0
	ReadCommitted   Isolation = 1
)

// FetchPartition asks for one partition's batches from Offset on and carries the answer.
type FetchPartition struct {
	Partition    ident.TopicPartition
	Offset       ident.Offset
	MaxBytes     int         // of this partition
	CurrentEpoch ident.Epoch // NoEpoch: no check
	Isolation    Isolation
	// Split says that the caller only passes the bytes on: a batch that lies across two blocks of the cache may be two slices then,
	// and is not copied. Otherwise each slice is a batch.
	Split bool

	Err           error
	HighWatermark ident.Offset // -1 if not known
	LastStable    ident.Offset
	LogStart      ident.Offset
	Batches       [][]byte // whole batches, ascending (see Split); read-only; the first may begin below Offset
	Bytes         int
	Held          int    // memory that Batches keep from being freed, against Fetch.Room: their bytes, or the blocks of the cache that they lie in
	Current       Leader // set with ErrFencedLeaderEpoch and ErrNotLeader where known; Err is a *NotLeaderError then

	needs   int         // of memory for the first batch, where there was too little room for it
	fromWAL int         // of Bytes: read from a file of the WAL
	cold    []coldBatch // the batches, if they come from the bucket or its cache
}

// LetGo drops the batches, so that their memory can be freed.
func (q *FetchPartition) LetGo() { q.Batches, q.cold, q.Bytes, q.Held = nil, nil, 0, 0 }

// coldBatch is what an index entry tells of a batch in FetchPartition.Batches.
type coldBatch struct {
	end    ident.Offset
	bytes  int
	slices int // of Batches: more than one if it is split
}

// Leader names a leader for KIP-951.
type Leader struct {
	Broker int32 // -1 unknown
	Epoch  ident.Epoch
}

// Fetch is one whole Fetch request: one wait across all of its partitions.
// The first non-empty partition may exceed the limits by one batch.
type Fetch struct {
	Partitions []FetchPartition
	MaxBytes   int
	MinBytes   int
	MaxWait    time.Duration
	// Room is how much memory the batches may hold together. Unlike the limits, no first batch exceeds it. 0: no bound.
	Room int

	Needs  int  // set if nothing was read because the first batch takes more than Room: so much
	Behind bool // set if something that was asked for lies in the bucket only
}

// Special timestamps of ListOffsets.
const (
	TimestampLatest         = -1
	TimestampEarliest       = -2
	TimestampMax            = -3
	TimestampEarliestLocal  = -4
	TimestampLatestTiered   = -5
	TimestampEarliestUpload = -6
)

// OffsetAt answers ListOffsets: Offset -1 if nothing matches.
type OffsetAt struct {
	Offset    ident.Offset
	Timestamp int64
	Epoch     ident.Epoch
}
