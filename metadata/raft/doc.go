// Package raft runs the metadata state machine behind hashicorp/raft.
//
// It owns the folder meta/ of the data directory: raft.db (log and stable store on bbolt,
// format.go) and snapshots/ (Raft's own snapshot store with two snapshots, each a frame of package
// metadata). When [Node.Propose] answers, the command is fsynced on this node and applied. When the
// outcome is not known, the error is catalog.ErrUnavailable, and proposing the same *pb.Command
// again is safe. The package promises nothing about leases or leader checks, and no decision may
// rest on them. A reader that needs fresh state calls [Node.Barrier] first.
//
// The first error of the log store, a damaged entry, and a command that this version does not know
// are fatal. Deps.OnFatal is then called once, nothing is acknowledged afterwards, and the process
// has to end.
//
// Types to know: Node, Config, Deps. Goroutines: Raft's own, one that takes snapshots, and one per
// call that waits for Raft. Locks: store.writing before store.mu. Node.mu guards the state and is
// never held over I/O. Deps.OnApply is called without it, in the order of the log, and must not
// propose.
//
// Today there is one voter, this node, on an in-memory transport. Its ServerID is the directory's
// UUID, never the node id.
//
// Formats: format.go, docs/formats/metadata.md. What is measured: metrics.go. Imports:
// hashicorp/raft, bbolt, metadata, catalog.
package raft
