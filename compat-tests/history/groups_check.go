package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// The kinds of anomaly of groups.
const (
	// OffsetBack: OffsetFetch answers a commit that was replaced by a later one, which was
	// acknowledged or shown (I13).
	OffsetBack   = "offset-back"
	OffsetMadeUp = "offset-made-up" // OffsetFetch answers what nobody has committed
	// A member's commit was accepted below what another's had reached.
	Lowered = "lowered"
	// Zombie: a commit was accepted, or an assignment given, in a generation that was over.
	Zombie    = "zombie"
	Skipped   = "skipped"    // committed beyond a record that no member was given
	TwoOwners = "two-owners" // a partition was given to two members in one generation
	TwoPlans  = "two-plans"  // a member was given two assignments in one generation
)

// GroupAnomaly is something that no correct coordinator explains.
type GroupAnomaly struct {
	Kind string
	Slot Slot // its partition is empty if the whole group is meant
	Text string
	At   time.Duration
}

func (a GroupAnomaly) String() string { return fmt.Sprintf("%s: %s: %s", a.Slot, a.Kind, a.Text) }

// generation names one generation of a group.
type generation struct {
	group  string
	number int32
}

type groupChecker struct {
	found   []GroupAnomaly
	perKind map[string]int
}

func (c *groupChecker) bad(slot Slot, at time.Duration, kind, format string, args ...any) {
	key := kind + " " + slot.String()
	c.perKind[key]++
	switch n := c.perKind[key]; {
	case n <= perKindMax:
		c.found = append(c.found, GroupAnomaly{kind, slot, fmt.Sprintf(format, args...), at})
	case n == perKindMax+1:
		c.found = append(c.found, GroupAnomaly{kind, slot, "and more of the same", at})
	}
}

// slotHistory is the part of the history about one slot.
type slotHistory struct {
	slot       Slot
	commits    []Commit // copies, since completeShown changes them
	answers    []Answer
	deliveries []Delivery
}

// Check judges the history.
func (g *Groups) Check() []GroupAnomaly {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &groupChecker{perKind: make(map[string]int)}
	for _, s := range g.bySlot() {
		c.register(s)
		c.lowered(s)
		c.skipped(s)
	}
	c.owners(g.assignments)
	c.generations(g.commits, g.assignments)
	return c.found
}

// bySlot sorts the history by slot. Refused commits write nothing and are left out.
func (g *Groups) bySlot() []*slotHistory {
	slots := make(map[Slot]*slotHistory)
	var order []*slotHistory
	of := func(s Slot) *slotHistory {
		if slots[s] == nil {
			slots[s] = &slotHistory{slot: s}
			order = append(order, slots[s])
		}
		return slots[s]
	}
	for _, c := range g.commits {
		if s := of(c.Slot); c.Outcome != Fail {
			s.commits = append(s.commits, *c)
		}
	}
	for _, a := range g.answers {
		of(a.Slot).answers = append(of(a.Slot).answers, a)
	}
	for _, d := range g.deliveries {
		of(d.Slot).deliveries = append(of(d.Slot).deliveries, d)
	}
	return order
}

// never is what a slot holds before its first commit.
var never = Position{Offset: -1}

// register treats a slot as one register. An answer must give what some commit wrote. That commit
// must have begun before the answer, and no other commit may have replaced it for certain before
// the question: one that began after that commit had ended, and that had ended itself.
func (c *groupChecker) register(s *slotHistory) {
	writes := map[Position][]*Commit{never: {{Slot: s.slot, Position: never, Outcome: OK, Invoke: -1, Complete: -1}}}
	for i := range s.commits {
		w := &s.commits[i]
		writes[w.Position] = append(writes[w.Position], w)
	}
	s.completeShown(writes)
	replaced := replacements(s.commits)
	for _, a := range s.answers {
		c.answer(s, a, writes[a.Position], replaced)
	}
}

// completeShown uses that a commit which an answer showed had taken effect before. That ends the
// doubt about the commit, if it is the only one that may have written what was shown.
func (s *slotHistory) completeShown(writes map[Position][]*Commit) {
	for _, a := range s.answers {
		var only *Commit
		count := 0
		for _, w := range writes[a.Position] {
			if w.Invoke < a.Complete {
				only = w
				count++
			}
		}
		if count == 1 {
			only.Complete = min(only.Complete, a.Complete)
			only.Outcome = OK
		}
	}
}

// replacement says that by a given time a commit had ended that began at a given time, and that no
// commit that began later had ended by then.
type replacement struct {
	by, began time.Duration
	commit    Commit
}

// replacements lists them in the order of time. A commit in doubt does not replace anything for
// certain.
func replacements(commits []Commit) []replacement {
	var ended []Commit
	for _, w := range commits {
		if w.Outcome == OK {
			ended = append(ended, w)
		}
	}
	slices.SortFunc(ended, func(a, b Commit) int { return cmp.Compare(a.Complete, b.Complete) })
	var list []replacement
	began := time.Duration(math.MinInt64)
	for _, w := range ended {
		if w.Invoke > began {
			began = w.Invoke
			list = append(list, replacement{w.Complete, began, w})
		}
	}
	return list
}

func (c *groupChecker) answer(s *slotHistory, a Answer, candidates []*Commit, replaced []replacement) {
	i := sort.Search(len(replaced), func(i int) bool { return replaced[i].by >= a.Invoke })
	begun := false
	for _, w := range candidates {
		if w.Invoke >= a.Complete {
			continue
		}
		begun = true
		if i == 0 || w.Complete >= replaced[i-1].began {
			return // not replaced for certain
		}
	}
	if !begun {
		c.bad(s.slot, a.Complete, OffsetMadeUp, "%s was answered in [%v,%v], and nobody had committed it", a.Position, a.Invoke, a.Complete)
		return
	}
	by := replaced[i-1].commit
	c.bad(s.slot, a.Complete, OffsetBack, "%s was answered in [%v,%v], after %s of %s was committed in [%v,%v]",
		a.Position, a.Invoke, a.Complete, by.Position, by.Member, by.Invoke, by.Complete)
}

// lowered checks that a member that takes over a partition continues from what was committed. The
// commits of one member may overtake each other on their way, which is the member's own
// responsibility.
func (c *groupChecker) lowered(s *slotHistory) {
	acked := slices.DeleteFunc(slices.Clone(s.commits), func(w Commit) bool { return w.Outcome != OK })
	slices.SortFunc(acked, func(a, b Commit) int { return cmp.Compare(a.Complete, b.Complete) })
	byInvoke := slices.Clone(acked)
	slices.SortFunc(byInvoke, func(a, b Commit) int { return cmp.Compare(a.Invoke, b.Invoke) })
	highest := make(map[string]Commit) // by member, of the commits that ended before
	next := 0
	for _, w := range byInvoke {
		for ; next < len(acked) && acked[next].Complete < w.Invoke; next++ {
			done := acked[next]
			if done.OnPurpose {
				clear(highest)
			}
			if done.Position.Offset >= highest[done.Member].Position.Offset {
				highest[done.Member] = done
			}
		}
		for member, high := range highest {
			if !w.OnPurpose && member != w.Member && w.Position.Offset < high.Position.Offset {
				c.bad(s.slot, w.Invoke, Lowered, "%s of %s (generation %d) in [%v,%v] was accepted after %s of %s (generation %d) in [%v,%v]",
					w.Position, w.Member, w.Generation, w.Invoke, w.Complete, high.Position, member, high.Generation, high.Invoke, high.Complete)
			}
		}
	}
}

// skipped checks that when an offset is committed, every record below it had been given to some
// member.
func (c *groupChecker) skipped(s *slotHistory) {
	slices.SortStableFunc(s.deliveries, func(a, b Delivery) int { return cmp.Compare(a.Complete, b.Complete) })
	commits := slices.DeleteFunc(slices.Clone(s.commits), func(w Commit) bool { return w.Outcome != OK || w.OnPurpose })
	slices.SortFunc(commits, func(a, b Commit) int { return cmp.Compare(a.Invoke, b.Invoke) })
	given := ranges{}
	next := 0
	for _, w := range commits {
		for ; next < len(s.deliveries) && s.deliveries[next].Complete <= w.Invoke; next++ {
			given.add(s.deliveries[next].First, s.deliveries[next].Last)
		}
		if w.Position.Offset > given.whole {
			c.bad(s.slot, w.Invoke, Skipped, "%s of %s (generation %d) was committed at %v, and nobody had been given the record at %d",
				w.Position, w.Member, w.Generation, w.Invoke, given.whole)
		}
	}
}

// ranges is a set of offsets: all below whole, and some runs above it.
type ranges struct {
	whole int64
	runs  map[int64]int64 // first → last
}

func (r *ranges) add(first, last int64) {
	if r.runs == nil {
		r.runs = make(map[int64]int64)
	}
	if first > r.whole {
		r.runs[first] = max(r.runs[first], last)
		return
	}
	r.whole = max(r.whole, last+1)
	for grown := true; grown; {
		grown = false
		for first, last := range r.runs {
			if first <= r.whole {
				r.whole = max(r.whole, last+1)
				delete(r.runs, first)
				grown = true
			}
		}
	}
}

// owners checks that in one generation a partition has one owner, and a member one assignment.
func (c *groupChecker) owners(assignments []Assignment) {
	type place struct {
		generation
		partition Partition
	}
	type seat struct {
		generation
		owner string
	}
	owner := make(map[place]string)
	plan := make(map[seat][]Partition)
	for _, a := range assignments {
		g := generation{a.Group, a.Generation}
		parts := slices.Clone(a.Partitions)
		slices.SortFunc(parts, func(a, b Partition) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
		})
		if old, ok := plan[seat{g, a.Owner}]; ok && !slices.Equal(old, parts) {
			c.bad(Slot{Group: a.Group}, a.Complete, TwoPlans, "generation %d: %s was given %v, and then %v", a.Generation, a.Owner, old, parts)
		}
		plan[seat{g, a.Owner}] = parts
		for _, p := range parts {
			if other, ok := owner[place{g, p}]; ok && other != a.Owner {
				c.bad(Slot{a.Group, p}, a.Complete, TwoOwners, "generation %d: given to %s and to %s", a.Generation, other, a.Owner)
			}
			owner[place{g, p}] = a.Owner
		}
	}
}

// generations checks that once a later generation has shown an assignment or accepted a commit, no
// earlier one does. That holds across restarts too, since an assignment is durable before it is
// shown.
func (c *groupChecker) generations(commits []*Commit, assignments []Assignment) {
	groups := make(map[string][]event)
	for _, a := range assignments {
		groups[a.Group] = append(groups[a.Group], event{int64(a.Generation), a.Invoke, a.Complete,
			fmt.Sprintf("an assignment of generation %d given to %s in [%v,%v]", a.Generation, a.Owner, a.Invoke, a.Complete)})
	}
	for _, w := range commits {
		if w.Outcome == OK && w.Generation >= 0 {
			groups[w.Slot.Group] = append(groups[w.Slot.Group], event{int64(w.Generation), w.Invoke, w.Complete,
				fmt.Sprintf("a commit in generation %d accepted from %s in [%v,%v]", w.Generation, w.Member, w.Invoke, w.Complete)})
		}
	}
	for group, events := range groups {
		backwards(events, func(low, high event) {
			c.bad(Slot{Group: group}, low.complete, Zombie, "%s, after: %s", low.text, high.text)
		})
	}
}
