package storage

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicemq/sluice/ident"
)

// Over a week of a busy partition, the time of an offset is never too late. It is within a second
// of the truth while it is recent, and within a third of its age however old it is.
func TestTimelineOfAWeek(t *testing.T) {
	var line timeline
	rng := rand.New(rand.NewPCG(1, 1))
	var became []time.Duration // by offset
	now := time.Duration(0)
	for now < 7*24*time.Hour {
		now += time.Duration(rng.Int64N(int64(4 * time.Second)))
		line.note(ident.Offset(len(became)), now, 0)
		became = append(became, now)
	}
	if len(line.samples) > timelineSamples || cap(line.samples) > 2*timelineSamples {
		t.Errorf("%d samples in room for %d", len(line.samples), cap(line.samples))
	}
	worst := 0.0
	for offset, at := range became {
		got, ok := line.at(ident.Offset(offset))
		if !ok || got > at {
			t.Fatalf("offset %d became durable at %v, the timeline says %v, %t", offset, at, got, ok)
		}
		if age := now - at; age > 10*time.Second {
			worst = max(worst, float64(at-got)/float64(age))
		} else if at-got > 5*time.Second {
			t.Errorf("offset %d is %v old and said to be %v", offset, age, now-got)
		}
	}
	t.Logf("%d offsets, %d samples, ages at most %.0f %% too high", len(became), len(line.samples), 100*worst)
	if worst > 0.34 {
		t.Errorf("an age is %.0f %% too high", 100*worst)
	}
}

// In a partition that was idle, the first record after the pause has its own time. Deleted records
// need no samples.
func TestTimelineAfterAPause(t *testing.T) {
	var line timeline
	if _, ok := line.at(5); ok {
		t.Error("an empty timeline knows a time")
	}
	line.note(10, time.Second, 0)
	line.note(11, 1500*time.Millisecond, 0) // too soon for a sample of its own
	line.note(12, time.Hour, 0)
	for offset, want := range map[ident.Offset]time.Duration{10: time.Second, 11: time.Second, 12: time.Hour, 99: time.Hour} {
		if got, ok := line.at(offset); !ok || got != want {
			t.Errorf("offset %d at %v (%t), want %v", offset, got, ok, want)
		}
	}
	if _, ok := line.at(9); ok {
		t.Error("an offset before the first sample has a time")
	}
	for i := range timelineSamples {
		line.note(ident.Offset(20+i), time.Hour+time.Duration(i+1)*timelineStep, 20)
	}
	if line.samples[0].offset != 20 {
		t.Errorf("the first sample is of offset %d, although log start is 20", line.samples[0].offset)
	}
}
