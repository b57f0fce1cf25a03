package storage

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Pauses between attempts of background work: doubling with full jitter.
const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 5 * time.Second
)

// retry repeats do until it succeeds or ctx ends. It logs the first failure and then
// every time the pause has reached its end, so that an outage is seen and does not flood.
func (e *Engine) retry(ctx context.Context, what string, do func(context.Context) error) error {
	pause := retryFirst
	for attempt := 1; ; attempt++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		e.meter.failed(what)
		if attempt == 1 || pause == retryLast {
			e.log.Warn("background work failed; trying again", "what", what, "attempt", attempt, "err", err)
		}
		if err := sleep(ctx, time.Duration(rand.Int64N(int64(pause)))+pause/2); err != nil {
			return err
		}
		pause = min(2*pause, retryLast)
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn is a lock that may be held across I/O: who waits for it gives up when its context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }
