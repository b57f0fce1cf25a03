package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// retainer decides what is deleted. It moves log starts, by retention on its own schedule and on
// request (deleterecords.go), and forgets producers that have been idle for long. The quorum judges
// each move of a log start, and the partition follows when it is told (Engine.LogStartMoved).
type retainer struct {
	*env
	partitions *partitions
	cold       *coldReader
	manifests  *manifestWriter
	trimmer    *trimmer

	producerExpiry atomic.Int64 // a time.Duration
}

// retaining applies retention and keeps manifests in order, on its own schedule.
func (r *retainer) retaining() {
	ticker := time.NewTicker(r.cfg.RetentionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		// Batches that expired unflushed no longer need their segments.
		err := errors.Join(r.retainAll(r.ctx), r.trimmer.trim(r.ctx))
		if err != nil && r.ctx.Err() == nil {
			r.log.Warn("retention failed; trying again at its next turn", "err", err)
		}
	}
}

// retainParallel is how many partitions' log starts move at once, since the quorum takes several
// with one write.
const retainParallel = 64

// Retain applies retention to every partition once. Log starts move in the quorum first; then the
// ranges that they have passed are released from manifests.
func (e *Engine) Retain(ctx context.Context) error { return e.retainer.retainAll(ctx) }

// retainAll is Engine.Retain.
func (r *retainer) retainAll(ctx context.Context) error {
	clock := r.deps.Now()
	now := clock.UnixMilli()
	parts := r.partitions.all()
	errs := make([]error, len(parts))
	slots := make(chan struct{}, retainParallel)
	var wg sync.WaitGroup
	for i, p := range parts {
		if ctx.Err() != nil {
			break
		}
		p.expireProducers(r.producersUntil(clock))
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.retain(ctx, p, now); err != nil {
				errs[i] = fmt.Errorf("retention of %s: %w", p.id, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// expireProducers forgets producer ids that have been idle since before (milliseconds).
func (p *partition) expireProducers(before int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.producers.Expire(before)
	p.flush.producers.Expire(before)
}

// producersUntil returns a time in milliseconds: a producer id that was last used before it is
// forgotten now.
func (r *retainer) producersUntil(now time.Time) int64 {
	return now.Add(-time.Duration(r.producerExpiry.Load())).UnixMilli()
}

func (r *retainer) retain(ctx context.Context, p *partition, now int64) error {
	if !p.isLed() {
		return nil
	}
	facts := p.facts.Load()
	head, ok := r.deps.Catalog.Head(p.id)
	if !ok {
		return nil // the topic was deleted meanwhile
	}
	if !facts.keeps() {
		start, err := r.retained(ctx, &head, p, newRetention(&facts.config, now))
		if start > head.LogStart { // even if the walk could not go further
			if err := r.deps.Catalog.AdvanceLogStart(ctx, r.incarnation, p.id, start); err != nil {
				return err
			}
			r.meter.logStartMoves.Inc()
		}
		if err != nil {
			return err
		}
	}
	if head, ok = r.deps.Catalog.Head(p.id); ok && head.Manifest.Object != 0 && head.Manifest.Start < head.LogStart {
		return r.manifests.release(ctx, &head)
	}
	return nil
}

// retention decides, oldest unit first, how far the log start moves. It is pure.
type retention struct {
	// expiredBelow is in milliseconds: a unit whose largest timestamp is lower goes. With minInt64
	// no unit goes by time.
	expiredBelow int64
	bytesMax     int64 // -1: no unit goes by size
}

func newRetention(c *catalog.TopicConfig, now int64) retention {
	r := retention{expiredBelow: -1, bytesMax: c.RetentionBytes}
	if c.RetentionMs >= 0 {
		r.expiredBelow = now - c.RetentionMs
	}
	return r
}

// drops reports whether the oldest unit goes while total bytes are held. A unit with times in the
// future holds back the units behind it.
func (r *retention) drops(unitBytes, total, maxTimestamp int64) bool {
	if r.bytesMax >= 0 && total-unitBytes >= r.bytesMax {
		return true
	}
	return maxTimestamp >= 0 && maxTimestamp < r.expiredBelow
}

// retained walks a partition from its oldest range to its newest batch and returns the new log
// start. Unflushed batches and the last range expire like the rest.
func (r *retainer) retained(ctx context.Context, head *catalog.Head, p *partition, by retention) (ident.Offset, error) {
	total, hw := p.shownAbove(head.CommittedEnd)
	total += head.Manifest.DataBytes
	for i := range head.Ranges {
		total += head.Ranges[i].Bytes
	}
	start := head.LogStart
	drop := func(end ident.Offset, bytes, maxTimestamp int64) bool {
		passed := end <= head.LogStart // the range is not released yet, but holds nothing back
		if !passed && (end > hw || !by.drops(bytes, total, maxTimestamp)) {
			return false
		}
		total -= bytes
		start = max(start, end)
		return true
	}
	var unread error
	dropRange := func(g *catalog.Range) bool {
		newest := g.MaxTimestamp
		if newest < 0 && g.End > head.LogStart && by.expiredBelow >= 0 {
			if newest, unread = r.cold.newestIn(ctx, p.id, g); unread != nil {
				return false
			}
		}
		return drop(g.End, g.Bytes, newest)
	}
	if head.Manifest.Object != 0 {
		all := true
		err := r.cold.eachInManifest(ctx, head, func(g *catalog.Range) bool {
			all = dropRange(g)
			return all
		})
		if err = errors.Join(err, unread); err != nil || !all {
			return start, err
		}
	}
	for i := range head.Ranges {
		if !dropRange(&head.Ranges[i]) {
			return start, unread
		}
	}
	p.walkAbove(head.CommittedEnd, func(b *batch) bool { return drop(b.end, int64(b.size), b.maxTimestamp) })
	return start, nil
}

// shownAbove returns the size of the batches that are shown and not in the bucket as of committed,
// an older head, and the high watermark. Batches committed since that head count nowhere, so that
// retention deletes later, never earlier. It corrects a running total by the batches
// that do not belong to it, instead of adding up all batches: there may be a million.
func (p *partition) shownAbove(committed ident.Offset) (bytes int64, hw ident.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hw <= committed {
		return 0, p.hw
	}
	bytes = p.unflushed
	for i := p.log.search(p.committed); i < p.log.len() && p.log.at(i).end <= committed; i++ {
		bytes -= int64(p.log.at(i).size)
	}
	for i := p.log.len(); i > 0 && p.log.at(i-1).end > max(p.hw, p.committed); i-- {
		bytes -= int64(p.log.at(i - 1).size)
	}
	return bytes, p.hw
}

// walkAbove visits the batches that are not in the bucket as of committed, an older head: oldest
// first, as long as visit returns true. If more has been committed since, some of those batches may
// have left the log, and walkAbove visits none, since a young batch that it skipped
// could not stop retention before an old batch behind it.
func (p *partition) walkAbove(committed ident.Offset, visit func(*batch) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.committed > committed {
		return
	}
	for i := p.log.search(committed); i < p.log.len() && visit(p.log.at(i)); i++ {
	}
}

// ReleaseDeleted takes the ranges below the head's log start out of the manifest of a deleted
// topic's partition (E30). Any broker may do this; the quorum's controller asks for it.
func (e *Engine) ReleaseDeleted(ctx context.Context, head *catalog.Head) error {
	return e.manifests.release(ctx, head)
}
