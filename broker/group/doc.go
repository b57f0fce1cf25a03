// Package group holds consumer groups of the classic protocol, their committed offsets and the
// record formats of __consumer_offsets, as a pure state machine.
//
// It owns the meaning of a group: who is a member, which generation is current, what was committed.
// It does no I/O. A [Shard] (the groups of one partition of __consumer_offsets) takes requests
// together with the time, and returns [Effects]: records to append, and answers to requests that
// were waiting. The shard's owner appends each [Write], reports the outcome with [Shard.Written],
// and calls [Shard.Tick] when [Shard.Deadline] has come.
//
// It promises that every waiter is answered exactly once (unless the shard is dropped without
// Stop), that an assignment or an offset is shown only after the record that holds it is durable
// (I13), and that replaying the log, or a snapshot of it, gives the same state again (I15). What is
// in no record is lost with the process: which members are joining, and when sessions end. After a
// restart each member of the last stable generation has a whole session. The package does not know
// which topics exist, nor how large a batch may be. Its largest record is that of a group, which
// grows with what its members say.
//
// Types to know: Shard; Effects; the requests and their answers.
//
// There are no goroutines, no locks, no clock and no randomness: one owner calls a shard. Several
// shards share a [Memory], an atomic counter that decides only whether groups may grow. Formats:
// docs/formats/groups.md. Imports: ident, kmsg for the record formats.
//
// File map: shard.go (the whole, queries) · group.go (one group, sessions, heartbeat, leave) ·
// join.go, rebalance.go, sync.go (a generation, in this order) · offsets.go, expire.go, memory.go,
// subscription.go · write.go (what waits for the log, and the one place where durable state
// changes) · format.go, replay.go (records, snapshot) · timers.go.
package group
