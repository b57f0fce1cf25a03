package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// errStopped ends a wait when the broker stops.
var errStopped = errors.New("broker is stopping")

// budget hands out bytes, first come first served, so that small requests cannot pass over a large
// one for ever. At the bound it makes callers wait: that is the back-pressure.
type budget struct {
	bytes int64
	sem   *semaphore.Weighted
	held  atomic.Int64 // for metrics and estimates; sem decides
}

func newBudget(bytes int64) *budget {
	return &budget{bytes: bytes, sem: semaphore.NewWeighted(bytes)}
}

// share is a part of a budget that is held. The zero share holds nothing.
type share struct {
	of    *budget
	bytes int64
}

// reserve takes n bytes, or waits for them until ctx ends and then returns the cause.
func (b *budget) reserve(ctx context.Context, n int64) (share, error) {
	if err := b.sem.Acquire(ctx, n); err != nil {
		return share{}, context.Cause(ctx)
	}
	b.held.Add(n)
	return share{b, n}, nil
}

// reserveWithin does what reserve does, but gives up after a while and then holds nothing.
func (b *budget) reserveWithin(ctx context.Context, wait time.Duration, n int64) share {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s, _ := b.reserve(ctx, n) // after an error s is the zero share
	return s
}

// tryReserve takes n bytes if they are free and nobody waits.
func (b *budget) tryReserve(n int64) (share, bool) {
	if !b.sem.TryAcquire(n) {
		return share{}, false
	}
	b.held.Add(n)
	return share{b, n}, true
}

// grow takes n bytes more of a budget if they are free.
func (s *share) grow(of *budget, n int64) bool {
	more, ok := of.tryReserve(n)
	if ok {
		s.of, s.bytes = of, s.bytes+more.bytes
	}
	return ok
}

// shrinkTo gives back the bytes above n.
func (s *share) shrinkTo(n int64) {
	if back := s.bytes - n; back > 0 {
		s.bytes = n
		s.of.held.Add(-back)
		s.of.sem.Release(back)
	}
}

// isCrowded reports whether the share holds something while more than half of its budget is held.
func (s *share) isCrowded() bool { return s.bytes > 0 && s.of.available() < s.of.bytes/2 }

// release gives everything back. It may be called again.
func (s *share) release() { s.shrinkTo(0) }

// available returns the number of bytes that nobody holds.
func (b *budget) available() int64 { return b.bytes - b.held.Load() }
