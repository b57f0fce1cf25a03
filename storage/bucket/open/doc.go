// Package open makes a bucket from its URL.
//
// It is separate from package bucket, so that only the code that opens buckets depends on all
// implementations, the AWS SDK among them. It owns nothing. The type to know is [Options]. It has
// no goroutines and no locks. Imports: storage/bucket and its dir, mem and s3, vfs.
package open
