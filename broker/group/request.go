package group

import (
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Waiter names one request that will be answered later, exactly once, in some Effects. The shell
// chooses it; no other request in the shard may have it.
type Waiter uint64

// Token names one Write until the shell has called Written for it.
type Token uint64

// Effects is what the shell has to do after a call, in this order: append Writes in the given order
// (and after those of earlier calls), then deliver Answers. An answer that depends on a write comes
// from Written, not from the call that made the write.
type Effects struct {
	Writes  []Write
	Answers []Answer
}

// Write is a set of records that are appended to the shard's partition as one batch: all of them,
// or none.
type Write struct {
	Token   Token
	Records []Record
}

// Record is one record of __consumer_offsets. A nil Value is a tombstone.
type Record struct {
	Key, Value []byte
}

// Answer is the one answer to a waiter, for example a *JoinAnswer to a JoinRequest.
type Answer struct {
	Waiter Waiter
	Body   Body
}

// Body is one of *JoinAnswer, *SyncAnswer, *LeaveAnswer, *CommitAnswer, *DeleteOffsetsAnswer,
// *DeleteAnswer.
type Body interface{ body() }

func (*JoinAnswer) body()          {}
func (*SyncAnswer) body()          {}
func (*LeaveAnswer) body()         {}
func (*CommitAnswer) body()        {}
func (*DeleteOffsetsAnswer) body() {}
func (*DeleteAnswer) body()        {}

// Protocol is one way to assign partitions that a member supports, and the member's subscription
// for it. The group carries those bytes and does not read them, except for the protocol type
// "consumer".
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinRequest is a JoinGroup. The group keeps the slices.
type JoinRequest struct {
	Waiter   Waiter
	Group    string
	MemberID string // empty for a new member
	// FreshID is the end of a new member's id: a UUID that the caller made.
	FreshID              string
	InstanceID           *string // KIP-345; nil below v5
	ClientID, ClientHost string
	SessionTimeout       time.Duration
	RebalanceTimeout     time.Duration // in v0 the session timeout
	ProtocolType         string
	Protocols            []Protocol // in the member's order of preference
	RequireKnownMember   bool       // v4+: a new dynamic member is sent back with its id (KIP-394)
	// v9+: a static leader may be told to skip the assignment (KIP-814).
	CanSkipAssignment bool
}

// JoinAnswer answers a JoinRequest.
type JoinAnswer struct {
	Err            error
	Generation     int32   // -1 with most errors
	ProtocolType   *string // v7+; nil with most errors
	Protocol       *string // nil with most errors; below v7 the handler writes "" for nil
	Leader         string
	SkipAssignment bool
	MemberID       string
	Members        []JoinMember // for the leader only
}

// JoinMember is one member as its leader sees it.
type JoinMember struct {
	MemberID   string
	InstanceID *string
	Metadata   []byte
}

// SyncRequest is a SyncGroup.
type SyncRequest struct {
	Waiter       Waiter
	Group        string
	MemberID     string
	InstanceID   *string
	Generation   int32
	ProtocolType *string           // v5+; not checked if nil
	Protocol     *string           // v5+; not checked if nil
	Assignments  map[string][]byte // by member id; only the leader's count
}

// SyncAnswer answers a SyncRequest. Its assignment belongs to the group and must not be changed.
type SyncAnswer struct {
	Err                    error
	ProtocolType, Protocol *string // v5+
	Assignment             []byte
}

// HeartbeatRequest is a Heartbeat.
type HeartbeatRequest struct {
	Group      string
	MemberID   string
	InstanceID *string
	Generation int32
}

// LeaveRequest is a LeaveGroup. Versions 0 to 2 name one member.
type LeaveRequest struct {
	Waiter  Waiter
	Group   string
	Members []LeaveMember
}

// LeaveMember names a member by its id, or a static member by its instance id and an empty member
// id.
type LeaveMember struct {
	MemberID   string
	InstanceID *string
}

// LeaveAnswer answers a LeaveRequest with Err for all members, or with one error (or nil) for each,
// in the order of the request.
type LeaveAnswer struct {
	Err     error
	Members []error
}

// CommitRequest is an OffsetCommit of partitions that exist.
type CommitRequest struct {
	Waiter     Waiter
	Group      string
	MemberID   string
	InstanceID *string
	Generation int32 // -1 with an empty member id for a simple consumer
	// Retention is retention_time_ms of v2 to v4. If it is negative, offsets.retention.minutes
	// counts.
	Retention    time.Duration
	KnowsNoGroup bool // v9+: code 69 where older versions get 22
	Partitions   []CommitPartition
}

// CommitPartition is one offset to commit.
type CommitPartition struct {
	Topic       string
	TopicID     ident.TopicID // of the topic that exists now
	Partition   int32
	Offset      ident.Offset
	LeaderEpoch ident.Epoch // ident.NoEpoch if there is none
	Metadata    string
}

// CommitAnswer answers a CommitRequest with Err for all partitions, or with one error (or nil) for
// each, in the order of the request.
type CommitAnswer struct {
	Err        error
	Partitions []error
}

// Topics returns the id of a topic that exists now. An offset that was committed for another topic
// of the same name is not shown.
type Topics func(topic string) (ident.TopicID, bool)

// FetchedOffset is a committed offset. Offset is -1 if there is none.
type FetchedOffset struct {
	Topic       string
	Partition   int32
	Offset      ident.Offset
	LeaderEpoch ident.Epoch
	Metadata    string
	CommitTime  time.Time // zero if there is no offset
}

// PartitionName names a partition as clients do.
type PartitionName struct {
	Topic     string
	Partition int32
}

// DeleteOffsetsRequest is an OffsetDelete.
type DeleteOffsetsRequest struct {
	Waiter     Waiter
	Group      string
	Partitions []PartitionName
}

// DeleteOffsetsAnswer answers a DeleteOffsetsRequest with Err for all partitions, or with one error
// (or nil) for each, in the order of the request.
type DeleteOffsetsAnswer struct {
	Err        error
	Partitions []error
}

// DeleteRequest is one group of a DeleteGroups.
type DeleteRequest struct {
	Waiter Waiter
	Group  string
}

// DeleteAnswer answers a DeleteRequest.
type DeleteAnswer struct{ Err error }

// State is a state of a group, as Kafka names it.
type State int

// The states of a classic group.
const (
	Empty               State = iota // no members; perhaps offsets
	PreparingRebalance               // members are to join
	CompletingRebalance              // the leader's assignment is not durable yet
	Stable                           // members have their assignments
	Dead                             // does not exist (any more)
)

// String returns Kafka's name of the state.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// Description is what DescribeGroups says about one group.
type Description struct {
	Err          error // ErrNotFound; below v6 it is shown as state Dead without an error
	Group        string
	State        State
	ProtocolType string
	Protocol     string // only when Stable
	Members      []MemberDescription
}

// MemberDescription is what DescribeGroups says about one member.
type MemberDescription struct {
	MemberID             string
	InstanceID           *string
	ClientID, ClientHost string
	Metadata             []byte // only when Stable
	Assignment           []byte // of the last generation that had an assignment
}

// Listing is what ListGroups says about one group.
type Listing struct {
	Group        string
	State        State
	ProtocolType string
}
