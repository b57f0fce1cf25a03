// Package cache keeps aligned blocks of objects in memory, so that cold reads of many consumers
// cost one GET per block.
//
// It promises that there is one read per block, however many callers ask for the block at the same
// time; that errors are never kept; and that a caller that goes away does not disturb the others,
// while the last one to go ends the read. Objects never change and their ids are issued once (I3),
// so an entry can never stand for other content. The cache does not know what the bytes mean:
// callers verify checksums, and call [Cache.Forget] if one does not match.
//
// [Cache.Pieces] copies nothing; [Cache.Get] copies if a run crosses blocks. [Cache.Ahead] brings
// blocks in for a reader that will ask for them. A replay does not push out the blocks that many
// readers share: see the policy in policy.go and docs/decisions/0018-block-cache-policy.md.
//
// One read, by function names: pieces calls join for each block of the run, which finds the block,
// joins the flight that is reading it, or starts one (startLocked). All flights of a run are on
// their way before wait.get waits for the first. fly waits for one of ReadsMax slots, reads the
// block and calls land, which keeps it as the policy says. Each join is followed by one leave: the
// last reader to leave a flight that has not landed ends it.
//
// Type to know: [Cache]. Its mutex guards memory only and is never held during a read. Each block
// that is being read has one goroutine, which [Cache.Close] ends and waits for. Kept blocks stay
// within the budget. Blocks that are being read come on top, at most [ReadsMax] of them. What
// readers still refer to after the cache dropped it is theirs to bound.
//
// Imports: ident, internal/unzeroed, x/sync/semaphore.
package cache
