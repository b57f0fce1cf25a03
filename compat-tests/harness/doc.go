// Package harness starts brokers as processes, breaks them, and records what clients see.
//
// [Broker] is a process of the binary under test (or of Apache Kafka, as an oracle for the harness
// itself). It is killed, stopped and started again on the same directory and port. [Store] is a
// versitygw or MinIO on loopback. [Proxy] stands before it and refuses, hangs or answers 503.
// [Conn] speaks the raw protocol. [Auditor] uses it to read everything and records it in a
// [history.History]; [Produce] and [RawProducer] are producers that do the same for what they send.
// A [Tap] stands before a member of a group, whatever its client is, and records what the member
// says and is told in a [history.Groups]. [RawMember] is a member that misbehaves, and
// [GroupAuditor] keeps asking for what was committed.
//
// Everything stops with its test. Nothing here imports the broker, which is known by its command
// line, its ready line and the wire. Imports: compat-tests/history, franz-go.
package harness
