// Package controller does what must happen once in a cluster, whatever the number of brokers: it
// deletes objects that nothing refers to, and stores the chain of metadata snapshots in the bucket.
//
// A node runs its [Controller] while its member leads the quorum. Being the leader is a matter of
// economy, never of safety: each step ends in a command, and the state machine judges the command by
// the state that it finds (I10, E22). So two controllers that run side by side for a while, or one
// that was paused for an hour, do each other's work again and no harm.
//
// Decisions are pure functions of metadata.State ([metadata.State.Deletable],
// [metadata.State.ExpiryDue], [metadata.State.Released]); what is here is the loop around them.
//
// Types to know: [Controller], and its parts [Garbage] and [Chain]. [Controller.Run] starts one
// goroutine for each and returns when both have ended; [Garbage] deletes several objects at once.
// Chain.mu guards memory only.
//
// Imports: metadata, catalog, ident.
package controller
