// Package faketest runs the conformance suite of buckets against gofakes3, an S3 server in
// the test's own process, and so needs no tool to be installed.
//
// It is a module of its own, so that gofakes3 and its dependencies stay out of the broker's go.mod.
// It has only tests. Imports: storage/bucket, its s3 and buckettest, and gofakes3.
package faketest
