// Package controller does what must happen once in a cluster, whatever the number of brokers: it
// deletes objects to which nothing refers, and stores the chain of metadata snapshots in the
// bucket.
//
// A node runs its [Controller] while its member leads the quorum. That there is one leader saves
// work and is never needed for safety: each step ends in a command, and the state machine judges
// the command by the state that it finds (I10, E22). So two controllers that run side by side for a
// while, or one that was paused for an hour, repeat each other's work and do no harm.
//
// Decisions are pure functions of metadata.State ([PlaceTopic], [metadata.State.Deletable],
// [metadata.State.ExpiryDue], [metadata.State.Released]). This package is the loop around them.
//
// Garbage, by function names: [Garbage.Collect] has the quorum expire ids that no commit made live
// (expire), releases the manifests of deleted topics (release), asks the state which objects may go
// (dead), deletes them from the bucket (delete), and has the quorum forget those that are gone. A
// crash between two of these steps repeats a step. The chain: [Chain.Store] writes a frozen state
// as the next link, has the quorum note it, and deletes old links of its own (prune,
// docs/decisions/0012-pruned-chain.md).
//
// Types to know: [Controller], and its parts [Garbage] and [Chain]. [Controller.Run] starts one
// goroutine for each and returns when both have ended. [Garbage] deletes several objects at once.
// Chain.mu guards memory only.
//
// Imports: metadata, catalog, ident, internal/retry.
package controller
