// Package pstate holds what a partition has to remember beside its records:
// its idempotent producers (KIP-98, KIP-360) and its leader-epoch history
// (KIP-101, KIP-320), and encodes both as the state block that stands in
// bundles and in state records of the WAL (E11, E13).
//
// It promises that a (producer, epoch, sequence) is taken once and that a
// repeated batch is answered with its original's place (I11). It does not know
// when a batch is durable: the caller applies a batch when it places it and
// waits for the original before it answers a duplicate.
//
// Types to know: [Table] is the producers of one partition, [State] is all that
// a block holds. A block is a base (everything) or a delta (what changed since
// the last [Table.MarkBase]); [Decode] joins one base and one delta, so opening
// a partition reads at most two blocks.
//
// The package is pure: no I/O, no clock, no goroutine, no lock. A Table belongs
// to whoever guards its partition.
//
// Format: format.go and docs/formats/state.md. Imports: ident.
package pstate
