package fault

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/buckettest"
	"github.com/sluicemq/sluice/storage/bucket/mem"
)

// TestConformance: without a plan nothing is different.
func TestConformance(t *testing.T) {
	buckettest.Run(t, func(*testing.T) bucket.Bucket { return New(mem.New(), 1) }, buckettest.Flags{ListObjects: 200})
}

var object = bytes.Repeat([]byte("0123456789"), 10)

func scene(t *testing.T) (*Bucket, *mem.Bucket) {
	t.Helper()
	inner := mem.New()
	for _, key := range []string{"old", "old2", "old3"} {
		if err := inner.Create(t.Context(), key, bucket.NewBody(object)); err != nil {
			t.Fatal(err)
		}
	}
	return New(inner, 1), inner
}

// TestFaults lists for each fault what each operation returns, and whether a Create was applied.
func TestFaults(t *testing.T) {
	unknown, away := bucket.ErrUnknown, bucket.ErrUnavailable
	for _, c := range []struct {
		fault                            Fault
		create, read, stat, list, delete error
		applied                          bool
	}{
		{None, nil, nil, nil, nil, nil, true},
		{Busy, unknown, away, away, away, away, false},
		{Refused, away, away, away, away, away, false},
		{Reset, unknown, away, away, away, away, false},
		{Hang, unknown, away, away, away, away, false},
		{Denied, bucket.ErrDenied, bucket.ErrDenied, bucket.ErrDenied, bucket.ErrDenied, bucket.ErrDenied, false},
		{Lost, unknown, away, away, away, away, true},
		{Delayed, unknown, away, away, away, away, false},
		{Slow, nil, nil, nil, nil, nil, true},
		{Broken, nil, away, nil, away, nil, true},
		{Truncate, nil, bucket.ErrShort, nil, nil, nil, true},
		{Missing, nil, bucket.ErrNotFound, bucket.ErrNotFound, nil, nil, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, inner := scene(t)
			b.Away(c.fault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			check := func(op string, err, wanted error) {
				t.Helper()
				if !errors.Is(err, wanted) {
					t.Errorf("fault %d, %s: %v, want %v", c.fault, op, err, wanted)
				}
			}
			check("create", b.Create(ctx, "new", bucket.NewBody(object)), c.create)
			_, err := inner.Stat(t.Context(), "new")
			if applied := err == nil; applied != c.applied {
				t.Errorf("fault %d: applied: %v", c.fault, applied)
			}
			check("read", b.ReadAt(ctx, "old", make([]byte, 50), 0), c.read)
			_, err = b.Stat(ctx, "old")
			check("stat", err, c.stat)
			var last error
			for _, err := range b.List(ctx, "", "") {
				last = err
			}
			check("list", last, c.list)
			check("delete", b.Delete(ctx, "old"), c.delete)
			if c.fault == Hang && ctx.Err() == nil {
				t.Error("a hanging call came back before its context ended")
			}
		})
	}
}

func TestFlip(t *testing.T) {
	b, _ := scene(t)
	b.Script(bucket.OpReadAt, Flip)
	p := make([]byte, len(object))
	if err := b.ReadAt(t.Context(), "old", p, 0); err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range p {
		if p[i] != object[i] {
			changed++
		}
	}
	if changed != 1 {
		t.Fatalf("%d bytes changed, want one", changed)
	}
}

// TestPlanOrder: number comes before script, and script before chance. Heal ends all of them.
func TestPlanOrder(t *testing.T) {
	b, _ := scene(t)
	b.Chance(bucket.OpStat, Missing, 1)
	b.Script(bucket.OpStat, None, Denied)
	b.FailAt(bucket.OpStat, 2, Busy)
	for i, wanted := range []error{nil, bucket.ErrUnavailable, bucket.ErrDenied, bucket.ErrNotFound} {
		if _, err := b.Stat(t.Context(), "old"); !errors.Is(err, wanted) {
			t.Fatalf("call %d: %v, want %v", i+1, err, wanted)
		}
	}
	b.Heal()
	if _, err := b.Stat(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	if got := b.Calls(bucket.OpStat); got != 5 {
		t.Fatalf("%d calls counted", got)
	}
}

// TestDelayed: a late Create finds the key free, or taken. Its bytes are those of the call.
func TestDelayed(t *testing.T) {
	b, inner := scene(t)
	b.Script(bucket.OpCreate, Delayed, Delayed)
	part := bytes.Clone(object)
	for _, key := range []string{"late", "taken"} {
		if err := b.Create(t.Context(), key, bucket.NewBody(part)); !errors.Is(err, bucket.ErrUnknown) {
			t.Fatal(err)
		}
	}
	clear(part)
	if err := b.Create(t.Context(), "taken", bucket.NewBody([]byte("first"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, wanted := range map[string][]byte{"late": object, "taken": []byte("first")} {
		if got, err := bucket.ReadAll(t.Context(), inner, key, 1000); err != nil || !bytes.Equal(got, wanted) {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if len(b.Delayed()) > 0 {
		t.Error("released objects are still delayed")
	}
}

// TestChanceIsSeeded: the same seed fails the same calls.
func TestChanceIsSeeded(t *testing.T) {
	run := func(seed uint64) (failed []int) {
		b := New(mem.New(), seed)
		b.Chance(bucket.OpDelete, Busy, 0.3)
		for i := range 200 {
			if b.Delete(t.Context(), "x") != nil {
				failed = append(failed, i)
			}
		}
		return failed
	}
	a, again, other := run(7), run(7), run(8)
	if len(a) < 30 || len(a) > 90 {
		t.Errorf("%d of 200 calls failed at a chance of 0.3", len(a))
	}
	if len(a) != len(again) || a[0] != again[0] || len(a) == len(other) && a[len(a)-1] == other[len(other)-1] {
		t.Errorf("seeds: %v\n%v\n%v", a, again, other)
	}
}
