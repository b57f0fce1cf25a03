// Package metadata is the pure core of the metadata quorum: what is decided,
// by which command, and nothing about how the decision travels.
//
// It owns [State] and the one way in which it changes, [State.Apply]. The same
// commands in the same order give the same state, byte for byte, on every node
// and after every restart (I15): no clock, no randomness, no goroutine, no map
// order. Time comes inside commands. It also owns the snapshots of the state:
// their bytes, their chain in the bucket ([StoreSnapshot], E1, E22), and what
// restore makes of them ([PlanRestore], E26). It does not talk to Raft, to disks or to
// the network; metadata/raft does, and brings the clock and request ids.
//
// Types to know: State, [Result] (what a command was answered), [Change] (what
// storage has to know of it). A command is a *pb.Command made by the New… functions.
//
// There are no goroutines and no locks. A State is not safe for concurrent use: its
// shell guards it. What accessors return is never written to again and may be kept
// without a copy: heads, topics and slices are replaced, not edited.
//
// Two kinds of failure are kept apart. A refusal ([Result.Err]) is an answer,
// the same on every node. An error of Apply means that this node must stop: a
// newer version's command, damage, or a state that breaks our own promise.
//
// Formats: docs/formats/metadata.md, frame.go and chain.go.
// Imports: catalog, ident, metadata/pb.
package metadata
