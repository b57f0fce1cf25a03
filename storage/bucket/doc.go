// Package bucket is the port to object storage: a flat set of named, immutable objects.
//
// It owns the [Bucket] interface and its errors, the rules for keys, the [Retrying] wrapper and the
// start-up [Probe]. It promises that an error says what is known: after any error except
// [ErrUnknown] the caller knows whether the object was stored. It does not promise that a deleted
// key cannot be created again. Using each key once (I3) is the caller's task: it gets object ids
// from the metadata quorum, and counts an object only once it is committed there.
//
// The types to know are [Bucket], [Body] and [Retrying]. Implementations are in dir (file://), mem
// (mem://) and s3 (s3://). open picks one by URL, fault puts errors in front of one, and buckettest
// holds the conformance suite for all.
//
// There are no goroutines here, and all methods may be called concurrently. A mutex guards only the
// retry budget.
//
// Keys: key.go and docs/formats/bucket.md. What is measured: metrics.go. Imports: internal/crc32c.
package bucket
