// Package limits is what this machine can do at best: servers that do as little as a Kafka client
// allows, and probes of the disk and of a bucket.
//
// Each [Kind] is a server that [Serve] runs.
//
//   - Null decodes Produce and answers.
//   - WAL also checks the CRC of each batch, and makes all batches that have gathered durable with
//     one write and one fdatasync, in a preallocated ring full of zeros. Nothing in the ring can be
//     read back.
//   - WALOverlapped is WAL, but it writes the next group to the page cache while the last one
//     syncs.
//   - WALUpload is WALOverlapped, but it also puts what is durable into a bucket, as Sluice does.
//   - WALTwice writes what is durable a second time instead, into files of the same disk, each of
//     which is synced once when it is full.
//   - Fetch keeps what is produced in memory and serves it by reference. It checks nothing.
//   - Bucket is an S3 endpoint that checks what is put into it and throws it away.
//
// The servers accept any topic. They know no groups, no transactions, no duplicates and no
// security. They are as fast as we know how to make them, since what is compared with them must
// not look good because of them.
//
// Goroutines: a reader for each connection, which answers what does not have to wait; the WAL's
// committer, which answers what it has made durable, and its overlapper; the uploads. Locks:
// topics, a partition's log, the WAL's queue, the pool of frames, a connection's late answers.
// None is held together with another or during I/O, except for a write that does not wait.
//
// Imports: protocol, storage/bucket (the client with which Sluice uploads), vfs.
package limits
