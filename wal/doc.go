// Package wal makes record batches of many partitions durable in one write.
//
// It owns the files of one broker's incarnations and nothing else: offsets, what is
// published and when a segment may go are the caller's business. It promises:
// an append is reported durable after the fdatasync that covers all of it has succeeded
// (I1), in the order of the calls of [Writer.Append] and [Writer.Queue] (E8); after the first
// error on a segment that holds groups nothing is reported durable any more; an incarnation has one end,
// which [Recover] fixes (I6), at or above everything that was reported durable (I7), whatever
// interrupts it (I16). It does not promise that an append which failed has left no trace.
//
// Types to know: [Writer] appends to one incarnation and reads it back, [Append] is
// what lands whole in one group, [Sealed] is an incarnation that takes no more.
// [Inspect] prints one for people.
//
// A Writer has three goroutines. The committer writes, syncs and reports: all of it when there is
// little to do. The overlapper writes the next group while the committer syncs, and only
// when much has gathered. A caller of [Writer.Commit] does a small group's work itself while both rest. The filler prepares the next segment. Two mutexes guard
// memory only: Writer.mu (queue, places, states), then segments.mu (open files and who reads
// them). Trim holds trimMu around its I/O, before the other two.
//
// Layout: format.go and docs/formats/wal.md. What is measured: metrics.go. Imports: ident, vfs.
package wal
