package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// HighWatermark as the target of DeleteRecords stands for all that is shown now.
const HighWatermark ident.Offset = -1

// DeleteRecords moves a partition's log start up to before and returns where it
// stands then. When it returns without an error the quorum has the new log start
// for good (I13), and readers and ListOffsets know it. What lies at or
// below the log start already is no change and no error; what is not shown yet
// cannot be deleted: ErrOffsetOutOfRange. The log start may come to lie inside a batch.
//
// What is not in the bucket goes like the rest: the committed end follows the
// log start (E12), a flush that is on its way with it is cut by the quorum
// (E23), and the WAL is trimmed under it as under what is committed (I9).
//
// It repeats while the quorum's outcome is unknown, until ctx ends; then the
// error is catalog.ErrUnavailable and the log start may have moved.
func (e *Engine) DeleteRecords(ctx context.Context, tp ident.TopicPartition, before ident.Offset) (logStart ident.Offset, err error) {
	if err := e.refusing(); err != nil {
		return -1, err
	}
	return e.retainer.deleteRecords(ctx, tp, before)
}

// deleteRecords is Engine.DeleteRecords while nothing is refused.
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
		return -1, err // deleted or moved meanwhile
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logStart, nil // another deletion may have been here: it never goes back
}

// deleteTarget says which offset is meant. It is at most the high watermark, and so
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
		return nil // what a partition shows as its log start, the quorum has decided
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
