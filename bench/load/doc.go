// Package load puts load on a Kafka cluster, any Kafka, and tells what came of it.
//
// It owns the workloads, the clients that run them and the check of every record
// that they read. [Run] takes a [Target] (where the cluster is, and which processes
// to watch beside it) and a [Workload], a plain value out of [Workloads] whose fields
// may be changed, and gives a [Result].
//
// The load is an open loop: a record is due at start + n·interval, whatever became
// of those before it, and its latency counts from then, so that a broker that stalls
// cannot make the clients hold back and hide it. Every value says who sent it, as what
// number, when, and has a checksum (envelope.go); consumers find out what was
// lost, came twice, in another order or damaged. None of this may become the limit:
// recording and checking a record costs well below 100 ns.
//
// What is not promised: that the client is no limit (run the same on a broker that does
// nothing, bench/limits, and compare), or that figures of two machines can be compared.
//
// A producer is a kgo client whose records are made once and used again and again (producer.go). One pacer
// sends what is due for all of them and never waits for any (pacer.go); without a rate each producer has a
// goroutine of its own. A consumer is a client and a goroutine. Histograms are in shards under a mutex each
// (recorder.go); the goroutine of Run gathers them and owns everything else. Lock order: a partition's check, then a recorder's shard; the other locks are leaves.
//
// Imports: franz-go, HdrHistogram; nothing of the broker.
package load
