// Package group holds consumer groups of the classic protocol, their committed
// offsets and the record formats of __consumer_offsets, as a pure state machine.
//
// It owns the meaning of a group: who is a member, which generation runs, what
// was committed. It does no I/O: a [Shard] (the groups of one partition of
// __consumer_offsets) takes requests with the time and returns [Effects]:
// records to append, and answers to requests that were waiting. It promises
// that every waiter is answered exactly once, that an assignment or an offset
// is shown only after the record that holds it is durable (I13), and that
// replaying the log, or a snapshot, gives the state again (I15).
//
// No goroutines, no locks, no clock: one owner calls a shard. Imports: ident,
// kmsg for the record formats.
package group
