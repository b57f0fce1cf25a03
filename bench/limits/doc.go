// Package limits is what this machine can do at best: servers that do as little as a Kafka client
// lets them, and probes of the disk and of a bucket.
//
// Each [Kind] is a server that [Serve] runs. Null decodes Produce and answers. WAL is Null with
// the CRC of each batch checked and one write and one fdatasync for all that gathered meanwhile, in a
// preallocated, zero-filled ring: nothing in it can be read back. WALOverlapped writes the next group to the page
// cache while the last one syncs. WALUpload also puts what is durable into a bucket, as Sluice does. WALTwice writes it a second time
// instead, into files of the same disk, each synced once when it is full.
// Fetch keeps what is produced in memory and serves it by reference, checking nothing. Bucket is an
// S3 endpoint that checks what is put and throws it away. They take any topic and know no groups, no
// transactions, no duplicates and no security. They are as fast as we know to make them: what is measured
// beside them must not look good for their sake.
//
// Goroutines: a reader for each connection, which answers what needs no waiting; the WAL's committer, which answers
// what it made durable, and its overlapper; the uploads. Locks: topics, a partition's log, the WAL's queue, the pool of
// frames, a connection's late answers; none is held together with another or around I/O, but for a write that does not wait.
//
// Imports: protocol, storage/bucket (the client that Sluice uploads with), vfs.
package limits
