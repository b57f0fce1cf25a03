// Package mem is the mem:// bucket: objects in the memory of this process, which are gone when it
// ends.
//
// It promises everything that bucket.Bucket does, including conditional create and checksums. The
// type to know is [Bucket]. It has no goroutines, and its mutex guards only the map. Stored bytes
// never change, so readers copy them outside of the lock.
//
// Imports: storage/bucket.
package mem
