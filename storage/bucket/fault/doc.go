// Package fault puts errors in front of a bucket, for tests of what uses one.
//
// It owns nothing but the plan of what goes wrong: by script, by number of a call, at
// random from a seed, or all of it (Away). What it answers is what the s3 bucket would
// answer in that case; what it does to the inner bucket is what a store might have done.
//
// The types to know are [Bucket] and [Fault]. It has no goroutines; a mutex guards plan,
// counters and delayed objects, never a call of the inner bucket. Imports: storage/bucket.
package fault
