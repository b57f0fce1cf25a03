package load

import "testing"

// Records are due at begin + n·interval, no two producers at the same time, and never drift.
func TestPaceIsExact(t *testing.T) {
	p := &pace{begin: 1000, interval: 4e9 / 30_000} // 30,000 a second from 4 producers
	var all int64
	for i := range 4 {
		all += p.due(i, 4, p.begin+1e9-1)
	}
	if all != 30_000 {
		t.Errorf("%d due within a second, want 30,000", all)
	}
	for _, k := range []int64{0, 1, 17, 1e6, 1e9} {
		at := p.intended(2, 4, k)
		if before, then := p.due(2, 4, at-2), p.due(2, 4, at+2); before != k || then != k+1 {
			t.Errorf("record %d is due at %d, but %d are just before and %d just after", k, at, before, then)
		}
	}
	if want := p.begin + int64(p.interval*(0.25+1e9)); p.intended(1, 4, 1e9) != want {
		t.Errorf("the billionth is due at %d, want %d", p.intended(1, 4, 1e9), want)
	}
	if p.due(3, 4, p.begin) != 0 || p.due(0, 4, p.begin) != 1 {
		t.Error("producers do not take turns")
	}
}
