// Package protocol turns Kafka's bytes into values and back, without I/O: frames and headers,
// record batches v2, compression, error codes, and the two hot responses (Produce, Fetch), which
// kmsg would copy.
//
// It promises that decoding never panics, never allocates by a length that was not checked against
// the bytes at hand, and aliases its input only where it says so.
//
// Layout of a batch: batch.go. Imports: ident, internal/crc32c, kmsg, compression libraries; no
// net.
package protocol
