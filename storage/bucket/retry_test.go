package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/fault"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// harness is a retrying bucket on top of a faulty one on top of memory.
func harness(t *testing.T, cfg bucket.RetryConfig) (*bucket.Retrying, *fault.Bucket, *mem.Bucket) {
	t.Helper()
	inner := mem.New()
	faulty := fault.New(inner, 1)
	r, err := bucket.WithRetry(faulty, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, faulty, inner
}

// TestRetryByFault lists, for each operation and fault, the outcome and the number of attempts.
func TestRetryByFault(t *testing.T) {
	cases := []struct {
		op     bucket.Op
		faults []fault.Fault
		want   error
		tries  int
	}{
		{bucket.OpReadAt, []fault.Fault{fault.Busy, fault.Reset, fault.Refused}, nil, 4},
		{bucket.OpReadAt, []fault.Fault{fault.Broken}, nil, 2},
		{bucket.OpReadAt, []fault.Fault{fault.Busy, fault.Busy, fault.Busy, fault.Busy}, bucket.ErrUnavailable, 4},
		{bucket.OpReadAt, []fault.Fault{fault.Denied}, bucket.ErrDenied, 1},
		{bucket.OpReadAt, []fault.Fault{fault.Missing}, bucket.ErrNotFound, 1},
		{bucket.OpReadAt, []fault.Fault{fault.Truncate}, bucket.ErrShort, 1},
		{bucket.OpStat, []fault.Fault{fault.Busy, fault.Lost}, nil, 3},
		{bucket.OpDelete, []fault.Fault{fault.Lost}, nil, 2},
		{bucket.OpDelete, []fault.Fault{fault.Denied}, bucket.ErrDenied, 1},
		{bucket.OpCreate, []fault.Fault{fault.Refused, fault.Refused}, nil, 3},
		{bucket.OpCreate, []fault.Fault{fault.Denied}, bucket.ErrDenied, 1},
		{bucket.OpCreate, []fault.Fault{fault.Busy, fault.Reset}, nil, 3},
		{bucket.OpCreate, []fault.Fault{fault.Reset, fault.Denied}, bucket.ErrUnknown, 2},
		{bucket.OpCreate, []fault.Fault{fault.Reset, fault.Refused, fault.Refused, fault.Refused}, bucket.ErrUnknown, 4},
		{bucket.OpCreate, []fault.Fault{fault.Refused, fault.Refused, fault.Refused, fault.Refused}, bucket.ErrUnavailable, 4},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%v/%v", c.op, c.faults), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, faulty, inner := harness(t, bucket.RetryConfig{})
				if err := inner.Create(t.Context(), "old", bucket.NewBody([]byte("0123456789"))); err != nil {
					t.Fatal(err)
				}
				faulty.Script(c.op, c.faults...)
				err := do(t.Context(), r, c.op)
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				only(t, err)
				if got := faulty.Calls(c.op); got != c.tries {
					t.Fatalf("%d tries, want %d", got, c.tries)
				}
				stats := r.Stats()[c.op]
				if stats.Requests != int64(c.tries) || stats.Retries != int64(c.tries-1) {
					t.Fatalf("stats: %+v", stats)
				}
			})
		})
	}
}

func do(ctx context.Context, b bucket.Bucket, op bucket.Op) error {
	switch op {
	case bucket.OpCreate:
		return b.Create(ctx, "new", bucket.NewBody([]byte("body")))
	case bucket.OpReadAt:
		p := make([]byte, 4)
		err := b.ReadAt(ctx, "old", p, 2)
		if err == nil && string(p) != "2345" {
			return fmt.Errorf("read %q", p)
		}
		return err
	case bucket.OpStat:
		_, err := b.Stat(ctx, "old")
		return err
	}
	return b.Delete(ctx, "old")
}

// only requires that an error is exactly one of the sentinels, so that no caller can mistake it for
// another.
func only(t *testing.T, err error) {
	t.Helper()
	n := 0
	for _, s := range []error{bucket.ErrExists, bucket.ErrNotFound, bucket.ErrUnknown, bucket.ErrUnavailable, bucket.ErrDenied, bucket.ErrShort, bucket.ErrCorrupt} {
		if errors.Is(err, s) {
			n++
		}
	}
	if err != nil && n != 1 {
		t.Fatalf("%v is %d of the sentinels", err, n)
	}
}

// TestE28_TakenKeyAfterDoubt: the answer of an upload is lost, and the retry finds the key taken.
// We may have taken it ourselves, or a stranger. So the outcome is neither success nor ErrExists.
func TestE28_TakenKeyAfterDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faulty, inner := harness(t, bucket.RetryConfig{})
		faulty.Script(bucket.OpCreate, fault.Lost)
		err := r.Create(t.Context(), "key", bucket.NewBody([]byte("mine")))
		if !errors.Is(err, bucket.ErrUnknown) {
			t.Fatalf("own object: %v", err)
		}
		only(t, err)
		if err := inner.Create(t.Context(), "other", bucket.NewBody([]byte("theirs"))); err != nil {
			t.Fatal(err)
		}
		// Nothing was applied, and the key belongs to a stranger.
		faulty.Script(bucket.OpCreate, fault.Reset)
		err = r.Create(t.Context(), "other", bucket.NewBody([]byte("mine")))
		if !errors.Is(err, bucket.ErrUnknown) {
			t.Fatalf("stranger's object: %v", err)
		}
		only(t, err)
		if got := faulty.Calls(bucket.OpCreate); got != 4 {
			t.Fatalf("%d tries: a taken key is no reason to try again", got)
		}
		err = r.Create(t.Context(), "other", bucket.NewBody([]byte("mine")))
		if !errors.Is(err, bucket.ErrExists) {
			t.Fatalf("without a doubt: %v", err)
		}
	})
}

// TestDelayedCreate: the attempt in doubt takes effect after the retry did. The object stays as it
// is.
func TestDelayedCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faulty, inner := harness(t, bucket.RetryConfig{})
		faulty.Script(bucket.OpCreate, fault.Delayed)
		if err := r.Create(t.Context(), "key", bucket.NewBody([]byte("mine"))); err != nil {
			t.Fatal(err)
		}
		if got := faulty.Delayed(); !slices.Equal(got, []string{"key"}) {
			t.Fatalf("delayed: %q", got)
		}
		if err := faulty.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := bucket.ReadAll(t.Context(), inner, "key", 10); err != nil || string(got) != "mine" {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// TestListGoesOn: a listing that breaks off continues where it was, without repeating a key.
func TestListGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faulty, inner := harness(t, bucket.RetryConfig{})
		var all []string
		for i := range 100 {
			all = append(all, fmt.Sprintf("k/%03d", i))
			if err := inner.Create(t.Context(), all[i], bucket.NewBody()); err != nil {
				t.Fatal(err)
			}
		}
		faulty.Script(bucket.OpList, fault.Broken, fault.Busy, fault.Broken)
		var got []string
		for info, err := range r.List(t.Context(), "k/", all[9]) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if !slices.Equal(got, all[10:]) {
			t.Fatalf("listed %q", got)
		}
		faulty.Away(fault.Busy)
		var last error
		for _, err := range r.List(t.Context(), "k/", "") {
			last = err
		}
		if !errors.Is(last, bucket.ErrUnavailable) {
			t.Fatalf("away: %v", last)
		}
	})
}

// TestBudget: an outage causes a bounded number of additional requests, and the budget comes back
// with successes.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faulty, inner := harness(t, bucket.RetryConfig{})
		if err := inner.Create(t.Context(), "old", bucket.NewBody([]byte("0123456789"))); err != nil {
			t.Fatal(err)
		}
		faulty.Away(fault.Refused)
		const calls = 1000
		for range calls {
			if err := do(t.Context(), r, bucket.OpReadAt); !errors.Is(err, bucket.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if got := r.Stats()[bucket.OpReadAt].Retries; got != 64 {
			t.Fatalf("%d retries in an outage, want 64", got)
		}
		faulty.Away(fault.None)
		for range 101 {
			if err := do(t.Context(), r, bucket.OpReadAt); err != nil {
				t.Fatal(err)
			}
		}
		faulty.Away(fault.Refused)
		for range calls {
			if err := do(t.Context(), r, bucket.OpReadAt); !errors.Is(err, bucket.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if got := r.Stats()[bucket.OpReadAt].Retries; got != 74 {
			t.Fatalf("%d retries, want 10 more for 101 successes", got-64)
		}
	})
}

// TestPauses: pauses stay below their doubling bounds, and end with the context.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, faulty, _ := harness(t, bucket.RetryConfig{Attempts: 10, DelayMin: time.Second, DelayMax: 4 * time.Second})
		faulty.Away(fault.Refused)
		longest := time.Duration(0)
		for range 7 {
			begin := time.Now()
			if err := do(t.Context(), r, bucket.OpStat); !errors.Is(err, bucket.ErrUnavailable) {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(begin))
		}
		if most := (1 + 2 + 7*4) * time.Second; longest > most || longest < most/10 {
			t.Fatalf("nine pauses took up to %v, want something below %v", longest, most)
		}

		r, faulty, _ = harness(t, bucket.RetryConfig{DelayMin: time.Hour, DelayMax: time.Hour})
		faulty.Away(fault.Refused)
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if err := do(ctx, r, bucket.OpStat); !errors.Is(err, bucket.ErrUnavailable) {
			t.Fatal(err)
		}
		if got := faulty.Calls(bucket.OpStat); got != 1 {
			t.Fatalf("%d tries after the context's end", got)
		}
	})
}

func TestRetryConfigInvalid(t *testing.T) {
	if _, err := bucket.WithRetry(mem.New(), bucket.RetryConfig{Attempts: -1, DelayMin: -1}); err == nil {
		t.Fatal("negative values were taken")
	}
}
