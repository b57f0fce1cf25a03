// Package retry has the pauses between attempts of work that is tried again.
//
// It owns how long a pause is and when a failure is worth a line in the log, and nothing else: what
// is tried, for how long and which errors end it stand with the caller. [Pauses] belongs to
// one goroutine. Imports: nothing of ours.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. It returns ctx's error if ctx ends before.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pauses are the pauses of one piece of work. Their length doubles from First up to Last. Each
// takes between a half and one and a half of its length, so that many who fail together do not
// return together.
type Pauses struct {
	First, Last time.Duration

	attempts int
	length   time.Duration // of the pause before
}

// Wait is called after each failed attempt. It returns ctx's error if ctx ends before the pause.
func (p *Pauses) Wait(ctx context.Context) error {
	p.attempts++
	p.length = p.next()
	return Sleep(ctx, p.length/2+rand.N(p.length))
}

func (p *Pauses) next() time.Duration {
	if p.length == 0 {
		return p.First
	}
	return min(2*p.length, p.Last)
}

// Attempt is the number of the attempt that is under way or has just failed; the first is 1.
func (p *Pauses) Attempt() int { return p.attempts + 1 }

// Notable reports whether the attempt that has just failed should be logged: the first one, and
// each one after which the pause is as long as it gets. So an outage is seen and does not flood the
// log.
func (p *Pauses) Notable() bool { return p.attempts == 0 || p.next() == p.Last }
