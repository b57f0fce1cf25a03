// Package broker gives Kafka's meaning to requests and serves them over TCP.
//
// It owns connections, the dispatch table, one file per API (api_NN_name.go, with the
// versions served and where we differ from Apache Kafka), and errors.go, which alone turns Go
// errors into Kafka's codes. It stores nothing: records are [Log]'s business (storage.Engine), topics are [Topics]'s,
// groups are package coordinator's (groups.go joins it to the log).
//
// It promises that answers of a connection leave in the order of its requests, that
// consecutive Produce requests overlap and any other request starts when all before it are answered,
// and that memory stays within its budgets: at the bound connections are not read (E20).
//
// Types to know: [Broker] (New, Serve), conn (one connection, conn.go tells its steps), call (one request),
// produceCall (a Produce between place and answer).
//
// Goroutines: Serve accepts; each connection has a reader, and from its first
// Produce that had to wait a writer; while a member waits in JoinGroup or SyncGroup, one more watches whether its peer
// has left (conn.untilGone). The log's goroutine calls produceCall.done. Locks: server.mu → conn.mu; budget.mu
// and configCache.mu are leaves; Broker.alter is held during a change of a topic's configuration and takes no other of ours.
// None but alter is held during I/O.
//
// What is measured: metrics.go. Imports: broker/coordinator, broker/group, storage (its API types), catalog, protocol, ident.
package broker
