// Package metadata is the pure core of the metadata quorum: what is decided and by which command,
// and nothing about how a decision travels.
//
// The package owns [State] and the one way in which it changes, [State.Apply]. The same commands in
// the same order give the same state, byte for byte, on every node and after every restart (I15).
// So there is no clock, no randomness, no goroutine and no dependence on map order; time comes
// inside commands. Package metadata/raft brings the commands into one order, makes them durable and
// calls Apply. Package node joins the quorum to storage and broker, which know it only by the
// interfaces that they declare.
//
// # Terms
//
// A topic has an id that is never reused. A partition has a head ([catalog.Head]): its leader, its
// log start, its committed end, and the ranges of offsets that are in the bucket, each in one
// object. Ranges that no longer fit into the head are in a manifest, an object that the head names.
// An incarnation is one life of one broker's write-ahead log; a sealed one is a tail. An object
// goes one way only: reserved, prepared, live, unreferenced, gone.
//
// # One command, by function names
//
// The New… functions make commands, for example [NewCreateTopic]. raft.Node.Propose stamps time and
// request id, encodes the command ([EncodeCommand]) and hands it to Raft. When the entry is
// durable, raft's fsm.Apply decodes it ([DecodeCommand]) and calls State.Apply, which does four
// things:
//
//  1. It refuses to go on at a kind, field or version that this release does not know
//     (refuseUnknown), since skipping it would make this node differ from the others.
//  2. If an administrative command with the same request id was answered before, it returns that
//     answer (repeated).
//  3. It refuses what has no meaning now, such as anything before Bootstrap (admit), and calls the
//     apply function of the command's kind (dispatch).
//  4. It keeps the answer of an administrative command (remember).
//
// The [Result] goes back to the proposer: a refusal ([Result].Err), or an answer. Its Changes go to
// storage through raft's Deps.OnApply, in the order of the log; the state shows them already.
//
// # One flush, as the quorum sees it
//
//  1. applyReserve prepares a block of object ids for an incarnation, until they expire (E7).
//     storage uploads a bundle under one of them.
//  2. applyCommit makes the bundle live. commitRange judges every range on its own: committed, void
//     because nobody needs it any more, or refused with a reason (E12). mayCommit checks who may
//     commit (E21), continues checks that the range follows the committed end (I8). A committed
//     range joins its partition's head (putHead).
//  3. applySwap moves the oldest ranges of a full head into a manifest. applyAdvanceLogStart drops
//     the ranges below a new log start; applyRelease takes them out of the manifest (E30).
//  4. Each range, state pointer and manifest counts as a reference. unref makes an object without
//     references garbage. State.Deletable names garbage that may be deleted once a stored snapshot
//     knows about it (I10, E22), and applyConfirmDeleted forgets it.
//
// An id that was prepared and never committed becomes garbage by applyExpire. No writer decides
// that an object is garbage.
//
// # One start, as the quorum sees it
//
// applyRegister seals the broker's last incarnation at the end that its recovery found, begins the
// next one, and raises the epoch of every partition that the broker leads, in one command (E21).
// applyOpen allows placing and committing under the new incarnation, once its folder is durable
// (E27). When all that a tail holds is committed or void, applyRetireTail forgets the tail.
//
// # Snapshots and restore
//
// [State.EncodeSnapshot] gives the whole state as bytes, and equal states have equal bytes.
// [StoreSnapshot] puts it into the bucket as the next link of a dense chain, and [CheckChain] stops
// a node whose chain somebody else has continued (E1, E22). [PlanRestore] decides, from the newest
// link and from what the bucket holds beyond it, which commands rebuild a lost cluster (E26).
//
// # Refusals and errors
//
// Two kinds of failure are kept apart. A refusal is an answer, and is the same on every node. An
// error of Apply means that this node must stop: the command is of a newer version, something is
// damaged, or the state breaks one of our own promises.
//
// # Goroutines and locks
//
// There are none. A State is not safe for concurrent use: metadata/raft guards it. Heads, topics
// and slices are replaced and never edited, so that what accessors return may be kept without a
// copy, and [State.Freeze] is a copy of maps and pointers.
//
// Formats: docs/formats/metadata.md, frame.go and chain.go. Imports: catalog, ident, metadata/pb.
package metadata
