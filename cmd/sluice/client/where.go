package client

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// whereHelp is the offset grammar, for every help text of a command that uses it.
const whereHelp = `Where (one grammar for --offset and --to):
  start    the oldest record that is kept
  end      after the newest record
  N        offset N, as in 1500
  +N       N after the start, as in +100
  -N       N before the end, as in -10: the last ten
  @TIME    the first record of TIME or later: RFC 3339 (@2026-03-01T08:00:00Z)
           or milliseconds since 1970 (@1772352000000)
  @-AGE    the same, AGE ago: @-30s, @-15m, @-1h, @-7d, @-1h30m
Every partition is looked at by itself. N and +N outside of what is kept are
moved to the start or the end, and that is told; -N reaches back as far as it can.`

type whereKind int

const (
	atStart   whereKind = iota // "start"
	atEnd                      // "end"
	absolute                   // "N"
	fromStart                  // "+N"
	fromEnd                    // "-N"
	atTime                     // "@TIME", n is in ms since 1970
	ago                        // "@-AGE", n is in ms
)

// where is a place in a partition's log, by the offset grammar.
type where struct {
	kind whereKind
	n    int64 // never negative
}

var errWhere = errors.New("want start, end, N, +N, -N, @TIME or @-AGE, such as 1500, -10, @2026-03-01T08:00:00Z or @-1h")

var errAge = errors.New("no age: want a number with d, h, m, s or ms, as @-7d, @-1h30m or @-500ms")

// otherWords are the names of our places in other tools.
var otherWords = map[string]string{"beginning": "start", "earliest": "start", "oldest": "start", "latest": "end", "newest": "end"}

// parseWhere reads the offset grammar. It does not use a clock: what is relative stays relative.
func parseWhere(s string) (where, error) {
	switch {
	case s == "start":
		return where{kind: atStart}, nil
	case s == "end":
		return where{kind: atEnd}, nil
	case otherWords[s] != "":
		return where{}, fmt.Errorf("say %s", otherWords[s])
	case strings.HasPrefix(s, "@-"):
		age, err := parseAge(s[2:])
		return where{ago, age}, err
	case strings.HasPrefix(s, "@"):
		ms, err := parseTime(s[1:])
		return where{atTime, ms}, err
	case strings.HasPrefix(s, "+"):
		n, err := parseCount(s[1:])
		return where{fromStart, n}, err
	case strings.HasPrefix(s, "-"):
		n, err := parseCount(s[1:])
		return where{fromEnd, n}, err
	}
	n, err := parseCount(s)
	return where{absolute, n}, err
}

// parseCount accepts digits only: no second sign, no underscores, no blanks.
func parseCount(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, errWhere
	}
	return int64(n), nil
}

func parseTime(s string) (int64, error) {
	if ms, err := parseCount(s); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, errors.New("no time: want RFC 3339 with its zone, as @2026-03-01T08:00:00Z, milliseconds since 1970, or an age as @-1h")
	}
	if t.UnixMilli() < 0 {
		return 0, errors.New("it lies before 1970")
	}
	return t.UnixMilli(), nil
}

const day = 24 * time.Hour

// parseAge reads a duration as Go writes it, with whole days before it: 7d, 1d12h, 90m.
func parseAge(s string) (int64, error) {
	var days uint64
	rest := s
	if head, tail, ok := strings.Cut(s, "d"); ok {
		var err error
		if days, err = strconv.ParseUint(head, 10, 16); err != nil {
			return 0, errAge
		}
		rest = tail
	}
	age := time.Duration(days) * day // 65,535 days fit
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.ContainsAny(rest, "+-") || d > math.MaxInt64-age {
			return 0, errAge
		}
		age += d
	} else if s == "" {
		return 0, errAge
	}
	return age.Milliseconds(), nil
}

// String returns a text that parses to the same place.
func (w where) String() string {
	switch w.kind {
	case atStart:
		return "start"
	case atEnd:
		return "end"
	case fromStart:
		return fmt.Sprintf("+%d", w.n)
	case fromEnd:
		return fmt.Sprintf("-%d", w.n)
	case atTime:
		return fmt.Sprintf("@%d", w.n)
	case ago:
		return fmt.Sprintf("@-%v", time.Duration(w.n)*time.Millisecond)
	}
	return strconv.FormatInt(w.n, 10)
}

// byTime reports whether the cluster must be asked by time, and for which time, in ms since 1970.
func (w where) byTime(now time.Time) (ms int64, ok bool) {
	switch w.kind {
	case atTime:
		return w.n, true
	case ago:
		return max(now.UnixMilli()-w.n, 0), true
	}
	return 0, false
}

// span is what a partition keeps: from start up to end, without end.
type span struct{ start, end int64 }

// pick returns the offset that a place means in a partition. byTime is what the cluster answered
// for the place's time; it is not used for other places. The note tells a person what they should
// know about the choice.
func (w where) pick(s span, byTime int64) (offset int64, note string) {
	switch w.kind {
	case atStart:
		return s.start, ""
	case atEnd:
		return s.end, ""
	case fromStart:
		if w.n > s.end-s.start {
			return s.end, "past the end"
		}
		return s.start + w.n, ""
	case fromEnd:
		return s.end - min(w.n, s.end-s.start), "" // the last ten of three are three
	case atTime, ago:
		return s.clamp(byTime)
	}
	return s.clamp(w.n)
}

func (s span) clamp(offset int64) (int64, string) {
	switch {
	case offset < s.start:
		return s.start, "before the start"
	case offset > s.end:
		return s.end, "past the end"
	}
	return offset, ""
}

// shift moves an offset by a signed count and stays within what is kept.
func (s span) shift(offset, by int64) (int64, string) {
	offset, _ = s.clamp(offset)
	switch {
	case by < 0 && by < s.start-offset:
		return s.start, "before the start"
	case by > 0 && by > s.end-offset:
		return s.end, "past the end"
	}
	return offset + by, ""
}
