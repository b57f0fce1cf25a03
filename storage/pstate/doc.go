// Package pstate holds what a partition must remember besides its records: its idempotent producers
// (KIP-98, KIP-360) and its leader-epoch history (KIP-101, KIP-320). It encodes both as the state
// block that is part of bundles and of state records of the WAL (E11, E13).
//
// It promises that a (producer, epoch, sequence) is accepted once, and that a repeated batch is
// answered with the place of the original (I11). It does not know when a batch is durable: the
// caller applies a batch when it places it, and waits for the original before it answers a
// duplicate.
//
// Types to know: [Table] is the producers of one partition, [State] is everything that a block
// holds. A block is a base (everything) or a delta (what changed since the last [Table.MarkBase]).
// [Decode] joins one base and one delta, so that opening a partition reads at most two blocks.
//
// The package is pure: it has no I/O, clock, goroutine or lock. A Table belongs to the owner of its
// partition.
//
// Format: format.go and docs/formats/state.md. Imports: ident.
package pstate
