// Command bench measures Sluice beside the limits of the machine, in one run.
//
// It starts what it compares as child processes, one at a time in rotating order: a null broker (decodes
// Produce and answers), a minimal write-ahead log (null broker + CRC + group commit with
// fdatasync into a preallocated file), and bin/sluice. The load is franz-go: acks=all,
// idempotent, 16 partitions, 1 KiB records, no compression. It prints min, median and max
// per cell and judges nothing: absolute figures do not carry over to another machine, ratios in one run do.
//
//	go run ./bench                    # every cell, 3 rounds
//	go run ./bench -rounds 5 -only throughput-4
//
// limits.go is the two servers, load.go the clients, main.go the order. Imports: franz-go only.
package main
