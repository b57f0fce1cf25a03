// Package fault puts errors in front of a bucket, to test code that uses one.
//
// It owns only the plan of what goes wrong: by script, by the number of a call, at random from a
// seed, or everything (Away). Its errors are those that the s3 bucket would return in that case.
// What it does to the inner bucket is what a store might have done.
//
// The types to know are [Bucket] and [Fault]. It has no goroutines. A mutex guards plan, counters
// and delayed objects, and is not held during a call of the inner bucket. Imports: storage/bucket.
package fault
