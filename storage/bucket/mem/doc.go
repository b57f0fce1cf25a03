// Package mem is the mem:// bucket: objects in this process's memory, gone with it.
//
// It promises all of bucket.Bucket, conditional create and checksums included. The
// type to know is [Bucket]; it has no goroutines, and its mutex guards the map alone. Stored
// bytes never change, so that readers copy them outside of the lock.
//
// Imports: storage/bucket.
package mem
