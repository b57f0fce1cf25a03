package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestPauses: pauses double up to the last one, each within its jitter, and tell which failures are
// worth a line in the log.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pauses{First: 50 * time.Millisecond, Last: 300 * time.Millisecond}
		var notable []int
		for _, length := range []time.Duration{50, 100, 200, 300, 300} {
			length *= time.Millisecond
			if p.Notable() {
				notable = append(notable, p.Attempt())
			}
			began := time.Now()
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < length/2 || took >= length*3/2 {
				t.Errorf("a pause of %v, want %v, half of it more or less", took, length)
			}
		}
		if !slices.Equal(notable, []int{1, 4, 5}) {
			t.Errorf("attempts %v are notable, want 1, 4, 5", notable)
		}
	})
}

// TestEnds: a pause ends with the context, and says so.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		p := Pauses{First: time.Hour, Last: time.Hour}
		if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
