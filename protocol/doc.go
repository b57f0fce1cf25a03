// Package protocol turns Kafka's bytes into values and back, without I/O: frames and headers,
// record batches v2, compression, error codes, and the two hot responses (Produce, Fetch), which
// kmsg would copy.
//
// It promises that decoding never panics, never allocates by a length that was not checked against
// the bytes at hand, and aliases its input only where it says so.
//
// A request: header.go parses key and version, and then the whole header; shape.go knows the fields
// of each request, so that [RequestCost] tells what a body would decode to before [DecodeRequest]
// decodes it. A batch: batch.go has its header, CRC, and what a broker patches; stamps.go streams
// the places and times of its records, records.go reads and builds whole ones, compress.go has the
// codecs. An answer: produce_response.go and fetch_response.go; everything else is kmsg's.
//
// Layout of a batch: batch.go. Imports: ident, internal/crc32c, kmsg, compression libraries; no
// net.
package protocol
