// Package buckettest holds the conformance suite that every bucket passes, and starts the S3
// servers that tests use.
//
// It owns the server processes that it starts, each with a folder of its own, and stops them by
// their process ids. The types to know are [Flags] and [Server]. One goroutine per server waits for
// its process. The package keeps no state between tests. Imports: storage/bucket.
package buckettest
