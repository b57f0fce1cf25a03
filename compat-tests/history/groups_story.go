package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Story returns what was recorded about a slot between two moments, in order, for people who look
// for the cause of an anomaly. Answers that repeat the last one are left out.
func (g *Groups) Story(slot Slot, from, to time.Duration) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	type line struct {
		at   time.Duration
		text string
	}
	var lines []line
	add := func(at time.Duration, format string, args ...any) {
		if from <= at && at <= to {
			lines = append(lines, line{at, fmt.Sprintf(format, args...)})
		}
	}
	for _, c := range g.commits {
		if c.Slot == slot {
			outcome := [...]string{"in doubt", "acknowledged", fmt.Sprintf("refused (%d)", c.Code)}[c.Outcome]
			if c.Outcome == Indefinite && c.Complete == math.MaxInt64 {
				outcome = "lost"
			}
			add(c.Invoke, "commit %s by %s, generation %d: %s at %v", c.Position, c.Member, c.Generation, outcome, c.Complete)
		}
	}
	for _, d := range g.deliveries {
		if d.Slot == slot {
			add(d.Complete, "given [%d,%d]", d.First, d.Last)
		}
	}
	for _, a := range g.assignments {
		if a.Group == slot.Group && slices.Contains(a.Partitions, slot.Partition) {
			add(a.Complete, "assigned to %s in generation %d", a.Owner, a.Generation)
		}
	}
	answers := slices.Clone(g.answers)
	slices.SortFunc(answers, func(a, b Answer) int { return cmp.Compare(a.Complete, b.Complete) })
	last := Position{Offset: -2}
	for _, a := range answers {
		if a.Slot == slot && a.Position != last {
			add(a.Complete, "answer %s, asked at %v", a.Position, a.Invoke)
			last = a.Position
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var story []string
	for _, l := range lines {
		story = append(story, fmt.Sprintf("%v: %s", l.at, l.text))
	}
	return story
}
