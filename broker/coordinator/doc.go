// Package coordinator runs the consumer groups of this broker: it joins the pure
// machines of package group to the partitions of __consumer_offsets that this broker leads.
//
// It owns one shard per led partition: the groups whose name hashes there, loaded from the
// partition's log when the broker starts. It promises that what a group answers or shows is durable and published in that
// log first (I2, I13), that state is applied in the order of the log, that nothing is answered from a shard before its whole log
// was read ("elected is not ready"), and that the log stays short: once it is larger than
// max(Config.ShortenBytes, 10 × live state), or after Config.ShortenInterval than the latter alone, the live state is written
// again and the log before it given up.
//
// Types to know: [Coordinator] (Open, Find, Join, Commit, …, Close), shard (one partition; shard.go tells its loop).
//
// Goroutines: one per shard, which owns its machine, its waiters and its queue of writes; at most
// one append of a shard is in flight, and what comes meanwhile goes into the next batch. A loading
// shard holds one of loadParallel slots. Moving a log start has a goroutine of its own while it
// lasts. Locks: Coordinator.mu guards the current set of shards and is never held during I/O.
//
// Formats: those of Apache Kafka's __consumer_offsets, in package group. Imports: broker/group, storage (its
// API types), catalog, protocol, ident.
package coordinator
