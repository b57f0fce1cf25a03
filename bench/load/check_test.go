package load

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// value is a record as producer 0 sends it to partition 0.
func value(sequence int64) []byte {
	v := newValue(make([]byte, 52), 7, 0)
	setTimes(v, 1, 2)
	setPlace(v, 0, sequence)
	return v
}

// observed passes sequences to a checker, as if end of them had been sent.
func observed(end int64, failed map[int64]bool, sequences ...int64) faults {
	c := newChecker(7, 1)
	for _, n := range sequences {
		c.partitions[0].observeLocked(7, 0, value(n))
	}
	return c.total(func(int, int) written { return written{end, failed} }, 1)
}

func TestCheckerFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		end       int64
		failed    map[int64]bool
		sequences []int64
		want      faults
	}{
		"all well":                        {3, nil, []int64{0, 1, 2}, faults{Received: 3}},
		"nothing sent":                    {0, nil, nil, faults{}},
		"all lost":                        {3, nil, nil, faults{Lost: 3}},
		"first lost":                      {3, nil, []int64{1, 2}, faults{Received: 2, Lost: 1}},
		"middle lost":                     {5, nil, []int64{0, 1, 4}, faults{Received: 3, Lost: 2}},
		"last lost":                       {3, nil, []int64{0, 1}, faults{Received: 2, Lost: 1}},
		"the same again":                  {2, nil, []int64{0, 1, 1}, faults{Received: 2, Duplicates: 1}},
		"an old one again":                {3, nil, []int64{0, 1, 2, 0}, faults{Received: 3, Duplicates: 1}},
		"all again":                       {2, nil, []int64{0, 1, 0, 1}, faults{Received: 2, Duplicates: 2}},
		"two changed places":              {3, nil, []int64{0, 2, 1}, faults{Received: 3, Reordered: 1}},
		"late out of a gap":               {6, nil, []int64{0, 5, 3, 1}, faults{Received: 4, Reordered: 2, Lost: 2}},
		"late, and again":                 {3, nil, []int64{0, 2, 1, 1}, faults{Received: 3, Reordered: 1, Duplicates: 1}},
		"not acknowledged, not there":     {3, map[int64]bool{1: true}, []int64{0, 2}, faults{Received: 2}},
		"not acknowledged, but there":     {3, map[int64]bool{1: true}, []int64{0, 1, 2}, faults{Received: 3}},
		"last not acknowledged nor there": {3, map[int64]bool{2: true}, []int64{0, 1}, faults{Received: 2}},
	} {
		if got := observed(c.end, c.failed, c.sequences...); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestCheckerCountsAsASetDoes compares the checker, for random deliveries, with a count that
// remembers everything.
func TestCheckerCountsAsASetDoes(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var delivered []int64
		for n := range int64(100) {
			switch rng.IntN(10) {
			case 0: // the record is lost
			case 1:
				delivered = append(delivered, n, n)
			default:
				delivered = append(delivered, n)
			}
		}
		for range rng.IntN(20) {
			i := rng.IntN(len(delivered) - 1)
			delivered[i], delivered[i+1] = delivered[i+1], delivered[i]
		}
		var want faults
		seen, high := map[int64]bool{}, int64(-1)
		for _, n := range delivered {
			switch {
			case seen[n]:
				want.Duplicates++
				continue
			case n < high:
				want.Reordered++
			}
			seen[n], high = true, max(high, n)
			want.Received++
		}
		want.Lost = 100 - want.Received
		if got := observed(100, nil, delivered...); got != want {
			t.Fatalf("seed %d: %+v, want %+v (%v)", seed, got, want, delivered)
		}
	}
}

func TestCheckerFindsDamage(t *testing.T) {
	c := newChecker(7, 2)
	whole := value(0)
	for i := range whole {
		v := slices.Clone(whole)
		v[i] ^= 1
		c.partitions[0].observeLocked(7, 0, v)
	}
	// In another partition than the one to which it was sent.
	c.partitions[1].observeLocked(7, 1, whole)
	c.partitions[0].observeLocked(7, 0, whole[:20])
	got := c.total(func(int, int) written { return written{} }, 1)
	if want := (faults{Damaged: int64(len(whole)) + 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestCheckerLeavesOtherRunsAlone(t *testing.T) {
	c := newChecker(8, 1)
	c.partitions[0].observeLocked(8, 0, value(0))
	if got := c.total(func(int, int) written { return written{} }, 1); got != (faults{Foreign: 1}) {
		t.Errorf("%+v", got)
	}
	any := newChecker(0, 1)
	for _, n := range []int64{5, 6, 8} { // the records before 5 do not exist any more
		any.partitions[0].observeLocked(0, 0, value(n))
	}
	if got := any.gaps(); got != (faults{Received: 3, Lost: 1}) {
		t.Errorf("%+v", got)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, size := range []int{100, 1024} {
		v := newValue(make([]byte, size-EnvelopeBytes), 7, 0)
		c := newChecker(7, 1)
		b.Run(map[int]string{100: "100B", 1024: "1KiB"}[size], func(b *testing.B) {
			var n int64
			c.partitions[0].streams = nil
			c.partitions[0].last = nil
			for b.Loop() {
				setPlace(v, 0, n)
				c.partitions[0].observeLocked(7, 0, v)
				n++
			}
		})
	}
}
