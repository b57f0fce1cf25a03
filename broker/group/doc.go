// Package group holds consumer groups of the classic protocol, their committed
// offsets and the record formats of __consumer_offsets, as a pure state machine.
//
// It owns the meaning of a group: who is a member, which generation runs, what
// was committed. It does no I/O: a [Shard] (the groups of one partition of
// __consumer_offsets) takes requests with the time and returns [Effects]:
// records to append, and answers to requests that were waiting. The owner
// appends each [Write], tells the outcome by [Shard.Written], and calls
// [Shard.Tick] when [Shard.Deadline] has come.
//
// It promises that every waiter is answered exactly once (unless the shard is
// dropped without Stop), that an assignment or an offset is shown only after
// the record that holds it is durable (I13), and that replaying the log, or a
// snapshot of it, gives the state again (I15). What is not in a record is
// lost with the process: who is joining, and when sessions end; after a
// restart each member of the last stable generation has a whole session.
// It does not know which topics exist, nor how large a batch may be: the
// largest record is a group's, which grows with its members' words.
//
// Types to know: Shard; Effects; the requests and their answers.
//
// No goroutines, no locks, no clock, no chance: one owner calls a shard.
// Formats: docs/formats/groups.md. Imports: ident, kmsg for the record formats.
//
// File map: shard.go (the whole, queries) · group.go (one group, sessions,
// heartbeat, leave) · join.go, rebalance.go, sync.go (a generation, in this
// order) · offsets.go, expire.go, subscription.go · write.go (what waits for
// the log, and the one place where durable state changes) · format.go,
// replay.go (records, snapshot) · timers.go.
package group
