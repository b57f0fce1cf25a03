package broker

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// errStopped ends a wait when the broker stops.
var errStopped = errors.New("broker is stopping")

// budget hands out bytes, first come first served, so that a large request is
// not passed over for ever by small ones. At the bound it makes callers wait: that is the back-pressure.
type budget struct {
	bytes   int64
	mu      sync.Mutex
	free    int64
	waiters list.List // of *budgetWaiter, oldest first
}

type budgetWaiter struct {
	bytes int64
	ready chan struct{} // closed when the bytes were given
}

func newBudget(bytes int64) *budget { return &budget{bytes: bytes, free: bytes} }

// reserve takes n bytes, or waits for them until ctx or stop ends.
func (b *budget) reserve(ctx context.Context, stop <-chan struct{}, n int64) error {
	b.mu.Lock()
	if b.waiters.Len() == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return nil
	}
	w := &budgetWaiter{bytes: n, ready: make(chan struct{})}
	element := b.waiters.PushBack(w)
	b.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-stop:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // given in the same moment
		b.free += n
	default:
		b.waiters.Remove(element)
	}
	b.grantLocked()
	if err := ctx.Err(); err != nil {
		return err
	}
	return errStopped
}

// release gives n bytes back.
func (b *budget) release(n int64) {
	b.mu.Lock()
	b.free += n
	b.grantLocked()
	b.mu.Unlock()
}

func (b *budget) grantLocked() {
	for e := b.waiters.Front(); e != nil; e = b.waiters.Front() {
		w := e.Value.(*budgetWaiter)
		if w.bytes > b.free {
			return
		}
		b.free -= w.bytes
		b.waiters.Remove(e)
		close(w.ready)
	}
}

// available returns the bytes that nobody holds.
func (b *budget) available() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
