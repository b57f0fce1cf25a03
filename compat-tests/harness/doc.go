// Package harness starts brokers as processes, hurts them, and records what
// clients see.
//
// [Broker] is a process of the binary under test (or of Apache Kafka, as an
// oracle for the harness itself), killed, stopped and started again on the same
// directory and port. [Store] is a versitygw or MinIO on loopback, [Proxy] stands
// before it and refuses, hangs or answers 503. [Conn] speaks the raw protocol.
// [Auditor] reads everything there is with it and writes it into a
// [history.History]; [Produce] and [RawProducer] are producers that do the same for
// what they send. A [Tap] before a group's member, of whatever client, writes what it
// says and is told into a [history.Groups]; [RawMember] is one that misbehaves, and
// [GroupAuditor] asks for what was committed all the time.
//
// Everything stops with its test. Nothing here imports the broker: it is known
// by its command line, its ready line, and the wire. Imports:
// compat-tests/history, franz-go.
package harness
