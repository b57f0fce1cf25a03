// Package compat shows that stock clients work with the real binary, over TCP only: what is
// acknowledged survives kill -9, an outage of the bucket and the loss of the disk, and comes back
// as it was written.
//
// It owns only tests. The tools are in harness, the judgement in history, and the comparison with
// Apache Kafka in beside. The binary is $SLUICE_BIN, otherwise bin/sluice of this tree. A failing
// test prints its seed, and SLUICE_SEED plays it again. SLUICE_LONG=1 runs the long evidence. Tests
// named …_Oracle run against Apache Kafka: a failure there is a fault of the test.
//
// Imports: harness, history, beside, franz-go; nothing of the broker.
package compat
