package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicemq/sluice/ident"
)

// Trimming the WAL. A segment, or a whole sealed tail, goes only when everything in
// it is committed or void (I9) and each partition's newest state record is durable in
// the current incarnation, above what goes (E24). So: carry forward what stuck partitions
// hold (carry.go), find the lowest position that is still
// needed, carry records forward, wait for them, trim. Dying between two of these
// leaves a longer WAL and nothing else.

// trim frees what it can of the own WAL and of the sealed tails. flushLoop, Flush and
// retaining call it, in turn.
func (e *Engine) trim(ctx context.Context) error {
	if err := e.trimTurn.take(ctx); err != nil {
		return err
	}
	defer e.trimTurn.give()
	// Read before the partitions are listed: of one that is opened meanwhile, everything lies above (I9).
	published := ident.Position(e.persistedTo.Load())
	parts := e.partitions.all()
	carried := e.carryStuck(ctx, parts, published)
	low := e.lowestUncommitted(parts, published)
	e.trimmedTo.Store(int64(low))
	e.budget.stuck.Store(int64(e.lowestUncommitted(notStuck(parts), published) - low))
	e.measureSpan()
	segment := ident.Position(e.cfg.WALSegmentBytes)
	if boundary := low / segment * segment; boundary > e.boundary {
		if err := e.carry(ctx, parts, walPlace{e.incarnation, boundary}); err != nil {
			return fmt.Errorf("carry state records forward: %w", err)
		}
		if err := e.wal.Trim(boundary); err != nil { // I9
			return fmt.Errorf("trim the write-ahead log below %d: %w", boundary, err)
		}
		e.boundary = boundary
	}
	return errors.Join(carried, e.retireTails(ctx, parts))
}

// lowestUncommitted returns the position in the own WAL below which everything is committed or void,
// at most published.
func (e *Engine) lowestUncommitted(parts []*partition, published ident.Position) ident.Position {
	low := published
	for _, p := range parts {
		p.mu.Lock()
		for i := p.log.search(p.committed); i < p.log.len(); i++ {
			b := p.log.at(i)
			if b.source != e.own {
				continue
			}
			if b.end <= p.persisted {
				low = min(low, b.position)
			}
			if !b.carried { // all behind it lie above it
				break
			}
		}
		p.mu.Unlock()
	}
	return low
}

// retireTails lets go of sealed tails that hold nothing uncommitted, oldest first.
func (e *Engine) retireTails(ctx context.Context, parts []*partition) error {
	for {
		e.mu.Lock()
		var oldest *source
		if len(e.tails) > 0 {
			oldest = e.tails[0]
		}
		e.mu.Unlock()
		if oldest == nil || oldest.uncommitted.Load() > 0 {
			return nil
		}
		if err := e.carry(ctx, parts, walPlace{oldest.incarnation + 1, 0}); err != nil {
			return fmt.Errorf("carry state records out of %s: %w", oldest.incarnation, err)
		}
		if err := e.deps.Catalog.RetireTail(ctx, e.incarnation, oldest.incarnation); err != nil {
			return fmt.Errorf("retire tail %s: %w", oldest.incarnation, err)
		}
		e.mu.Lock()
		e.tails = slices.Delete(e.tails, 0, 1)
		e.mu.Unlock()
		e.budget.tailBytes.Add(-oldest.sealed.DiskBytes())
		if err := oldest.sealed.Remove(); err != nil {
			return fmt.Errorf("remove tail %s: %w", oldest.incarnation, err)
		}
		e.log.Info("sealed tail is in the bucket", "incarnation", oldest.incarnation)
	}
}
