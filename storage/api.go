package storage

import (
	"errors"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
)

// These are the errors that broker/errors.go turns into Kafka's codes, which are named here too.
// Those marked definite promise that nothing of the batch was or will be written.
var (
	// Definite; code 3.
	ErrUnknownPartition = errors.New("unknown topic or partition")
	// Definite; code 6.
	ErrNotLeader = errors.New("not the leader of this partition")
	// Definite, retriable; code 5 (Produce, ListOffsets), never 1.
	ErrNotReady = errors.New("partition is still loading its state")
	// Definite, retriable; code 19.
	ErrStuck = errors.New("partition is stuck: what it holds cannot go to the bucket")
	// Definite, retriable; code 19.
	ErrThrottled = errors.New("no room for now: try again")
	// Indefinite; code 7.
	ErrWALFailed = errors.New("write-ahead log failed: outcome unknown")
	// Indefinite; code 7.
	ErrLeadershipLost = errors.New("leadership moved meanwhile: outcome unknown")
	// Definite; code 6.
	ErrClosed = errors.New("broker is shutting down")
	// Definite; code 45.
	ErrOutOfOrder = errors.New("out of order producer sequence")
	// Definite; code 47.
	ErrStaleProducer = errors.New("stale producer epoch")
	// Definite; code 48.
	ErrInvalidTxnState = errors.New("transactions are not served")
	// Code 1. This error is returned from certain knowledge only.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// Code 74.
	ErrFencedLeaderEpoch = errors.New("leader epoch of the request is too old")
	// Code 75.
	ErrUnknownEpoch = errors.New("leader epoch of the request is from ahead")
	// Code 56 on Fetch.
	ErrUnavailable = errors.New("object store unavailable: try again")
	// Code 56 on Fetch; also logged as an error.
	ErrCorrupt = errors.New("stored data is damaged")
	// Definite; code 18.
	ErrTooLarge = errors.New("batch does not fit a write-ahead log segment")
	// Definite; code 44.
	ErrTooManyProducers = errors.New("too many producer ids on this partition")
)

// AppendRequest is the placed part of one Produce request. The caller has authorised the request
// and validated each batch by header and CRC.
//
// Engine.Append takes the request over. It patches the batches in place (offset, epoch, time), and
// WAL, hot tail and flush refer to their bytes, so nobody may write to them again.
type AppendRequest struct {
	Partitions []PartitionAppend
	// PinnedBytes is the memory that the batches together keep from being freed, the request's
	// frame, if that is more than their own bytes.
	PinnedBytes int
	// Done is called exactly once, from any goroutine, perhaps before Append returns. By then every
	// partition has its outcome: durable by its class and visible, or failed. Done must not block.
	Done func(*AppendRequest)
	// Lend says that the caller has nothing to do before Done. Append may then use its goroutine
	// for steps 2 to 5 of this and other requests, which saves two wake-ups. The caller may hold no
	// lock that Done takes.
	Lend bool
	// With CheckEpoch, Epoch is the leader epoch that the caller works under. Its batches make
	// sense under no other epoch, and are refused there with ErrNotLeader (I4).
	Epoch      ident.Epoch
	CheckEpoch bool

	pending pendingAppend
}

// PartitionAppend is one partition's batch and, after Done, its outcome.
type PartitionAppend struct {
	Partition ident.TopicPartition
	Batch     []byte // one whole batch
	Header    protocol.BatchHeader

	// Err decides whether the fields below are valid. Every definite refusal is set before
	// Engine.Append returns.
	Err        error
	BaseOffset ident.Offset // for a duplicate, the original's base offset
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

// FetchPartition asks for one partition's batches from Offset on, and carries the answer.
type FetchPartition struct {
	Partition    ident.TopicPartition
	Offset       ident.Offset
	MaxBytes     int         // for this partition
	CurrentEpoch ident.Epoch // NoEpoch: no check
	Isolation    Isolation
	// Split says that the caller only passes the bytes on. A batch that lies across two blocks of
	// the cache may then be two slices instead of a copy. Without Split, each slice is a batch.
	Split bool

	Err           error
	HighWatermark ident.Offset // -1 if unknown
	LastStable    ident.Offset
	LogStart      ident.Offset
	// Batches are whole and ascending (see Split). They are read-only, and the first may begin
	// below Offset.
	Batches [][]byte
	Bytes   int
	// Held is the memory that Batches keep from being freed, which counts against Fetch.Room: their
	// bytes, or the blocks of the cache that they lie in.
	Held int
	// Current is set with ErrFencedLeaderEpoch, and with ErrNotLeader where the leader is known;
	// Err is a *NotLeaderError then.
	Current Leader

	needs   int         // memory that the first batch needs, if there was too little room for it
	fromWAL int         // how many of Bytes were read from a file of the WAL
	cold    []coldBatch // the batches, if they come from the bucket or its cache
}

// LetGo drops the batches, so that their memory can be freed.
func (q *FetchPartition) LetGo() { q.Batches, q.cold, q.Bytes, q.Held = nil, nil, 0, 0 }

// coldBatch is what an index entry tells about a batch in FetchPartition.Batches.
type coldBatch struct {
	end    ident.Offset
	bytes  int
	slices int // how many slices of Batches it takes; more than one if it is split
}

// Leader names a leader for KIP-951.
type Leader struct {
	Broker int32 // -1 if unknown
	Epoch  ident.Epoch
}

// Fetch is one whole Fetch request: one wait across all of its partitions. The first non-empty
// partition may exceed the limits by one batch.
type Fetch struct {
	Partitions []FetchPartition
	MaxBytes   int
	MinBytes   int
	MaxWait    time.Duration
	// Room is how much memory the batches may hold together. Unlike with the limits, not even the
	// first batch may exceed it. 0 means no bound.
	Room int

	Needs  int  // what the first batch takes, if that is more than Room and so nothing was read
	Behind bool // something that was asked for lies in the bucket only
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

// OffsetAt is the answer to ListOffsets. Offset is -1 if nothing matches.
type OffsetAt struct {
	Offset    ident.Offset
	Timestamp int64
	Epoch     ident.Epoch
}
