// Package cache keeps aligned blocks of objects in memory, so that cold reads of
// many consumers cost one GET per block.
//
// It promises: one read per block whoever asks at the same time; errors are
// never kept; a caller who goes away does not disturb the others, and the last
// one to go ends the read. Bytes are immutable, because objects are (I3): an object id is
// issued once, so an entry can never stand for other content. The cache
// does not know what the bytes mean: callers verify checksums, and on a misfit call [Cache.Forget].
//
// [Cache.Pieces] copies nothing; [Cache.Get] copies where a run crosses blocks. [Cache.Ahead]
// brings blocks in for a reader who will ask for them. A replay does not push out the blocks that
// many readers share: the policy in policy.go, docs/decisions/0018-block-cache-policy.md.
//
// Type to know: [Cache]. Its mutex guards memory only and is never held during a read.
// Each block on its way has one goroutine, which [Cache.Close] ends and waits for.
// Kept blocks stay within the budget; blocks on their way come on top, and
// are bounded by how many readers the caller lets in.
//
// Imports: ident, internal/unzeroed.
package cache
