// Package coordinator runs the consumer groups of this broker. It connects the pure machines of
// package group to the partitions of __consumer_offsets that this broker leads.
//
// The package owns one shard per led partition. A shard holds the groups whose names hash to the
// partition, and is loaded from the partition's log when this broker begins to lead it. The package
// promises:
//
//   - What a group answers or shows is durable and published in the partition's log first (I2,
//     I13).
//   - State is applied in the order of the log.
//   - A shard answers nothing before it has read its whole log: a broker that is elected is not yet
//     ready.
//   - The log stays short. A log is too long once it holds more than 10 times the live state and,
//     in addition, is larger than Config.ShortenBytes or was last shortened Config.ShortenInterval
//     ago. The shard then writes the live state again and gives up the log before it.
//
// Read [Coordinator] first (Open, Find, Join, Commit, …, Close), then shard: it is one partition,
// and shard.go explains its loop.
//
// Goroutines: one per shard, which owns the shard's machine, its waiters and its queue of writes. A
// shard has at most one append in flight; the writes that come meanwhile go into the next batch. A
// shard that loads holds one of loadParallel slots. Moving a log start has a goroutine of its own
// while it lasts. Locks: Coordinator.mu guards the current set of shards and is never held during
// I/O.
//
// Formats: those of Apache Kafka's __consumer_offsets, in package group. Imports: broker/group,
// storage (its API types), catalog, protocol, ident.
package coordinator
