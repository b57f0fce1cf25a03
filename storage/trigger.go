package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluicemq/sluice/internal/retry"
)

// A flush starts when enough bytes have gathered, when the interval has passed, when a partition of
// class object has durable batches, or when Flush is called. Each of these starts passes (flush.go)
// over the partitions concerned.

// heldPause is how long a flush waits when it finds its partitions held by another pass.
const heldPause = 5 * time.Millisecond

// bundlesPerFlush is how many bundles a flush that size starts brings. Each flush adds a range to
// every partition that it takes, and a range costs its part of a command, a state record and its
// part of a manifest. With one flush per bundle, 16 partitions and 100 MiB/s, manifests took as
// many requests as bundles.
const bundlesPerFlush = 4

// flushAt returns how many unflushed bytes start a flush before its time: enough that its bundles
// fill the upload slots, but not so many that they fall out of memory and have to be read again, or
// use up the WAL's budget.
func (c *Config) flushAt() int64 {
	return max(c.FlushBytes, min(bundlesPerFlush*c.FlushBytes, c.HotBytes/4, c.WALBudgetBytes/8))
}

// Flush moves everything that is persisted to the bucket, and returns when it is there or ctx ends.
// If everything that is left cannot go there, the error names the partitions.
func (e *Engine) Flush(ctx context.Context) error { return e.flusher.flush(ctx) }

// persisted counts the bytes that the WAL has made durable, and starts a flush when they are
// enough.
func (f *flusher) persisted(bytes int64) {
	if f.unflushed.Add(bytes) >= f.cfg.flushAt() {
		signal(f.enough)
	}
}

// flush is Engine.Flush.
func (f *flusher) flush(ctx context.Context) error {
	f.recheck(ctx)
	for {
		n, _, err := f.pass(ctx, f.partitions.all())
		again := errors.Is(err, errRefused) || errors.Is(err, errLost)
		if err != nil && !again {
			return err
		}
		if n == 0 && !again {
			if done, err := f.allFlushed(); done {
				return errors.Join(err, f.trimmer.trim(ctx))
			}
		}
		// Another pass holds the partitions, or this one has to be planned again.
		if n == 0 || again {
			if err := retry.Sleep(ctx, heldPause); err != nil {
				return err
			}
		}
	}
}

// allFlushed reports whether nothing is left that a flush can move. The error names the partitions
// whose batches cannot go.
func (f *flusher) allFlushed() (done bool, err error) {
	for _, p := range f.partitions.all() {
		p.mu.Lock()
		left, t := p.unflushed, p.flush.trouble
		p.mu.Unlock()
		switch {
		case left == 0:
		case t == nil:
			return false, nil
		default:
			err = errors.Join(err, fmt.Errorf("topic %s partition %d: %d bytes cannot go to the bucket: %s: %w",
				p.facts.Load().topic.Name, p.id.Index, left, t.reason, t.err))
		}
	}
	return true, err
}

// flushLoop flushes every partition when enough has gathered or enough time has passed.
func (f *flusher) flushLoop() {
	timer := time.NewTimer(f.cfg.FlushInterval)
	defer timer.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.enough:
			if !f.worthFlushing() {
				continue
			}
		case <-timer.C:
		}
		f.unflushed.Store(0)
		_ = f.retry(f.ctx, "flush", f.flushAll)
		timer.Reset(f.cfg.FlushInterval)
	}
}

// worthFlushing gives back what it can of the log, and reports whether half of the bytes that
// started a flush are left in it. If retention has passed them, or class object has brought them to
// the bucket, the count goes on with the rest: what is deleted before the interval ends is never
// uploaded. One old record that stays holds back all of the log behind it, which is then flushed
// with it.
func (f *flusher) worthFlushing() bool {
	if f.unflushed.Load() < f.cfg.flushAt() {
		return false // the signal came before the last flush
	}
	if f.trimmer.trim(f.ctx) != nil {
		return true // the flush trims too, and tries again
	}
	// Read after the trim and before what is left, so that nothing counts twice and nothing is
	// missed.
	counted := f.unflushed.Load()
	left := f.budget.inLog()
	if left >= f.cfg.flushAt()/2 {
		return true
	}
	f.unflushed.Add(left - counted)
	return false
}

// flushAll repeats pass and trim as long as a pass leaves batches that were there when it began.
func (f *flusher) flushAll(ctx context.Context) error {
	for {
		_, more, err := f.pass(ctx, f.unhurried(f.partitions.all()))
		// Trouble of one partition does not keep the other partitions' segments.
		if err = errors.Join(err, f.trimmer.trim(ctx)); err != nil || !more {
			return err
		}
	}
}

// unhurried leaves out the partitions of class object: urgentLoop flushes them at once, and the
// many bundles of a regular pass must not delay them (E18).
func (f *flusher) unhurried(parts []*partition) []*partition {
	return slices.DeleteFunc(parts, func(p *partition) bool { return f.replication.asks(p.class) == askBucket })
}

// urgentSet gathers the partitions of class object that have batches to flush at once.
type urgentSet struct {
	wake  chan struct{}
	mu    sync.Mutex
	parts map[*partition]struct{}
}

func (f *flusher) wakeUrgent(p *partition) {
	f.urgent.mu.Lock()
	if f.urgent.parts == nil {
		f.urgent.parts = make(map[*partition]struct{})
	}
	f.urgent.parts[p] = struct{}{}
	f.urgent.mu.Unlock()
	signal(f.urgent.wake)
}

// wakeTroubled has the partitions flushed again whose trouble may have passed by itself.
func (f *flusher) wakeTroubled(parts []*partition) {
	for _, p := range parts {
		if p.flushable() {
			f.wakeUrgent(p)
		}
	}
}

func (u *urgentSet) take() []*partition {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]*partition, 0, len(u.parts))
	for p := range u.parts {
		out = append(out, p)
	}
	u.parts = nil
	return out
}

// urgentLoop flushes partitions of class object at once, and only them (E18).
func (f *flusher) urgentLoop() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.urgent.wake:
		}
		parts := f.urgent.take()
		planned := 0
		_ = f.retry(f.ctx, "flush of class object", func(ctx context.Context) (err error) {
			planned, _, err = f.pass(ctx, parts)
			if err != nil && !slices.ContainsFunc(parts, (*partition).uncommitted) {
				f.log.Warn("flush of class object goes on without partitions that have trouble", "err", err)
				time.AfterFunc(retryLast, func() { f.wakeTroubled(parts) })
				return nil // partitions without trouble must not wait for the others
			}
			return err
		})
		// These are partitions that another pass held, or that have more batches already.
		for _, p := range parts {
			if p.uncommitted() {
				f.wakeUrgent(p)
			}
		}
		if planned == 0 {
			_ = retry.Sleep(f.ctx, heldPause)
		}
	}
}

// uncommitted reports whether a partition has batches to flush. A partition that has trouble is
// left to recheck.
func (p *partition) uncommitted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status == leading && p.flush.trouble == nil && p.committed < p.persisted
}
