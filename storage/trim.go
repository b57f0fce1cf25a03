package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicemq/sluice/ident"
)

// This file trims the WAL. A segment, or a whole sealed tail, goes only when everything in it is
// committed or void (I9) and each partition's newest state record is durable in the current
// incarnation, above the part that goes (E24). So trim carries forward what stuck partitions hold
// (carry.go), finds the lowest position that is still needed, carries state records forward, waits
// for them, and trims. Dying between two of these steps leaves a longer WAL and nothing else.

// trimmer gives up parts of the log. It owns the sealed tails and the position where the own WAL
// begins.
type trimmer struct {
	*env
	*ownLog
	partitions *partitions
	budget     *budget
	records    *recorder

	// persistedTo is an ident.Position: the end of the last batch whose partition has its place in
	// the WAL.
	persistedTo atomic.Int64

	turn     turn           // one trim at a time
	boundary ident.Position // where the own WAL begins; guarded by turn

	mu    sync.Mutex // guards the list, nothing else
	tails []*source  // sealed, oldest first
}

// closeTails closes the files of the tails that could not be retired.
func (t *trimmer) closeTails() error {
	var errs []error
	for _, tail := range t.tails {
		errs = append(errs, tail.sealed.Close())
	}
	return errors.Join(errs...)
}

// trim frees what it can of the own WAL and of the sealed tails. flushLoop, Flush and retaining
// call it, one at a time.
func (t *trimmer) trim(ctx context.Context) error {
	if err := t.turn.take(ctx); err != nil {
		return err
	}
	defer t.turn.give()
	// Read this before listing the partitions: everything of a partition that is opened meanwhile
	// lies above it (I9).
	published := ident.Position(t.persistedTo.Load())
	parts := t.partitions.all()
	carried := t.carryStuck(ctx, parts, published)
	low := t.lowestUncommitted(parts, published)
	t.budget.trimmed(low, int64(t.lowestUncommitted(notStuck(parts), published)-low))
	segment := ident.Position(t.cfg.WALSegmentBytes)
	if boundary := low / segment * segment; boundary > t.boundary {
		if err := t.records.carryRecords(ctx, parts, walPlace{t.incarnation, boundary}); err != nil {
			return fmt.Errorf("carry state records forward: %w", err)
		}
		if err := t.wal.Trim(boundary); err != nil { // I9
			return fmt.Errorf("trim the write-ahead log below %d: %w", boundary, err)
		}
		t.boundary = boundary
	}
	return errors.Join(carried, t.retireTails(ctx, parts))
}

// lowestUncommitted returns the position in the own WAL below which everything is committed or
// void, at most published.
func (t *trimmer) lowestUncommitted(parts []*partition, published ident.Position) ident.Position {
	low := published
	for _, p := range parts {
		p.mu.Lock()
		for i := p.log.search(p.committed); i < p.log.len(); i++ {
			b := p.log.at(i)
			if b.source != t.own {
				continue
			}
			if b.end <= p.persisted {
				low = min(low, b.position)
			}
			if !b.carried { // all batches behind this one lie above it
				break
			}
		}
		p.mu.Unlock()
	}
	return low
}

// retireTails lets go of sealed tails that hold nothing uncommitted, oldest first.
func (t *trimmer) retireTails(ctx context.Context, parts []*partition) error {
	for {
		oldest := t.oldestTail()
		if oldest == nil || oldest.uncommitted.Load() > 0 {
			return nil
		}
		if err := t.records.carryRecords(ctx, parts, walPlace{oldest.incarnation + 1, 0}); err != nil {
			return fmt.Errorf("carry state records out of %s: %w", oldest.incarnation, err)
		}
		if err := t.deps.Catalog.RetireTail(ctx, t.incarnation, oldest.incarnation); err != nil {
			return fmt.Errorf("retire tail %s: %w", oldest.incarnation, err)
		}
		t.mu.Lock()
		t.tails = slices.Delete(t.tails, 0, 1)
		t.mu.Unlock()
		t.budget.tailBytes.Add(-oldest.sealed.DiskBytes())
		if err := oldest.sealed.Remove(); err != nil {
			return fmt.Errorf("remove tail %s: %w", oldest.incarnation, err)
		}
		t.log.Info("sealed tail is in the bucket", "incarnation", oldest.incarnation)
	}
}

// oldestTail returns the sealed tail that goes next, or nil if there is none.
func (t *trimmer) oldestTail() *source {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.tails) == 0 {
		return nil
	}
	return t.tails[0]
}
