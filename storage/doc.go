// Package storage is the partition log: it places batches, makes them durable
// through the write-ahead log, shows them, moves them to the bucket and reads
// them back from wherever they are.
//
// It owns every partition that this broker leads ([Engine] holds them all), the WAL and its
// sealed tails, the flush to the bucket and what is deleted from it. It promises I1, I2, I5, I8, I9 and
// I11 for one broker; what the quorum decides (ends, log starts, who leads) it
// gets through [Catalog] and never decides itself.
//
// The path that matters is in append.go: place, persist, replicate, publish,
// acknowledge. The path to the bucket is in flush.go: plan, upload, commit,
// record, trim. Reading is in read.go (hot tail, WAL file) and cold.go (objects).
//
// Goroutines: the WAL's own call [Engine.persisted] in WAL order; one flusher for
// all partitions and one for those of class object; one for retention, manifests and trim; one
// that deletes (it may take long, and nothing waits for it); one per reader of the bucket while it is read ahead of (ahead.go). A partition's mutex guards memory only; several are taken in
// id order (E8); the catalog is never called under one.
//
// What is measured: metrics.go; no decision depends on it. Imports: ident, catalog, protocol, vfs, wal, storage/{bucket,object,cache,pstate}.
package storage
