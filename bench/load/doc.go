// Package load puts load on any Kafka cluster and reports what came of it.
//
// It owns the workloads, the clients that run them, and the check of every record that they read.
// [Run] takes a [Target] (where the cluster is, and which processes to watch) and a [Workload], a
// plain value out of [Workloads] whose fields may be changed, and returns a [Result].
//
// The load is an open loop: a record is due at start + n·interval, whatever happened to the records
// before it, and its latency counts from then. So a broker that stalls cannot hide it by making the
// clients hold back. Every value says which producer sent it, with which number and when, and has a
// checksum (envelope.go). Consumers find out what was lost, duplicated, reordered or damaged. None
// of this may become the limit: recording and checking a record costs well below 100 ns.
//
// The package does not promise that the client is no limit (to find out, run the same workload on a
// broker that does nothing, bench/limits), nor that figures of two machines can be compared.
//
// A producer is a kgo client whose records are made once and reused (producer.go). One pacer sends
// the records that are due for all producers and never waits for any of them (pacer.go). Without a
// rate, each producer has a goroutine of its own. A consumer is a client and a goroutine.
// Histograms are in shards with a mutex each (recorder.go). The goroutine of Run gathers them and
// owns everything else. Lock order: a partition's check, then a recorder's shard. No lock is taken
// while one of the other locks is held.
//
// Imports: franz-go, HdrHistogram; nothing of the broker.
package load
