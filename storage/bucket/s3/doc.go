// Package s3 is the s3:// bucket: Amazon S3 and the stores that speak its protocol.
//
// It owns the HTTP connections to one bucket, and is the only package that imports the AWS SDK. It
// keeps the promises of bucket.Bucket as far as the store does its part: it always sends the
// conditional create (If-None-Match) and the checksum header, and bucket.Probe finds out whether
// the store heeds them. A call tries once: retries are the task of bucket.Retrying, so that there
// is one budget of retries.
//
// The types to know are [Config] and [Bucket]. A Create of a large body has up to partsInFlight
// goroutines, which end before it returns. There are no locks but those of the connection pool and
// of a body's reader, which send.go passes around the SDK to the socket.
//
// Only classify.go classifies the outcome of a request. Keys: docs/formats/bucket.md. Imports:
// storage/bucket.
package s3
