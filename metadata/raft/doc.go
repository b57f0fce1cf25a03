// Package raft runs the metadata state machine behind hashicorp/raft.
//
// It owns the folder meta/ of the data directory: raft.db (log and stable store on bbolt,
// format.go) and snapshots/ (Raft's own snapshot store with two snapshots, each a frame of package
// metadata). When [Node.Propose] answers, the command is fsynced on this node and applied. When the
// outcome is not known, the error is catalog.ErrUnavailable, and proposing the same *pb.Command
// again is safe. The package promises nothing about leases or leader checks, and no decision may
// rest on them. A reader that needs fresh state calls [Node.Barrier] first.
//
// One proposal, by function names: Node.Propose stamps the command with the time and a request id
// (stamp) and encodes it. begin hands it to Raft, unless the node has failed or is closing. Raft
// stores it (store.StoreLogs, one fsynced transaction) and calls fsm.Apply, which decodes it,
// applies it to the state under Node.mu and passes its changes to Deps.OnApply (but not while the
// log is replayed). wait returns when that is done, or when the caller gives up.
//
// One start: Open calls openStore, restores the newest snapshot (fsm.Restore), applies the log
// behind it, and returns when this node leads (lead) and has applied everything that was committed
// before. takeSnapshots takes a snapshot when enough commands or bytes have come since the last
// one, and drops the log below the snapshot before it.
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
