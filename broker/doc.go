// Package broker gives Kafka's meaning to requests and serves them over TCP.
//
// The package owns the connections, the dispatch table (dispatch.go) and one file per API
// (api_NN_name.go), which says what versions are served and where we differ from Apache Kafka. Only
// errors.go turns Go errors into Kafka's codes. The broker stores nothing: [Log] has the records
// (storage.Engine), [Topics] has the topics, and package coordinator has the groups (groups.go
// connects them to the log).
//
// One Produce request:
//
//  1. Broker.Serve accepts a connection and runs conn.serve in a goroutine of its own, the reader.
//  2. conn.readFrame finds the request's row in the dispatch table, waits for room in the budget
//     and reads the frame. conn.handle decodes it.
//  3. conn.place calls Broker.produce, which authorises the request and validates each batch
//     (addPartition). It puts the call into the queue of the connection and hands it to Log.Append.
//  4. The log calls produceCall.done when all partitions are durable and visible, or have failed.
//  5. The reader or conn.writeLoop writes the answer, in the order of the requests (conn.answer).
//
// One Fetch request:
//
//  1. conn.handle waits until all requests before it are answered, and calls Broker.fetch in the
//     reader.
//  2. fetchCall.plan sorts out the partitions for which the log cannot be asked. fetchCall.read
//     takes a share of the memory for answers (takeTurn) and calls Log.Read. fetchCall.poll waits
//     with Log.Watch and reads again, until there is enough to answer.
//  3. fetchCall.encode builds the answer around the batches, which stay where the log has them.
//     conn.write sends them from there (vector.go).
//
// The package promises that the answers of a connection leave in the order of its requests, that
// consecutive Produce requests overlap, and that any other request starts when all before it are
// answered. It promises that memory stays within the budgets: at the bound connections are not read
// (E20).
//
// Types to know: [Broker] (New, Serve), conn (one connection; conn.go explains its steps), call
// (one request), produceCall (a Produce request between its placing and its answer).
//
// Goroutines: Serve accepts. Each connection has a reader, and a writer from the first Produce on
// that had to wait. While a member waits in JoinGroup or SyncGroup, one more goroutine watches
// whether its peer has left (conn.untilGone). ListOffsets by time, DeleteRecords, and requests that
// create or delete topics work on several entries at once, in goroutines that end before the
// answer. The log's goroutine calls produceCall.done. Locks: server.mu → conn.mu; configCache.mu is
// a leaf. None is held during I/O.
//
// Metrics: metrics.go. Imports: broker/coordinator, broker/group, storage (its API types), catalog,
// protocol, ident.
package broker
