// Package catalog holds the facts that the metadata quorum decides and that
// storage and broker act on: what a partition's head is, which objects hold
// its ranges, what a commit says and how it is judged.
//
// The types are plain values without behaviour beyond arithmetic. metadata
// keeps them in its FSM, storage declares the interface through which it gets
// them (storage.Catalog), broker shows them to clients; so none of the three
// has to know another for the sake of a type. Imports: ident.
package catalog

import (
	"errors"

	"github.com/sluicemq/sluice/ident"
)

// Errors of the catalog that callers decide by.
var (
	ErrTopicExists       = errors.New("topic already exists")
	ErrTopicNotFound     = errors.New("no such topic")
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	ErrFenced            = errors.New("fenced: a newer incarnation or epoch owns this")
	ErrNotPrepared       = errors.New("object is not prepared")
	ErrConflict          = errors.New("compare-and-set lost: the state has changed")
	ErrUnavailable       = errors.New("metadata unavailable: outcome unknown, may be retried")
)

// Topic is one life of a topic as clients see it. Immutable once handed out.
type Topic struct {
	ID                ident.TopicID
	Name              string
	Creation          uint64            // rises by one with each topic ever created: of two topics with one name the later creation wins (E26)
	ReplicationFactor int16             // as asked for; shown, not acted on
	Configs           map[string]string // only what was set
	Partitions        []Leadership      // by partition index
}

// AllBrokers stands for all brokers where one is named whose configuration is set.
const AllBrokers int32 = -1

// Leadership says who leads a partition, (broker, incarnation, leader epoch), and which class is in
// force under it. The class is the topic's when the partition is made, and stays what it is.
type Leadership struct {
	Broker      int32
	Incarnation ident.Incarnation
	Epoch       ident.Epoch
	Class       Class
}

// Range is a run of one partition's batches in one object: offsets [Start, End).
// All of it was written under one (incarnation, epoch).
type Range struct {
	Object       ident.ObjectID
	Start, End   ident.Offset
	Incarnation  ident.Incarnation
	Epoch        ident.Epoch
	Index        Extent // of the section's header and batch index in the object
	Bytes        int64  // of batches
	MaxTimestamp int64  // milliseconds; no record is newer; -1 not known
	// Writer is the incarnation that wrote the object and stands in its key. It
	// differs from Incarnation where a sealed tail was committed (E21).
	Writer      ident.Incarnation
	ObjectBytes int64 // of the whole object
}

// Extent is a run of bytes in an object.
type Extent struct {
	Position int64
	Bytes    int32
}

// StateRef points at a partition's state block (producers, leader-epoch
// history, open transactions) in an object: everything below End is reflected.
// The zero value means "no state yet".
type StateRef struct {
	Object      ident.ObjectID
	Extent      Extent
	End         ident.Offset
	Writer      ident.Incarnation // of the object: stands in its key
	ObjectBytes int64             // of the whole object
}

// Manifest points at a partition's manifest: the ranges that the head does not
// hold itself. The zero value means "none".
type Manifest struct {
	Version    uint64 // 1 with the first; every swap or release raises it by one
	Object     ident.ObjectID
	Bytes      int32 // of the manifest's root object
	CRC        uint32
	Start, End ident.Offset // what its ranges cover
	RangeCount int64
	DataBytes  int64             // sum of Range.Bytes
	Writer     ident.Incarnation // of the root object: stands in its key
}

// Head is all that the quorum knows of a partition. Ranges are contiguous
// and end at CommittedEnd (I8); what lies between LogStart and the first range is in the manifest.
type Head struct {
	Partition    ident.TopicPartition
	Leader       Leadership
	LogStart     ident.Offset
	CommittedEnd ident.Offset // never below LogStart (E12)
	State, Base  StateRef     // newest state: a delta on Base, or whole with Base zero (E11)
	Manifest     Manifest
	Ranges       []Range // at most RangesPerHeadMax (E17)
	// Past lists the leaderships under which a sealed tail may still hold
	// uncommitted batches of the partition, oldest first (E21).
	Past []Leadership
}

// RangesPerHeadMax is how many ranges a head holds before they must go into the manifest (E17).
const RangesPerHeadMax = 32

// CommitPartBytesMax is the largest part that one bundle may have in a commit command (E17).
const CommitPartBytesMax = 512 << 10

// Tail is a sealed incarnation of a broker: it holds [0, End) and takes no more.
type Tail struct {
	Incarnation ident.Incarnation
	End         ident.Position
}

// Registration answers RegisterIncarnation.
type Registration struct {
	Incarnation ident.Incarnation // the new one; nothing is placed before it is opened (E27)
	Tails       []Tail            // oldest first; this incarnation holds them (E21)
}

// CommitRange is one range of a bundle on its way into the catalog.
type CommitRange struct {
	Partition ident.TopicPartition
	Range     Range // Range.Object is the bundle's id
	// WALEnd is the position in Range.Incarnation's WAL up to which this range was
	// read: it must not exceed the end of a sealed tail (E21).
	WALEnd      ident.Position
	State, Base StateRef // the head's new state pointers
}

// CommitBundle is one bundle of a commit.
type CommitBundle struct {
	Object ident.ObjectID
	Bytes  int64
	Ranges []CommitRange
}

// Commit makes bundles live. One is in flight per incarnation (E28): Number
// rises by one with each commit; repeating the last number with the same content gives the same answer.
type Commit struct {
	Incarnation ident.Incarnation // the committer's: must be current
	Number      uint64
	Bundles     []CommitBundle
}

// Verdict is the quorum's answer for one range (E12).
type Verdict uint8

const (
	// Refused: plan again under a new object id.
	Refused Verdict = iota
	// Committed: the range, or what of it lies at or above the log start (E23), is live.
	Committed
	// Void: the topic is gone or log start has passed the range. Counts for trimming.
	Void
)

// CommitResult has a verdict per range, in the order of the commit.
// ErrNotPrepared for a bundle shows as Refused for all of its ranges.
type CommitResult struct {
	Verdicts [][]Verdict // [bundle][range]
	Reasons  [][]Reason  // [bundle][range]: why it was refused
}

// ManifestSwap replaces a partition's manifest and takes the Absorbed oldest
// ranges out of the head: a compare-and-set on the manifest's version.
type ManifestSwap struct {
	Partition   ident.TopicPartition
	Incarnation ident.Incarnation // proposer's, must be current
	OldVersion  uint64
	New         Manifest
	Absorbed    []Range          // must be the head's first ranges, exactly
	NewObjects  []ident.ObjectID // root and leaves that become live: each must be prepared (E7)
	Dropped     []ident.ObjectID // old root and leaves that the new manifest no longer names
}

// RangeRelease takes ranges that log start has passed out of a partition's
// manifest: a compare-and-set on its version, idempotent (E30). Released are
// the objects that lose one live range each time they are named.
type RangeRelease struct {
	Partition   ident.TopicPartition
	Incarnation ident.Incarnation
	OldVersion  uint64
	New         Manifest // Version = OldVersion + 1; Object 0 if nothing is left
	Released    []ident.ObjectID
	NewObjects  []ident.ObjectID
	Dropped     []ident.ObjectID
}
