package client

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseWhere(t *testing.T) {
	const hour = int64(3600_000)
	for _, c := range []struct {
		text string
		want where
		fail string // a part of the error
	}{
		{text: "start", want: where{atStart, 0}},
		{text: "end", want: where{atEnd, 0}},
		{text: "0", want: where{absolute, 0}},
		{text: "1500", want: where{absolute, 1500}},
		{text: "9223372036854775807", want: where{absolute, math.MaxInt64}},
		{text: "+100", want: where{fromStart, 100}},
		{text: "+0", want: where{fromStart, 0}},
		{text: "-10", want: where{fromEnd, 10}},
		{text: "@0", want: where{atTime, 0}},
		{text: "@1772352000000", want: where{atTime, 1772352000000}},
		{text: "@2026-03-01T08:00:00Z", want: where{atTime, 1772352000000}},
		{text: "@2026-03-01T09:00:00+01:00", want: where{atTime, 1772352000000}},
		{text: "@2026-03-01T08:00:00.250Z", want: where{atTime, 1772352000250}},
		{text: "@-1h", want: where{ago, hour}},
		{text: "@-7d", want: where{ago, 7 * 24 * hour}},
		{text: "@-1d12h", want: where{ago, 36 * hour}},
		{text: "@-500ms", want: where{ago, 500}},
		{text: "@-0s", want: where{ago, 0}},

		{text: "", fail: "want start, end"},
		{text: "Start", fail: "want start, end"},
		{text: "earliest", fail: "say start"},
		{text: "latest", fail: "say end"},
		{text: "9223372036854775808", fail: "want start, end"},
		{text: "--1", fail: "want start, end"},
		{text: "+-1", fail: "want start, end"},
		{text: "1_000", fail: "want start, end"},
		{text: " 1", fail: "want start, end"},
		{text: "1.5", fail: "want start, end"},
		{text: "@", fail: "no time"},
		{text: "@2026-03-01", fail: "no time"},
		{text: "@1950-03-01T08:00:00Z", fail: "before 1970"},
		{text: "@+1h", fail: "no time"},
		{text: "@-", fail: "no age"},
		{text: "@-1", fail: "no age"},
		{text: "@--1h", fail: "no age"},
		{text: "@-1d-12h", fail: "no age"},
		{text: "@-99999d", fail: "no age"},
		{text: "@-65535d2500000h", fail: "no age"},
	} {
		got, err := parseWhere(c.text)
		switch {
		case c.fail == "" && (err != nil || got != c.want):
			t.Errorf("%q: %v, %v; want %v", c.text, got, err, c.want)
		case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
			t.Errorf("%q: %v, %v; want an error with %q", c.text, got, err, c.fail)
		}
	}
}

func TestPick(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s := span{start: 100, end: 200}
	for _, c := range []struct {
		text   string
		byTime int64 // what the cluster answers
		want   int64
		note   string
	}{
		{text: "start", want: 100},
		{text: "end", want: 200},
		{text: "150", want: 150},
		{text: "100", want: 100},
		{text: "200", want: 200},
		{text: "99", want: 100, note: "before the start"},
		{text: "201", want: 200, note: "past the end"},
		{text: "+0", want: 100},
		{text: "+30", want: 130},
		{text: "+100", want: 200},
		{text: "+101", want: 200, note: "past the end"},
		{text: "+9223372036854775807", want: 200, note: "past the end"},
		{text: "-0", want: 200},
		{text: "-30", want: 170},
		{text: "-100", want: 100},
		{text: "-101", want: 100},
		{text: "-9223372036854775807", want: 100},
		{text: "@5", byTime: 120, want: 120},
		{text: "@-1m", byTime: 200, want: 200},
	} {
		w, err := parseWhere(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got, note := w.pick(s, c.byTime); got != c.want || note != c.note {
			t.Errorf("%s in %v: %d %q, want %d %q", c.text, s, got, note, c.want, c.note)
		}
	}
	if ms, ok := (where{ago, 400_000}).byTime(now); !ok || ms != 600_000 {
		t.Errorf("an age is taken from now: %d %v", ms, ok)
	}
	if ms, ok := (where{ago, 4_000_000}).byTime(now); !ok || ms != 0 {
		t.Errorf("an age does not reach before 1970: %d %v", ms, ok)
	}
	if _, ok := (where{kind: absolute, n: 3}).byTime(now); ok {
		t.Error("an offset is no time")
	}
}

func TestShift(t *testing.T) {
	s := span{start: 100, end: 200}
	for _, c := range []struct {
		from, by, want int64
		note           string
	}{
		{150, 10, 160, ""},
		{150, -10, 140, ""},
		{150, 50, 200, ""},
		{150, 51, 200, "past the end"},
		{150, -51, 100, "before the start"},
		{20, 5, 105, ""}, // counted from what is kept
		{900, -5, 195, ""},
		{150, math.MaxInt64, 200, "past the end"},
		{150, math.MinInt64, 100, "before the start"},
	} {
		if got, note := s.shift(c.from, c.by); got != c.want || note != c.note {
			t.Errorf("%d by %d: %d %q, want %d %q", c.from, c.by, got, note, c.want, c.note)
		}
	}
}

// FuzzWhere: parsing never panics, the text of a parsed place parses to the same place, and a
// picked offset lies within what is kept.
func FuzzWhere(f *testing.F) {
	for _, s := range []string{"start", "end", "7", "+7", "-7", "@7", "@2026-03-01T08:00:00Z", "@-1h", "@-7d1s", "@-", "x"} {
		f.Add(s, int64(5), int64(10))
	}
	f.Fuzz(func(t *testing.T, text string, start, count int64) {
		w, err := parseWhere(text)
		if err != nil {
			return
		}
		if again, err := parseWhere(w.String()); err != nil || again != w {
			t.Fatalf("%q is %v, told as %q, which is %v, %v", text, w, w.String(), again, err)
		}
		s := span{start: max(start, 0)}
		if s.end = s.start + max(count, 0); s.end < s.start {
			return
		}
		if got, _ := w.pick(s, start); got < s.start || got > s.end {
			t.Fatalf("%q in %v is %d", text, s, got)
		}
	})
}
