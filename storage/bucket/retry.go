package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// RetryConfig says how often and how fast a failed request is tried again. The zero value is a good
// choice.
type RetryConfig struct {
	// Attempts is the most attempts of one call. The default is 4. One switches retries off.
	Attempts int
	// DelayMin is the upper bound of the first pause (with full jitter, a pause is anything from
	// nothing to its bound). Each further bound is twice as long. The default is 50 ms.
	DelayMin time.Duration
	// DelayMax is the upper bound of every pause. The default is 2 s.
	DelayMax time.Duration
}

func (c RetryConfig) withDefaults() RetryConfig {
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	if c.DelayMin == 0 {
		c.DelayMin = 50 * time.Millisecond
	}
	if c.DelayMax == 0 {
		c.DelayMax = 2 * time.Second
	}
	return c
}

// Validate reports every problem at once.
func (c RetryConfig) Validate() error {
	var errs []error
	if c.Attempts < 0 {
		errs = append(errs, fmt.Errorf("bucket: Attempts is %d, must not be negative", c.Attempts))
	}
	if c.DelayMin < 0 || c.DelayMax < 0 {
		errs = append(errs, fmt.Errorf("bucket: DelayMin %v and DelayMax %v must not be negative", c.DelayMin, c.DelayMax))
	}
	return errors.Join(errs...)
}

// The retry budget of one bucket. Each call that succeeds pays in a tenth of a retry, up to
// budgetMax, and each retry takes a whole one. So an outage causes at most budgetMax additional
// requests, after which calls fail at the first attempt. A store that fails now and then gets one
// retry for every ten calls that succeed.
const (
	budgetMax     = 64.0
	budgetPerCall = 0.1
)

// Op is a kind of request.
type Op int

// The kinds of request, in the order of Stats.
const (
	OpCreate Op = iota
	OpReadAt
	OpStat
	OpList
	OpDelete
	OpCount // how many kinds there are
)

func (o Op) String() string {
	if o < 0 || o >= OpCount {
		return fmt.Sprintf("Op(%d)", int(o))
	}
	return [OpCount]string{"create", "read", "stat", "list", "delete"}[o]
}

// OpStats counts what one kind of request did since the bucket was opened.
type OpStats struct {
	Requests int64 // attempts; a listing is one, however many pages it has
	Retries  int64 // attempts after a failure
	Failures int64 // attempts that failed because of the store or on the way to it
	Bytes    int64 // of bodies that were stored or read
}

// Stats counts requests by Op.
type Stats [OpCount]OpStats

type opCounters struct{ requests, retries, failures, bytes atomic.Int64 }

// Retrying repeats requests that failed for a passing reason, counts all requests, and is itself a
// Bucket.
//
// A Create that ended in doubt is sent again, since the bytes are the same. If the key turns out to
// be taken then, we may have taken it ourselves, or a stranger. That is ErrUnknown again, and the
// caller abandons the object id (E28).
type Retrying struct {
	inner    Bucket
	cfg      RetryConfig
	counters [OpCount]opCounters
	meter    *meter

	mu     sync.Mutex
	budget float64
}

// WithRetry puts retries in front of a bucket. Close closes both.
func WithRetry(inner Bucket, cfg RetryConfig) (*Retrying, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Retrying{inner: inner, cfg: cfg.withDefaults(), budget: budgetMax, meter: newMeter()}, nil
}

// Stats returns the counts so far.
func (r *Retrying) Stats() Stats {
	var s Stats
	for op := range s {
		c := &r.counters[op]
		s[op] = OpStats{c.requests.Load(), c.retries.Load(), c.failures.Load(), c.bytes.Load()}
	}
	return s
}

// Create implements Bucket.
func (r *Retrying) Create(ctx context.Context, key string, body Body) error {
	inDoubt := false
	return r.try(ctx, OpCreate, body.Size(), func() error {
		err := r.inner.Create(ctx, key, body)
		if err == nil {
			return nil // this very attempt stored the whole object
		}
		if inDoubt && !errors.Is(err, ErrUnknown) {
			// Whatever refused this attempt, the one in doubt may have been applied, or may be
			// applied later (E28). The error is not wrapped with %w, so that nobody takes the later
			// attempt's error for that of the call.
			return fmt.Errorf("%w (an earlier try ended in doubt, then: %v)", doubt(err), err)
		}
		inDoubt = errors.Is(err, ErrUnknown)
		return err
	})
}

// doubt turns the error of a later attempt into that of the call: unknown, and retried only if that
// attempt would have been.
func doubt(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return ErrUnknown
	}
	return errSettledInDoubt
}

// errSettledInDoubt is an ErrUnknown that no retry can improve.
var errSettledInDoubt = fmt.Errorf("%w", ErrUnknown)

// ReadAt implements Bucket.
func (r *Retrying) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	return r.try(ctx, OpReadAt, int64(len(p)), func() error { return r.inner.ReadAt(ctx, key, p, pos) })
}

// Stat implements Bucket.
func (r *Retrying) Stat(ctx context.Context, key string) (info Info, err error) {
	err = r.try(ctx, OpStat, 0, func() error {
		info, err = r.inner.Stat(ctx, key)
		return err
	})
	return info, err
}

// Delete implements Bucket.
func (r *Retrying) Delete(ctx context.Context, key string) error {
	return r.try(ctx, OpDelete, 0, func() error { return r.inner.Delete(ctx, key) })
}

// List implements Bucket. A listing that fails continues after the last key that it has yielded.
func (r *Retrying) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		stopped := false
		err := r.try(ctx, OpList, 0, func() error {
			for info, err := range r.inner.List(ctx, prefix, after) {
				if err != nil {
					return err
				}
				after = info.Key
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

// Close implements Bucket.
func (r *Retrying) Close() error { return r.inner.Close() }

// try runs the request until it succeeds, fails for good, or attempts, budget or context run out.
func (r *Retrying) try(ctx context.Context, op Op, bytes int64, request func() error) error {
	c := &r.counters[op]
	for attempt := 1; ; attempt++ {
		c.requests.Add(1)
		began := time.Now()
		err := request()
		r.meter.observe(op, began, err)
		if err == nil {
			c.bytes.Add(bytes)
			r.payIn()
			return nil
		}
		if !failed(err) {
			r.payIn() // an answer, although not the wanted one
			return err
		}
		c.failures.Add(1)
		if !passing(err) || attempt >= r.cfg.Attempts || !r.takeOut() || !r.pause(ctx, attempt) {
			return err
		}
		c.retries.Add(1)
	}
}

// failed tells a failure of the store from its honest answer.
func failed(err error) bool {
	return !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrShort) || errors.Is(err, ErrUnknown)
}

func passing(err error) bool {
	return (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown)) && !errors.Is(err, errSettledInDoubt)
}

func (r *Retrying) payIn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.budget = min(r.budget+budgetPerCall, budgetMax)
}

func (r *Retrying) takeOut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.budget < 1 {
		return false
	}
	r.budget--
	return true
}

// pause waits with full jitter. It returns false if the context ends first.
func (r *Retrying) pause(ctx context.Context, attempt int) bool {
	bound := r.cfg.DelayMax
	if shifted := r.cfg.DelayMin << min(attempt-1, 16); shifted < bound {
		bound = shifted
	}
	timer := time.NewTimer(rand.N(bound + 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
