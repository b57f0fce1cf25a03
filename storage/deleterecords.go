package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// HighWatermark as the target of DeleteRecords stands for everything that is shown now.
const HighWatermark ident.Offset = -1

// DeleteRecords moves a partition's log start up to before and returns the resulting log start.
// When it returns without an error, the quorum has the new log start for good (I13), and readers
// and ListOffsets know it. A target at or below the log start is no change and no error. Offsets
// that are not shown yet cannot be deleted: ErrOffsetOutOfRange. The log start may come to lie
// inside a batch.
//
// Batches that are not in the bucket are deleted like the others: the committed end follows the log
// start (E12), the quorum cuts a flush that is on its way with them (E23), and the WAL is trimmed
// below the log start as below the committed end (I9).
//
// DeleteRecords repeats the command while the quorum's outcome is unknown, until ctx ends. Then the
// error is catalog.ErrUnavailable, and the log start may have moved.
func (e *Engine) DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (logStart ident.Offset, err error) {
	if err := e.refusing(); err != nil {
		return -1, err
	}
	return e.retainer.deleteRecords(ctx, tp, before)
}

// deleteRecords is Engine.DeleteRecords without the check whether the engine refuses work.
func (r *retainer) deleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (logStart ident.Offset, err error) {
	target, err := r.deleteTarget(tp, before)
	if err != nil {
		return -1, err
	}
	if err := r.moveLogStart(ctx, tp, target); err != nil {
		return -1, fmt.Errorf("delete records of %s below %d: %w", tp, target, err)
	}
	p, err := r.partitions.find(tp)
	if err != nil {
		return -1, err // the partition was deleted or moved meanwhile
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logStart, nil // another deletion may have moved it further: it never goes back
}

// deleteTarget returns the offset that before stands for. It is at most the high watermark, and so
// durable: no end that a start recovers lies below a log start (I7).
func (r *retainer) deleteTarget(tp ident.TopicPartition, before ident.Offset) (ident.Offset, error) {
	p, err := r.partitions.find(tp)
	if err != nil {
		return -1, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkEpochLocked(ident.NoEpoch); err != nil {
		return -1, err
	}
	if before == HighWatermark {
		return p.hw, nil
	}
	if before < 0 || before > p.hw { // I7
		return -1, fmt.Errorf("%w: %d is not within [0,%d]", ErrOffsetOutOfRange, before, p.hw)
	}
	return before, nil
}

// moveLogStart asks the quorum, which tells the partition (LogStartMoved) before it answers.
func (r *retainer) moveLogStart(ctx context.Context, tp ident.TopicPartition, to ident.Offset) error {
	p, err := r.partitions.find(tp)
	if err != nil {
		return err
	}
	p.mu.Lock()
	passed := to <= p.logStart
	p.mu.Unlock()
	if passed {
		return nil // a partition shows only a log start that the quorum has decided
	}
	var refusal error
	err = r.retry(ctx, "move log start", func(ctx context.Context) error {
		err := r.deps.Catalog.AdvanceLogStart(ctx, r.incarnation, tp, to)
		if errors.Is(err, catalog.ErrUnavailable) {
			return err
		}
		refusal = err
		return nil
	})
	switch {
	case errors.Is(refusal, catalog.ErrTopicNotFound):
		return ErrUnknownPartition
	case errors.Is(refusal, catalog.ErrFenced):
		return fmt.Errorf("%w: %w", ErrNotLeader, refusal)
	}
	return errors.Join(err, refusal)
}
