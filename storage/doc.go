// Package storage is the partition log. It places batches, makes them durable through the
// write-ahead log, shows them to readers, moves them to the bucket, and reads them back from
// wherever they are.
//
// The package owns every partition that this broker leads ([Engine] holds them all), the WAL and
// its sealed tails, the flush to the bucket, and retention: what no partition needs is released in
// the catalog, and package metadata/controller deletes the objects. The package promises I1, I2,
// I5, I8, I9 and I11 for one broker. What the quorum decides (committed ends, log starts, who
// leads) it gets through [Catalog], and never decides itself.
//
// [Engine] has the path of a produce and the lives of the partitions, and joins the owners of the
// rest. Each owner has a state of its own and takes the others that it needs as pointers. What they
// share is env, which nobody changes after the start. The owners are:
//
//   - budget: how much is not in the bucket yet, and how much producers are slowed by it.
//   - coldReader: reading objects; the block cache, what is read ahead, decoded indexes.
//   - flusher: what is on its way to the bucket, and what is stuck.
//   - manifestWriter: replacing manifests. objectIDs: ids of new objects.
//   - recorder: state records in the WAL. trimmer: giving up the WAL and its sealed tails.
//   - retainer: what is deleted.
//
// One produce (append.go has the steps and their rules):
//
//  1. Engine.Append locks the partitions in the order of their ids. Engine.place gives the batches
//     their offsets and hands them to the WAL in one call (E8).
//  2. Engine.persist wakes the WAL, or lends it the caller's goroutine. Package wal writes a group
//     and syncs it.
//  3. The WAL calls Engine.persisted with each group, in WAL order. Engine.replicate decides
//     whether the peers have the group.
//  4. Engine.publish moves the high watermark of each partition as far as its class allows. A batch
//     of class object waits for its commit instead.
//  5. acknowledge calls AppendRequest.Done once every partition of the request is shown.
//
// One flush (flush.go):
//
//  1. flusher.flushLoop calls flusher.flushAll when enough bytes have gathered, or when
//     Config.FlushInterval has passed (trigger.go). flushAll repeats flusher.pass, which goes over
//     the partitions once.
//  2. flusher.plan copies which batches are persisted and not committed into sections, and packs
//     the sections into bundles (plan.go).
//  3. flusher.upload puts the bundles into the bucket, each under a fresh object id (upload.go).
//  4. flusher.commitAll proposes the bundles to the quorum, one command at a time, and follows its
//     verdicts (commit.go).
//  5. recorder.record writes a state record per partition into the WAL (record.go).
//  6. flusher.absorb moves ranges out of full heads into manifests (manifestWriter, absorb.go).
//  7. trimmer.trim gives up the part of the WAL that is committed or void, and recorded (trim.go,
//     I9).
//
// One fetch (read.go):
//
//  1. Engine.Read goes through the partitions in the order of the request, within its limits.
//  2. Engine.readOnce takes batches that are still in memory from there, and reads the others of
//     the WAL from its file.
//  3. Lower offsets are in the bucket: coldReader.readCold finds the range that holds the offset
//     (findRange), decodes the index of its section (section) and reads the batches through the
//     block cache (readEntries; cold.go). If the data moves meanwhile, the read is planned again
//     (replanning).
//  4. coldReader.goAhead reads what a reader that goes on will ask for next (ahead.go).
//
// Goroutines: the WAL calls Engine.persisted from its own or a lent goroutine, one group at a
// time. flusher.flushLoop serves all partitions, and flusher.urgentLoop those of class object.
// retainer.retaining does retention, releases manifests and trims. flusher.rechecking looks again
// at the partitions that are stuck (stuck.go). A partition that needs its state from the bucket has
// one goroutine while it loads, and each reader of the bucket that is read ahead of has one. Locks:
// the mutex of a partition guards memory only. Several are locked in the order of their ids (E8).
// The catalog is never called under one. docs/architecture.md has the order of all locks.
//
// Metrics: metrics.go; no decision depends on them. Imports: ident, catalog, protocol, vfs, wal,
// storage/{bucket,object,cache,pstate}.
package storage
