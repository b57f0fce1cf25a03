package storage

import (
	"context"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/object"
)

// This file is the part of ListOffsets that looks into the bucket. offsets.go combines its answers
// with those from the WAL and memory.

// firstInBucket is firstAfter for the offsets [from, to) in the bucket.
func (c *coldReader) firstInBucket(ctx context.Context, h *catalog.Head, l *lookup, from, to ident.Offset, ts int64) (OffsetAt, error) {
	for from < to {
		r, err := c.rangeAfter(ctx, h, from, ts)
		if err != nil || r == nil {
			return none, err
		}
		s, err := c.section(ctx, h.Partition, r)
		if err != nil {
			return none, err
		}
		for i := object.Find(s.Index, from); i < len(s.Index); i++ {
			entry := &s.Index[i]
			if entry.Start >= to {
				return none, nil
			}
			if !object.MayReach(entry.MaxTimestamp, ts) {
				continue
			}
			at, err := c.recordAt(ctx, l, r, entry, func(t int64) bool { return t >= ts })
			if err != nil || at.Offset >= 0 {
				return at, err
			}
		}
		from = r.End
	}
	return none, nil
}

// rangeAfter returns the first range that ends after from and may hold a record of at least the
// given time, or nil if there is none.
func (c *coldReader) rangeAfter(ctx context.Context, h *catalog.Head, from ident.Offset, ts int64) (*catalog.Range, error) {
	if h.Manifest.Object != 0 && from < h.Manifest.End {
		r, err := c.afterInManifest(ctx, h, from, ts)
		if err != nil || r != nil {
			return r, err
		}
	}
	return rangeAfter(h.Ranges, from, ts), nil
}

// candidates returns the candidates for the newest record among the offsets below memory.
func (c *coldReader) candidates(ctx context.Context, h *catalog.Head, l *lookup, memory ident.Offset) (all []candidate, err error) {
	ranges := func(of []catalog.Range) {
		for i := object.FindRange(of, l.start); i < len(of) && of[i].Start < memory; i++ {
			all = append(all, c.openRange(h, l, &of[i], memory))
		}
	}
	root, err := c.manifestRoot(ctx, h)
	if err != nil {
		return nil, err
	}
	if root != nil {
		for i := root.LeafAt(l.start); i >= 0 && i < len(root.Leaves); i++ {
			all = append(all, c.openLeaf(h, l, root, i))
		}
		ranges(root.Ranges)
	}
	ranges(h.Ranges)
	return all, nil
}

func (c *coldReader) openLeaf(h *catalog.Head, l *lookup, root *object.Root, i int) candidate {
	ref := &root.Leaves[i]
	return candidate{bound: boundOf(ref.MaxTimestamp, ref.Start), open: func(ctx context.Context) (all []candidate, err error) {
		leaf, err := c.manifestLeaf(ctx, h.Partition, ref)
		if err != nil {
			return nil, err
		}
		live := root.Live(i, leaf)
		for j := object.FindRange(live, l.start); j < len(live); j++ {
			all = append(all, c.openRange(h, l, &live[j], l.end))
		}
		return all, nil
	}}
}

func (c *coldReader) openRange(h *catalog.Head, l *lookup, r *catalog.Range, to ident.Offset) candidate {
	return candidate{bound: boundOf(r.MaxTimestamp, r.Start), open: func(ctx context.Context) (all []candidate, err error) {
		s, err := c.section(ctx, h.Partition, r)
		if err != nil {
			return nil, err
		}
		return newestAfter(boundless, func(last bound) (at bound, read readRecord, err error) {
			best := -1
			for i := object.Find(s.Index, l.start); i < len(s.Index) && s.Index[i].End <= to; i++ {
				b := boundOf(s.Index[i].MaxTimestamp, s.Index[i].Start)
				if last.before(b) && (best < 0 || b.before(at)) {
					best, at = i, b
				}
			}
			if best < 0 {
				return at, nil, nil
			}
			return at, func(ctx context.Context) (OffsetAt, error) { return c.recordAt(ctx, l, r, &s.Index[best], nil) }, nil
		})
	}}
}

// recordAt reads a batch from the bucket and looks for a record in it.
func (c *coldReader) recordAt(ctx context.Context, l *lookup, r *catalog.Range, entry *object.IndexEntry, match func(int64) bool) (OffsetAt, error) {
	q := FetchPartition{Partition: l.id}
	if err := c.readEntries(ctx, &q, r, []object.IndexEntry{*entry}); err != nil {
		return none, err
	}
	return l.recordIn(q.Batches[0], match)
}

// recordIn returns the batch's first record in [start, end) whose timestamp matches, or without
// match the first of the newest ones. The caller has checked that the batch's bytes are those that
// a producer sent, so records that cannot be read are the producer's fault: the search ends at them
// and goes on in the next batch.
func (l *lookup) recordIn(bytes []byte, match func(int64) bool) (OffsetAt, error) {
	b, err := parseFound(bytes)
	if err != nil {
		return none, err
	}
	at := none
	for rec, err := range protocol.Records(b.bytes) {
		if err != nil {
			break
		}
		offset := ident.Offset(rec.Offset)
		if offset < l.start || offset >= l.end {
			continue
		}
		found := OffsetAt{Offset: offset, Timestamp: rec.Timestamp, Epoch: ident.Epoch(b.header.LeaderEpoch)}
		switch {
		case match != nil && match(rec.Timestamp):
			return found, nil
		case match == nil && rec.Timestamp >= 0 && rec.Timestamp > at.Timestamp:
			at = found
		}
	}
	return at, nil
}
