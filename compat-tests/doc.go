// Package compat shows that stock clients work against the real binary, over TCP
// only: what is acknowledged survives kill -9, an outage of the bucket and the
// loss of the disk, and comes back as it went in.
//
// It owns nothing but tests; the tools are in harness, the judgement in history, the
// comparison with Apache Kafka in beside.
// The binary is $SLUICE_BIN, else bin/sluice of this tree. A failing test prints
// its seed; SLUICE_SEED plays it again, SLUICE_LONG=1 runs the long evidence.
// Tests named …_Oracle run against Apache Kafka: what fails there is the test's own fault.
//
// Imports: harness, history, beside, franz-go; nothing of the broker.
package compat
