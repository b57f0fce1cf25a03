package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/object"
	"github.com/sluicemq/sluice/storage/pstate"
)

// readCold reads from the bucket: find the range, read its index, read the batches in
// one run, verify each. One range per call: the consumer asks again for the next.
func (e *Engine) readCold(ctx context.Context, q *FetchPartition, end ident.Offset, limit int, atLeastOne bool) error {
	return e.replanning(ctx, q.Partition, q.Offset, func(r *catalog.Range) error {
		section, err := e.indexes.get(ctx, r)
		if err != nil {
			return err
		}
		first := object.Find(section.Index, q.Offset)
		if first >= len(section.Index) {
			return fmt.Errorf("%w: object %s names [%d,%d) of %s and does not hold offset %d", ErrCorrupt, r.Object, r.Start, r.End, q.Partition, q.Offset)
		}
		entries := pickEntries(section.Index[first:], end, limit, atLeastOne)
		if len(entries) == 0 {
			return nil
		}
		return e.readEntries(ctx, q, r, entries)
	})
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

// readEntries reads neighbouring batches in one run and verifies every one of them (trap 21).
func (e *Engine) readEntries(ctx context.Context, q *FetchPartition, r *catalog.Range, entries []object.IndexEntry) error {
	from := entries[0].Position
	last := &entries[len(entries)-1]
	run, err := e.readObject(ctx, e.rangeObject(r), from, last.Position+int64(last.Bytes)-from)
	if err != nil {
		return fmt.Errorf("batches of [%d,%d) in object %s: %w", entries[0].Start, last.End, r.Object, err)
	}
	batches, bytes := make([][]byte, 0, len(entries)), 0
	for i := range entries {
		b := run[entries[i].Position-from:][:entries[i].Bytes]
		if err := object.VerifyBatch(&entries[i], b); err != nil {
			return fmt.Errorf("%w: object %s: %w", ErrCorrupt, r.Object, err)
		}
		batches = append(batches, b)
		bytes += len(b)
	}
	q.Batches, q.Bytes = batches, bytes
	return nil
}

// replanning runs do on the range that holds offset. An object that is not there was
// perhaps deleted rightly: the plan is made anew after a barrier, and only if it names
// the same object again is that damage (E16).
func (e *Engine) replanning(ctx context.Context, tp ident.TopicPartition, offset ident.Offset, do func(*catalog.Range) error) error {
	var missing ident.ObjectID
	for attempt := 1; ; attempt++ {
		r, err := e.findRange(ctx, tp, offset)
		if err != nil || r == nil {
			return err
		}
		err = do(r)
		if !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		if r.Object == missing || attempt == replansMax {
			return fmt.Errorf("%w: object %s is not in the bucket: %w", ErrCorrupt, r.Object, err)
		}
		missing = r.Object
		if err := e.deps.Catalog.Barrier(ctx); err != nil {
			return err
		}
	}
}

// findRange returns the range that holds offset; nil if log start has passed it meanwhile.
func (e *Engine) findRange(ctx context.Context, tp ident.TopicPartition, offset ident.Offset) (*catalog.Range, error) {
	head, ok := e.deps.Catalog.Head(tp)
	if !ok || offset < head.LogStart {
		return nil, nil
	}
	for i := range head.Ranges {
		if offset < head.Ranges[i].End && offset >= head.Ranges[i].Start {
			return &head.Ranges[i], nil
		}
	}
	if head.Manifest.Object != 0 && offset < head.Manifest.End {
		return e.manifests.find(ctx, &head, offset)
	}
	return nil, fmt.Errorf("%w: no object holds offset %d of %s, which lies in [%d,%d)", ErrCorrupt, offset, tp, head.LogStart, head.CommittedEnd)
}

// readState reads a partition's state from the bucket: at most two blocks (E11).
func (e *Engine) readState(ctx context.Context, head *catalog.Head) (*pstate.State, error) {
	newest, err := e.readStateBlock(ctx, &head.State)
	if err != nil {
		return nil, err
	}
	if head.Base.Object == 0 {
		return pstate.Decode(newest, nil)
	}
	base, err := e.readStateBlock(ctx, &head.Base)
	if err != nil {
		return nil, err
	}
	return pstate.Decode(base, newest)
}

func (e *Engine) readStateBlock(ctx context.Context, ref *catalog.StateRef) ([]byte, error) {
	b := make([]byte, ref.Extent.Bytes)
	key := e.objectKey(ref.Object, ref.Writer, object.KindBundle)
	if err := e.deps.Bucket.ReadAt(ctx, key, b, ref.Extent.Position); err != nil {
		return nil, fmt.Errorf("state block in object %s: %w", ref.Object, err)
	}
	return b, nil
}
