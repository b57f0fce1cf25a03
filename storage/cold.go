package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/storage/pstate"
)

// coldReader reads what lies in the bucket: batches, indexes, manifests and states. It knows where
// things lie according to the quorum, and knows nothing of the WAL or of the partitions that are
// open. It owns the memory that reading takes: blocks of objects, read-ahead, and decoded indexes.
// Its methods may be called from anywhere, with no lock held.
type coldReader struct {
	catalog Catalog
	bucket  bucket.Bucket
	now     func() time.Time
	log     *slog.Logger
	ctx     context.Context // of read-ahead

	openedAt time.Time // what has no known age counts as having arrived then
	blocks   *cache.Cache
	ahead    *readAhead
	decoded  *decodedCache
}

func newColdReader(e *env) *coldReader {
	return &coldReader{
		catalog: e.deps.Catalog, bucket: e.deps.Bucket, now: e.deps.Now, log: e.log, ctx: e.ctx, openedAt: e.openedAt,
		blocks:  cache.New(e.cfg.CacheBytes, e.deps.Bucket.ReadAt),
		ahead:   newReadAhead(e.cfg.CacheBytes/2, e.deps.Now),
		decoded: newDecodedCache(),
	}
}

// close waits for running read-ahead. ctx has ended.
func (c *coldReader) close() error {
	c.ahead.close()
	return c.blocks.Close()
}

// readCold reads from the bucket: it finds the range, reads its index, reads the batches in one
// run, and verifies each batch. If a range gives little, readCold continues with the next range: a
// bundle that many partitions share has little of each.
func (c *coldReader) readCold(ctx context.Context, q *FetchPartition, end ident.Offset, may quota) error {
	next := q.Offset
	for n := 0; n < rangesPerRead && next < end && q.Bytes < cache.BlockBytes; n++ {
		from := next
		err := c.replanning(ctx, q.Partition, func(head *catalog.Head) (err error) {
			next, err = c.readRange(ctx, head, q, from, end, quota{bytes: may.bytes - q.Bytes, first: may.first && q.Bytes == 0, room: may.room - q.Held})
			return err
		})
		if err != nil && q.Bytes == 0 {
			return err
		}
		if err != nil || next == from {
			return nil // the reader gets the error when it asks for the next batch
		}
	}
	return nil
}

// rangesPerRead bounds how many GETs a reader waits for, one after another.
const rangesPerRead = 4

// readRange reads from the range that holds offset. next is the end of the batches that were read.
func (c *coldReader) readRange(ctx context.Context, head *catalog.Head, q *FetchPartition, offset, end ident.Offset, may quota) (next ident.Offset, err error) {
	if offset > q.Offset && offset >= head.CommittedEnd {
		return offset, nil // the batches from here on are in memory
	}
	r, err := c.findRange(ctx, head, offset)
	if err != nil || r == nil {
		return offset, err
	}
	section, err := c.section(ctx, q.Partition, r)
	if err != nil {
		return offset, err
	}
	first := object.Find(section.Index, offset)
	if first >= len(section.Index) {
		return offset, fmt.Errorf("%w: object %s names [%d,%d) of %s and does not hold offset %d", ErrCorrupt, r.Object, r.Start, r.End, q.Partition, offset)
	}
	entries := pickEntries(section.Index[first:], end, may.bytes, may.first)
	if len(entries) == 0 {
		return offset, nil
	}
	o := c.rangeObject(r)
	if needs := newAheadRun(o, &entries[0], &entries[0]).cost; needs > int64(may.room) {
		if q.Bytes == 0 {
			q.needs = int(needs)
		}
		return offset, nil
	}
	entries = entries[:sort.Search(len(entries), func(n int) bool { return newAheadRun(o, &entries[0], &entries[n]).cost > int64(may.room) })]
	if err := c.readEntries(ctx, q, r, entries); err != nil {
		return offset, err
	}
	return entries[len(entries)-1].End, nil
}

// pickEntries returns the batches to serve: whole ones below end, as many as limit allows.
func pickEntries(index []object.IndexEntry, end ident.Offset, limit int, atLeastOne bool) []object.IndexEntry {
	n, size := 0, 0
	for n < len(index) && index[n].End <= end {
		size += int(index[n].Bytes)
		if size > limit && (!atLeastOne || n > 0) {
			break
		}
		n++
	}
	return index[:n]
}

// readEntries reads neighbouring batches in one run and verifies every one of them.
func (c *coldReader) readEntries(ctx context.Context, q *FetchPartition, r *catalog.Range, entries []object.IndexEntry) error {
	from, last := entries[0].Position, &entries[len(entries)-1]
	size := last.Position + int64(last.Bytes) - from
	o := c.rangeObject(r)
	var batches [][]byte
	var cold []coldBatch
	err := c.verified(o, func() error {
		pieces, err := c.blocks.Pieces(ctx, o, from, size)
		if err != nil {
			return err
		}
		batches, cold, err = cutBatches(entries, pieces, q.Split)
		return misfit(err)
	})
	if err != nil {
		return fmt.Errorf("batches of [%d,%d) of %s: %w", entries[0].Start, last.End, q.Partition, err)
	}
	held := int(newAheadRun(o, &entries[0], last).cost)
	if size*keptMin <= int64(held) {
		takeOut(batches, int(size))
		held = int(size)
	}
	q.Batches, q.cold, q.Bytes, q.Held = append(q.Batches, batches...), append(q.cold, cold...), q.Bytes+int(size), q.Held+held
	return nil
}

// keptMin says when batches are copied out of the blocks that they lie in: when they are less than
// a fourth of those blocks.
const keptMin = 4

// takeOut replaces slices, of the given number of bytes together, by copies.
func takeOut(slices [][]byte, bytes int) {
	all := unzeroed.Make(bytes)[:0]
	for i, s := range slices {
		from := len(all)
		all = append(all, s...)
		slices[i] = all[from:]
	}
}

// cutBatches finds the batches in the pieces of their run and verifies them. A batch inside one
// piece stays there. A batch that crosses a border is joined in new memory, unless it may stay
// split.
func cutBatches(entries []object.IndexEntry, pieces [][]byte, split bool) (batches [][]byte, cold []coldBatch, err error) {
	batches = make([][]byte, 0, len(entries)+len(pieces)-1) // each border splits at most one batch
	cold = make([]coldBatch, len(entries))
	begin := entries[0].Position // the position of pieces[0]
	for i := range entries {
		entry, n := &entries[i], len(batches)
		at := entry.Position - begin
		for at >= int64(len(pieces[0])) {
			at -= int64(len(pieces[0]))
			begin += int64(len(pieces[0]))
			pieces = pieces[1:]
		}
		batches = appendRun(batches, pieces, at, int64(entry.Bytes))
		if err := object.VerifyBatch(entry, batches[n:]...); err != nil {
			return nil, nil, err
		}
		if !split && len(batches) > n+1 {
			batches = append(batches[:n], join(batches[n:], int(entry.Bytes)))
		}
		cold[i] = coldBatch{end: entry.End, bytes: int(entry.Bytes), slices: len(batches) - n}
	}
	return batches, cold, nil
}

// appendRun appends the slices that hold n bytes from position at, which lies in the first piece.
func appendRun(slices, pieces [][]byte, at, n int64) [][]byte {
	for n > 0 {
		p := pieces[0][at:]
		p = p[:min(n, int64(len(p)))]
		slices = append(slices, p)
		pieces, at, n = pieces[1:], 0, n-int64(len(p))
	}
	return slices
}

// join copies slices of n bytes together into one slice.
func join(slices [][]byte, n int) []byte {
	b := unzeroed.Make(n)[:0] // zeroing this memory took an eighth of a cold fetch of large batches
	for _, s := range slices {
		b = append(b, s...)
	}
	return b
}

// replanning runs do on the partition's head. If an object is missing, it may have been deleted
// rightly: then do runs again on the head as it is after a barrier. Only if that run misses the
// same object is it damage (E16).
func (c *coldReader) replanning(ctx context.Context, tp ident.TopicPartition, do func(*catalog.Head) error) error {
	var before ident.ObjectID
	for attempt := 1; ; attempt++ {
		head, ok := c.catalog.Head(tp)
		if !ok {
			return ErrUnknownPartition // the partition was deleted meanwhile
		}
		err := do(&head)
		var missing *missingError
		if !errors.As(err, &missing) {
			return err
		}
		if missing.object == before || attempt == replansMax {
			return fmt.Errorf("%w: object %s is not in the bucket: %w", ErrCorrupt, missing.object, err)
		}
		before = missing.object
		if err := c.catalog.Barrier(ctx); err != nil {
			return err
		}
	}
}

// findRange returns the range that holds offset, or nil if the log start has passed it meanwhile.
func (c *coldReader) findRange(ctx context.Context, head *catalog.Head, offset ident.Offset) (*catalog.Range, error) {
	if offset < head.LogStart {
		return nil, nil
	}
	for i := range head.Ranges {
		if offset < head.Ranges[i].End && offset >= head.Ranges[i].Start {
			return &head.Ranges[i], nil
		}
	}
	if head.Manifest.Object != 0 && offset < head.Manifest.End {
		return c.findInManifest(ctx, head, offset)
	}
	return nil, fmt.Errorf("%w: no object holds offset %d of %s, which lies in [%d,%d)", ErrCorrupt, offset, head.Partition, head.LogStart, head.CommittedEnd)
}

// loadState reads a partition's state from the bucket and brings it up to the committed end. A
// restore may have cut off the section that carried a newer state (E26); then loadState applies the
// batches above the older state.
func (c *coldReader) loadState(ctx context.Context, head *catalog.Head) (*pstate.State, error) {
	// Nothing in the bucket tells when a batch was placed, so it counts as placed now: late, never
	// early.
	now := c.now().UnixMilli()
	state, err := c.readState(ctx, head, now)
	if err != nil {
		return nil, err
	}
	for from := max(state.End, head.LogStart); from < head.CommittedEnd; {
		q := FetchPartition{Partition: head.Partition, Offset: from}
		if err := c.readCold(ctx, &q, head.CommittedEnd, quota{bytes: loadStep, first: true, room: unbounded}); err != nil {
			return nil, err
		}
		if len(q.Batches) == 0 {
			break // the log start has passed the rest
		}
		for _, raw := range q.Batches {
			found, err := parseFound(raw)
			if err != nil {
				return nil, err
			}
			b := found.batch(now)
			state.Producers.Apply(b.state())
			if n := len(state.Epochs); n == 0 || state.Epochs[n-1].Epoch < b.epoch {
				state.Epochs = append(state.Epochs, pstate.EpochStart{Epoch: b.epoch, Start: b.start})
			}
			from = b.end
		}
	}
	state.End = max(state.End, head.CommittedEnd)
	return state, nil
}

// loadStep is how much of a partition is in memory at once while its state is rebuilt.
const loadStep = 4 << 20

// batch returns the entry that the batch log would have for a batch that was found, if it had
// arrived at the given time.
func (f *foundBatch) batch(arrived int64) batch {
	h := &f.header
	return batch{
		start: ident.Offset(h.BaseOffset), end: ident.Offset(h.End()), maxTimestamp: newestTime(h, f.bytes, arrived), arrived: arrivedAt(arrived),
		producer: ident.ProducerID(h.ProducerID), pepoch: h.ProducerEpoch, sequence: h.BaseSequence,
		epoch: ident.Epoch(h.LeaderEpoch), appendTime: h.Attributes.LogAppendTime(),
	}
}

// readState reads a partition's state from the bucket: at most two blocks (E11).
func (c *coldReader) readState(ctx context.Context, head *catalog.Head, now int64) (*pstate.State, error) {
	if head.State.Object == 0 {
		return pstate.Decode(nil, nil, now)
	}
	newest, err := c.readStateBlock(ctx, &head.State)
	if err != nil {
		return nil, err
	}
	if head.Base.Object == 0 {
		return pstate.Decode(newest, nil, now)
	}
	base, err := c.readStateBlock(ctx, &head.Base)
	if err != nil {
		return nil, err
	}
	return pstate.Decode(base, newest, now)
}

func (c *coldReader) readStateBlock(ctx context.Context, ref *catalog.StateRef) ([]byte, error) {
	b := make([]byte, ref.Extent.Bytes)
	key := c.objectKey(ref.Object, ref.Writer, object.KindBundle)
	if err := c.bucket.ReadAt(ctx, key, b, ref.Extent.Position); err != nil {
		return nil, fmt.Errorf("state block in object %s: %w", ref.Object, err)
	}
	return b, nil
}

// newestIn returns the largest time of a range whose reference does not tell it, because an earlier
// release wrote the range and trusted the producer's header. The answer is cached, since retention
// asks for the oldest remaining range on every pass. If no record has a time, the range counts as
// arrived when this process began, which is later than it arrived, never earlier.
func (c *coldReader) newestIn(ctx context.Context, tp ident.TopicPartition, r *catalog.Range) (int64, error) {
	key := decodedKey{r.Object, ^r.Index.Position} // cached beside the range's index
	if newest, ok := c.decoded.lookup(key).(int64); ok {
		return newest, nil
	}
	newest, err := c.readNewest(ctx, tp, r)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return -1, err
	}
	if newest < 0 {
		newest = c.openedAt.UnixMilli()
	}
	c.decoded.add(&decodedItem{key: key, bytes: decodedTimeBytes, value: newest})
	return newest, nil
}

const decodedTimeBytes = 128 // about what one cached time takes

// readNewest reads the batches of a range whose index does not tell their times. It returns -1 if
// no record has a time.
func (c *coldReader) readNewest(ctx context.Context, tp ident.TopicPartition, r *catalog.Range) (int64, error) {
	s, err := c.section(ctx, tp, r)
	if err != nil {
		return -1, err
	}
	newest := int64(-1)
	for i := range s.Index {
		entry := &s.Index[i]
		if entry.MaxTimestamp >= 0 {
			newest = max(newest, entry.MaxTimestamp)
			continue
		}
		q := FetchPartition{Partition: tp}
		if err := c.readEntries(ctx, &q, r, s.Index[i:i+1]); err != nil {
			return newest, err
		}
		if largest, err := protocol.LargestTimestamp(q.Batches[0]); err == nil {
			newest = max(newest, largest)
		}
	}
	return newest, nil
}
