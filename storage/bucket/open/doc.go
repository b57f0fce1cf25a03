// Package open makes a bucket from its URL.
//
// It stands apart from package bucket so that only who opens buckets depends on
// all implementations, the AWS SDK among them. It owns nothing; the type to know is
// [Options]. No goroutines, no locks. Imports: storage/bucket and its dir, mem and s3, vfs.
package open
