// Package catalog holds the facts that the metadata quorum decides and that storage and broker act
// on: what the head of a partition is, which objects hold its ranges, what a commit contains and
// how it is judged.
//
// The types are plain values without behaviour beyond arithmetic; only the keys of topics check and
// read their values, too. Three packages share them, so that none of the three has to know another
// one for the sake of a type: metadata keeps them in its state machine, storage declares the
// interface through which it gets them (storage.Catalog), and broker shows them to clients.
//
// catalog.go has topics, heads, ranges, commits and manifests; class.go the classes of durability;
// reason.go why a range is refused; topicconfig.go the keys that a topic may have, and
// topicconfig_defaults.go the broker's defaults for them. Imports: ident.
package catalog

import (
	"errors"

	"github.com/sluicemq/sluice/ident"
)

// Callers decide by these errors of the catalog.
var (
	ErrTopicExists       = errors.New("topic already exists")
	ErrTopicNotFound     = errors.New("no such topic")
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	ErrFenced            = errors.New("fenced: a newer incarnation or epoch owns this")
	ErrNotPrepared       = errors.New("object is not prepared")
	ErrConflict          = errors.New("compare-and-set lost: the state has changed")
	ErrUnavailable       = errors.New("metadata unavailable: outcome unknown, may be retried")
)

// Topic is one life of a topic as clients see it. It is immutable once it has been handed out.
type Topic struct {
	ID   ident.TopicID
	Name string
	// Creation rises by one with each topic ever created. Of two topics with the same name, the one
	// with the higher creation was created later and wins (E26).
	Creation          uint64
	ReplicationFactor int16             // as the client asked for; it is shown and not acted on
	Configs           map[string]string // only those that were set
	Partitions        []Leadership      // by partition index
}

// AllBrokers stands for all brokers where a command names the broker whose configs it sets.
const AllBrokers int32 = -1

// Leadership says who leads a partition, as (broker, incarnation, leader epoch), and which class is
// in force under that leadership. A partition gets its topic's class when it is created, and keeps
// it.
type Leadership struct {
	Broker      int32
	Incarnation ident.Incarnation
	Epoch       ident.Epoch
	Class       Class
}

// Range is a run of one partition's batches in one object: offsets [Start, End). The whole range
// was written under one (incarnation, epoch).
type Range struct {
	Object       ident.ObjectID
	Start, End   ident.Offset
	Incarnation  ident.Incarnation
	Epoch        ident.Epoch
	Index        Extent // where the section's header and batch index lie in the object
	Bytes        int64  // length of the batches
	MaxTimestamp int64  // milliseconds: no record is newer; -1 if not known
	// Writer is the incarnation that wrote the object; the object's key contains it. It differs
	// from Incarnation where a sealed tail was committed (E21).
	Writer      ident.Incarnation
	ObjectBytes int64 // size of the whole object
}

// Extent is a run of bytes in an object.
type Extent struct {
	Position int64
	Bytes    int32
}

// StateRef points at a partition's state block (producers, leader-epoch history, open transactions)
// in an object. The block reflects everything below End. The zero value means "no state yet".
type StateRef struct {
	Object      ident.ObjectID
	Extent      Extent
	End         ident.Offset
	Writer      ident.Incarnation // of the object: part of its key
	ObjectBytes int64             // size of the whole object
}

// Manifest points at a partition's manifest, which lists the ranges that the head does not hold
// itself. The zero value means "none".
type Manifest struct {
	Version    uint64 // 1 for the first manifest; every swap or release raises it by one
	Object     ident.ObjectID
	Bytes      int32 // size of the manifest's root object
	CRC        uint32
	Start, End ident.Offset // the offsets that its ranges cover
	RangeCount int64
	DataBytes  int64             // sum of Range.Bytes over its ranges
	Writer     ident.Incarnation // of the root object: part of its key
}

// Head is all that the quorum knows of a partition. The ranges are contiguous and end at
// CommittedEnd (I8). The manifest covers what lies between LogStart and the first range.
type Head struct {
	Partition    ident.TopicPartition
	Leader       Leadership
	LogStart     ident.Offset
	CommittedEnd ident.Offset // never below LogStart (E12)
	// State is the newest state: a delta on Base, or whole if Base is zero (E11).
	State, Base StateRef
	Manifest    Manifest
	Ranges      []Range // at most RangesPerHeadMax (E17)
	// Past lists the leaderships under which a sealed tail may still hold uncommitted batches of
	// the partition, oldest first (E21).
	Past []Leadership
}

// RangesPerHeadMax is how many ranges a head may hold before the oldest must go into the manifest
// (E17).
const RangesPerHeadMax = 32

// CommitPartBytesMax is the size of the largest part that one bundle may have in a commit command
// (E17).
const CommitPartBytesMax = 512 << 10

// Tail is the WAL of a sealed incarnation of a broker: it holds [0, End) and accepts nothing more.
type Tail struct {
	Incarnation ident.Incarnation
	End         ident.Position
}

// Registration is the answer to RegisterIncarnation.
type Registration struct {
	// The new one; no partition is placed on it before it is opened (E27).
	Incarnation ident.Incarnation
	Tails       []Tail // oldest first; the new incarnation holds them (E21)
}

// CommitRange is one range of a bundle on its way into the catalog.
type CommitRange struct {
	Partition ident.TopicPartition
	Range     Range // Range.Object is the bundle's id
	// WALEnd is the position in the WAL of Range.Incarnation up to which this range was read. It
	// must not exceed the end of a sealed tail (E21).
	WALEnd      ident.Position
	State, Base StateRef // the new state pointers of the head
}

// CommitBundle is one bundle of a commit.
type CommitBundle struct {
	Object ident.ObjectID
	Bytes  int64
	Ranges []CommitRange
}

// Commit makes bundles live. An incarnation has one commit in flight (E28). Number rises by one
// with each commit; whoever repeats the last number with the same content gets the same answer
// again.
type Commit struct {
	Incarnation ident.Incarnation // of the committer: it must be current
	Number      uint64
	Bundles     []CommitBundle
}

// Verdict is the quorum's answer for one range (E12).
type Verdict uint8

const (
	// Refused means that the range must be planned again, under a new object id.
	Refused Verdict = iota
	// Committed means that the range is live, or the part of it at or above the log start (E23).
	Committed
	// Void means that the topic is gone or that the log start has passed the range. Trimming counts
	// the range as done.
	Void
)

// CommitResult has one verdict per range, in the order of the commit. A bundle that fails with
// ErrNotPrepared shows as Refused for all of its ranges.
type CommitResult struct {
	Verdicts [][]Verdict // [bundle][range]
	Reasons  [][]Reason  // [bundle][range]: why the range was refused
}

// ManifestSwap replaces a partition's manifest and takes the Absorbed oldest ranges out of the
// head. It is a compare-and-set on the manifest's version.
type ManifestSwap struct {
	Partition   ident.TopicPartition
	Incarnation ident.Incarnation // of the proposer: it must be current
	OldVersion  uint64
	New         Manifest
	Absorbed    []Range          // must be exactly the first ranges of the head
	NewObjects  []ident.ObjectID // root and leaves that become live: each must be prepared (E7)
	Dropped     []ident.ObjectID // old root and leaves that the new manifest no longer names
}

// RangeRelease takes ranges that the log start has passed out of a partition's manifest. It is a
// compare-and-set on the manifest's version, and idempotent (E30). Released lists objects: each
// mention takes one live range from the object's count.
type RangeRelease struct {
	Partition   ident.TopicPartition
	Incarnation ident.Incarnation
	OldVersion  uint64
	New         Manifest // Version is OldVersion + 1; Object is 0 if nothing is left
	Released    []ident.ObjectID
	NewObjects  []ident.ObjectID
	Dropped     []ident.ObjectID
}
