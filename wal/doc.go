// Package wal makes record batches of many partitions durable with one write and one sync.
//
// The package owns the files of one broker's incarnations and nothing else. Which offset a batch
// gets, what consumers may see and when a segment may be deleted is decided by the caller, package
// storage.
//
// # Terms
//
// An incarnation is one life of one broker's log: one process writes it, once. Its folder holds
// segment files of equal distance; together they are one stream of bytes, and an [ident.Position]
// is a place in that stream. A group is what one write and one sync make durable: a header, a table
// of entries and their payloads. An [Entry] is one record batch of one partition, or one state
// record. An [Append] is a list of entries that lands whole in one group.
//
// # One append, by function names
//
// [Writer.Append] is [Writer.Queue] and [Writer.Wake]. Queue computes missing checksums, and puts
// the append at the end of the queue; from here on the order of the queue is the order in the log
// (E8). Wake signals the committer goroutine.
//
// The committer (commitLoop) calls nextWritten, which turns the queue into a group: takeLocked
// picks as many appends as fit the segment and placeLocked gives the group its position;
// writeLocked lets go of the mutex, lays the group out (group.build) and writes it with one
// WriteVec. Then commit calls Datasync, moves the durable position and calls [Deps].Durable with
// the group. What is appended during that sync waits in the queue and becomes the next
// group, so groups grow with the load and no timer is needed.
//
// Two shortcuts keep that order. When much gathers during a sync, the overlapper (overlapLoop)
// writes the next group meanwhile; the committer syncs it afterwards. When the log is idle and
// little is queued, a caller who can wait uses [Writer.Commit] instead of Wake, and its own
// goroutine writes and syncs the group (takeInline): no other goroutine has to be woken.
//
// A group never straddles two segments. When the next append does not fit, makeRoomLocked moves on
// to the spare segment, which the filler (fillLoop, spare.go) has prepared in advance, and the
// filler starts on the next spare. Without a spare the queue waits; [Writer.Ready] tells callers
// early that the disk is full. [Writer.Trim] removes the oldest segments, or keeps their files as
// future spares.
//
// # Errors
//
// The first error on a segment that holds groups poisons the log (poisonLocked): nothing is
// reported durable after it, and failRest hands everything that was not reported to [Deps].Failed.
// A sync is never retried, since a second one may succeed although the first has lost pages
// (docs/lessons.md).
//
// # One start, by function names
//
// [Recover] opens the last incarnation, reads its groups (scanAll) and judges the first one that is
// not good. If a group behind it names a higher durable position, acknowledged data is damaged, and
// Recover refuses; otherwise the bytes are what a crash left, and the log ends before them (judge,
// E25). What was not proven durable is rewritten (rewrite), followed by a seal, which fixes the end
// for good. recover.go explains each step. The result is a [Sealed] incarnation, which can be read
// and removed. [OpenSealed] opens an older incarnation whose end the quorum knows. [Create] then
// makes the new incarnation.
//
// # Promises
//
//   - An append is reported durable only after the fdatasync that covers all of it has succeeded
//     (I1), in the order of the calls of Append and Queue (E8).
//   - An incarnation has one end (I6), at or above everything that was reported durable (I7),
//     whatever interrupts the recovery that fixes it (I16).
//   - An append that was reported failed may still be found by a recovery: failed means that the
//     outcome is unknown.
//
// # Goroutines and locks
//
// A Writer has three goroutines: committer, overlapper and filler. Deps.Durable is called by one
// goroutine at a time, either the committer or a caller of Commit. Two mutexes guard memory only
// and are never held during I/O: Writer.mu (queue, places, states), then segments.mu (open files
// and their readers). Trim holds Writer.trimMu around its I/O and takes it before the other two.
//
// [Inspect] prints an incarnation for people. Layout: format.go and docs/formats/wal.md. What is
// measured: metrics.go. Imports: ident, vfs.
package wal
