// Package bucket is the port to object storage: a flat set of named, immutable objects.
//
// It owns the [Bucket] interface and its errors, the rules for keys, the
// [Retrying] wrapper and the start-up [Probe]. It promises that an error says
// what is known: after anything but [ErrUnknown] the caller knows whether the
// object was stored. It does not promise that a key which was deleted cannot be
// created again; that a key is used once (I3) is for the caller, who gets object
// ids from the metadata quorum and counts an object only once it is committed there.
//
// The types to know are [Bucket], [Body] and [Retrying]. Implementations are in
// dir (file://), mem (mem://) and s3 (s3://); open picks one by URL, fault puts
// errors in front of one, buckettest holds the conformance suite for all.
//
// There are no goroutines here; all methods may be called concurrently. A mutex
// guards the retry budget alone.
//
// Keys: key.go and docs/formats/bucket.md. What is measured: metrics.go. Imports: internal/crc32c.
package bucket
