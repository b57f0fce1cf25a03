package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
)

// none is ListOffsets' answer when nothing matches.
var none = OffsetAt{Offset: -1, Timestamp: -1, Epoch: ident.NoEpoch}

// ErrUnsupportedTimestamp is a special timestamp that ListOffsets does not know; 35.
var ErrUnsupportedTimestamp = errors.New("unsupported special timestamp")

// ListOffset answers ListOffsets for one partition: see the Timestamp constants; zero and
// above are milliseconds, and the answer is the first record at or after that time.
func (e *Engine) ListOffset(ctx context.Context, tp ident.TopicPartition, timestamp int64, current ident.Epoch, isolation Isolation) (OffsetAt, error) {
	p := e.partition(tp)
	if p == nil {
		return none, ErrUnknownPartition
	}
	p.mu.Lock()
	if err := p.checkEpochLocked(current); err != nil {
		p.mu.Unlock()
		return none, err
	}
	start, end := p.logStart, p.readEndLocked(isolation)
	latest := OffsetAt{Offset: end, Timestamp: -1, Epoch: p.leader.Epoch}
	earliest := OffsetAt{Offset: start, Timestamp: -1, Epoch: p.epochAtLocked(start)}
	p.mu.Unlock()
	switch {
	case timestamp == TimestampLatest:
		return latest, nil
	case timestamp == TimestampEarliest, timestamp == TimestampEarliestLocal:
		return earliest, nil
	case timestamp == TimestampLatestTiered, timestamp == TimestampEarliestUpload:
		return none, nil
	case timestamp == TimestampMax:
		return e.offsetOfMax(ctx, p, start, end)
	case timestamp >= 0:
		return e.offsetAfter(ctx, p, timestamp, start, end)
	}
	return none, ErrUnsupportedTimestamp
}

// epochAtLocked returns the leader epoch under which offset was or will be written.
func (p *partition) epochAtLocked(offset ident.Offset) ident.Epoch {
	for i := len(p.epochs) - 1; i >= 0; i-- {
		if p.epochs[i].Start <= offset {
			return p.epochs[i].Epoch
		}
	}
	return p.leader.Epoch
}

// offsetAfter finds the first record in [start, end) whose timestamp is at least ts.
func (e *Engine) offsetAfter(ctx context.Context, p *partition, ts int64, start, end ident.Offset) (OffsetAt, error) {
	match := func(t int64) bool { return t >= ts }
	for from := start; from < end; {
		b, err := e.nextBatch(ctx, p, from, end, match)
		if err != nil || b == nil {
			return none, err
		}
		at, err := p.recordIn(b, from, end, match)
		if err != nil || at.Offset >= 0 {
			return at, err
		}
		from = ident.Offset(b.header.End()) // the match lies below the log start
	}
	return none, nil
}

// offsetOfMax finds the first record with the largest timestamp in [start, end).
func (e *Engine) offsetOfMax(ctx context.Context, p *partition, start, end ident.Offset) (OffsetAt, error) {
	newest := int64(-1)
	note := func(t int64) bool {
		newest = max(newest, t)
		return false
	}
	if _, err := e.nextBatch(ctx, p, start, end, note); err != nil || newest < 0 {
		return none, err
	}
	return e.offsetAfter(ctx, p, newest, start, end)
}

// found batch, with its bytes.
type foundBatch struct {
	header protocol.BatchHeader
	bytes  []byte
}

// nextBatch returns the first batch that ends after from, begins below end and whose
// largest timestamp matches; nil if there is none. Ranges and batches are judged by what
// indexes say; only the one that matches is read: at most two GETs.
func (e *Engine) nextBatch(ctx context.Context, p *partition, from, end ident.Offset, match func(maxTimestamp int64) bool) (*foundBatch, error) {
	for {
		p.mu.Lock()
		first := p.end
		if p.log.len() > 0 {
			first = p.log.at(0).start
		}
		if from >= first {
			b := p.matchLocked(from, end, match)
			p.mu.Unlock()
			return loadFound(b)
		}
		p.mu.Unlock()
		found, next, err := e.nextCold(ctx, p.id, from, min(end, first), match)
		if err != nil || found != nil {
			return found, err
		}
		if next >= end {
			return nil, nil
		}
		from = next
	}
}

// matchLocked returns a copy of the first batch in memory's index that matches.
func (p *partition) matchLocked(from, end ident.Offset, match func(int64) bool) *batch {
	for i := p.log.search(from); i < p.log.len() && p.log.at(i).end <= end; i++ {
		if match(p.log.at(i).maxTimestamp) {
			b := *p.log.at(i)
			return &b
		}
	}
	return nil
}

func loadFound(b *batch) (*foundBatch, error) {
	if b == nil {
		return nil, nil
	}
	bytes, err := b.load()
	if movedOn(err) {
		return nil, fmt.Errorf("%w: moved to the bucket while it was read", ErrUnavailable)
	}
	if err != nil {
		return nil, readError(err)
	}
	return parseFound(bytes)
}

func parseFound(bytes []byte) (*foundBatch, error) {
	h, err := protocol.ParseBatchHeader(bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &foundBatch{h, bytes}, nil
}

// nextCold looks through the ranges in the bucket from one offset on, and returns where to go on if nothing matches.
func (e *Engine) nextCold(ctx context.Context, tp ident.TopicPartition, from, end ident.Offset, match func(int64) bool) (found *foundBatch, next ident.Offset, err error) {
	next = end
	err = e.replanning(ctx, tp, from, func(r *catalog.Range) error {
		next = r.End
		if !match(r.MaxTimestamp) {
			return nil
		}
		section, err := e.indexes.get(ctx, r)
		if err != nil {
			return err
		}
		for i := range section.Index {
			entry := &section.Index[i]
			if entry.End <= from || !match(entry.MaxTimestamp) {
				continue
			}
			var q FetchPartition
			if err := e.readEntries(ctx, &q, r, section.Index[i:i+1]); err != nil {
				return err
			}
			found, err = parseFound(q.Batches[0])
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrCorrupt) {
		err = readError(err)
	}
	return found, next, err
}

// recordIn looks inside a batch for the first record in [start, end) that matches.
func (p *partition) recordIn(b *foundBatch, start, end ident.Offset, match func(int64) bool) (OffsetAt, error) {
	for rec, err := range protocol.Records(b.bytes) {
		if err != nil {
			return none, fmt.Errorf("%w: batch at %d of %s: %w", ErrCorrupt, b.header.BaseOffset, p.id, err)
		}
		offset, ts := ident.Offset(rec.Offset), rec.Timestamp
		if offset >= start && offset < end && match(ts) {
			return OffsetAt{Offset: offset, Timestamp: ts, Epoch: ident.Epoch(b.header.LeaderEpoch)}, nil
		}
	}
	return none, nil
}
