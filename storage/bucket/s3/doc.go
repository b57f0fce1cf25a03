// Package s3 is the s3:// bucket: Amazon S3 and what speaks its protocol.
//
// It owns the HTTP connections to one bucket and is the only package that imports
// the AWS SDK. It promises what bucket.Bucket does as far as the store does its part:
// conditional create (If-None-Match) and the checksum header are sent always, and
// bucket.Probe tells whether the store heeds them. One call is one try: retries are
// bucket.Retrying's, so that there is one budget.
//
// The types to know are [Config] and [Bucket]. A Create of a large body has up to
// partsInFlight goroutines, which end before it returns. There are no locks but
// those of the connection pool and of a body's reader, which send.go hands past the SDK to the socket.
//
// The outcome of each request is classified in classify.go alone.
// Keys: docs/formats/bucket.md. Imports: storage/bucket.
package s3
