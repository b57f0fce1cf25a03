// Package node joins metadata, storage, bucket and broker to one running broker.
//
// The parts do not know each other. In this package storage's Catalog and the broker's Topics are
// answered from the metadata quorum ([Catalog]), the order of opening and closing is fixed ([Open],
// [Node.Close]), and the bucket is kept shut until it is known to be this cluster's ([gate]). The
// package has no rules of its own beyond that order (E27), and the order in which a lost directory
// is made anew from the bucket ([Restore], E26).
//
// One start: Open calls identify (whose directory this is), openMetadata (the quorum's state),
// joinCatalog, openBroker (clients connect, and wait), openStorage (the log is recovered), and
// broker.Open (clients are served). useBucket runs in the background, and opens the gate. One stop:
// Serve stops the broker; Close flushes (lastFlush), and closes storage and the quorum.
//
// node.json says what a directory is ([Identity]): a directory in state "new" is continued by the
// next start, "ready" is served, "restoring" is never served.
//
// The package also answers requests for health, metrics and profiles over HTTP (admin.go). Each
// package declares its metrics in its metrics.go, and docs/metrics.md lists them all.
//
// Goroutines: the check of the bucket, and after it the controller (while this node leads the
// quorum); the broker's Serve; the watch that logs what is not in the bucket (metrics.go), and the
// watch that gives memory back (memory.go); and the admin server's goroutines. Close ends all of
// them. Restore's readers end when Restore returns. Imports: everything except cmd.
package node
