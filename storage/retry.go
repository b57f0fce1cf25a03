package storage

import (
	"context"
	"errors"
	"time"

	"github.com/sluicemq/sluice/internal/retry"
)

// These are the pauses between attempts of background work, which double, with jitter.
const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 5 * time.Second
)

// retry repeats do until it succeeds or ctx ends. It logs the first failure, and then a failure
// every time the pause has reached its maximum, so that an outage is seen and does not flood the
// log.
func (e *env) retry(ctx context.Context, what string, do func(context.Context) error) error {
	pauses := retry.Pauses{First: retryFirst, Last: retryLast}
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		e.meter.failed(what)
		if pauses.Notable() {
			e.log.Warn("background work failed; trying again", "what", what, "attempt", pauses.Attempt(), "err", err)
		}
		if err := pauses.Wait(ctx); err != nil {
			return err
		}
	}
}

// turn is a lock that may be held across I/O. A goroutine that waits for it gives up when its
// context ends.
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
