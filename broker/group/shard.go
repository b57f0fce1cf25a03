package group

import (
	"time"
)

// Shard is the groups of one partition of __consumer_offsets: a pure state
// machine. Not safe for concurrent use: one owner calls it.
type Shard struct {
	cfg Config
}

// NewShard returns an empty shard. Replay its log, call Loaded, then serve.
func NewShard(cfg Config) *Shard { return &Shard{cfg: cfg} }

// Replay applies one record of the log, in order, before Loaded. A record of
// a kind that belongs to newer group types is counted (Skipped) and left
// alone; a record of our kinds that does not decode is a *RecordError.
func (s *Shard) Replay(r Record) error { panic("building") }

// Loaded ends the replay: every member's session starts anew, whole.
func (s *Shard) Loaded(now time.Time) Effects { panic("building") }

// Skipped counts replayed records of kinds that this package does not know.
func (s *Shard) Skipped() int { panic("building") }

// Join is JoinGroup. The answer may take as long as the rebalance timeout.
func (s *Shard) Join(now time.Time, r JoinRequest) Effects { panic("building") }

// Sync is SyncGroup. Answered when the leader's assignment is durable.
func (s *Shard) Sync(now time.Time, r SyncRequest) Effects { panic("building") }

// Heartbeat is Heartbeat: nil, or why the member must do something else.
func (s *Shard) Heartbeat(now time.Time, r HeartbeatRequest) error { panic("building") }

// Leave is LeaveGroup.
func (s *Shard) Leave(now time.Time, r LeaveRequest) Effects { panic("building") }

// Commit is OffsetCommit. Answered when the offsets are durable; only then does Fetch show them (I13).
func (s *Shard) Commit(now time.Time, r CommitRequest) Effects { panic("building") }

// Fetch is OffsetFetch of the partitions named, one result each, in order.
// A group or partition without a committed offset gives Offset -1, no error.
func (s *Shard) Fetch(group string, partitions []PartitionName, topics Topics) []FetchedOffset {
	panic("building")
}

// FetchAll is OffsetFetch of all that the group has committed, by topic, then partition.
func (s *Shard) FetchAll(group string, topics Topics) []FetchedOffset { panic("building") }

// DeleteOffsets is OffsetDelete.
func (s *Shard) DeleteOffsets(now time.Time, r DeleteOffsetsRequest) Effects { panic("building") }

// Delete is DeleteGroups of one group.
func (s *Shard) Delete(now time.Time, r DeleteRequest) Effects { panic("building") }

// Describe is DescribeGroups of one group.
func (s *Shard) Describe(group string) Description { panic("building") }

// List is ListGroups, by name.
func (s *Shard) List() []Listing { panic("building") }

// Written tells that a write is durable and published (err nil), or that it
// was refused and will never be (err, which waiters get as it is). Called
// once per write, in the order of the writes.
func (s *Shard) Written(now time.Time, t Token, err error) Effects { panic("building") }

// Deadline is when Tick has something to do; zero: nothing is waiting for time.
func (s *Shard) Deadline() time.Time { panic("building") }

// Tick does what is due: sessions, rebalances, pending members.
func (s *Shard) Tick(now time.Time) Effects { panic("building") }

// Expire removes offsets past their retention, those of topics that are gone,
// and groups that have neither members nor offsets. To be called every
// offsets.retention.check.interval.ms.
func (s *Shard) Expire(now time.Time, topics Topics) Effects { panic("building") }

// InFlight counts writes that Written has not been called for.
func (s *Shard) InFlight() int { panic("building") }

// Snapshot is the durable state as records: replaying them gives the same
// state (I15). To be taken only while InFlight is 0, and to be appended before
// any later write.
func (s *Shard) Snapshot() []Record { panic("building") }

// Bytes estimates what Snapshot would write.
func (s *Shard) Bytes() int { panic("building") }

// Stop answers every waiter with err: the shard's owner gives it up. Nothing may be called after it.
func (s *Shard) Stop(err error) Effects { panic("building") }
