package history

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Slot is what a group has committed for one partition.
type Slot struct {
	Group     string
	Partition Partition
}

func (s Slot) String() string {
	if s.Partition == (Partition{}) {
		return "group " + s.Group
	}
	return fmt.Sprintf("group %s, %s", s.Group, s.Partition)
}

// Position is what a commit writes and an OffsetFetch reads.
type Position struct {
	Offset   int64 // the next offset to read; -1 if nothing is committed
	Metadata string
}

func (p Position) String() string {
	if p.Metadata == "" {
		return fmt.Sprint(p.Offset)
	}
	return fmt.Sprintf("%d (%q)", p.Offset, p.Metadata)
}

// Commit is one partition of an OffsetCommit.
type Commit struct {
	Slot       Slot
	Position   Position
	Member     string
	Generation int32
	// OnPurpose says that the commit may lower what others committed.
	OnPurpose bool

	Outcome Outcome
	Code    int16 // Kafka's error code of a refusal

	Invoke time.Duration
	// Complete is the latest time at which the commit took effect: that of the answer, or of the
	// death of the broker that had the request, and otherwise never.
	Complete time.Duration
}

// Answer is what one OffsetFetch said about a partition.
type Answer struct {
	Slot             Slot
	Position         Position
	Invoke, Complete time.Duration
}

// Assignment is what one answer to SyncGroup gave to a member.
type Assignment struct {
	Group      string
	Generation int32
	Owner      string // the instance of a static member, otherwise its member id
	Partitions []Partition

	Invoke, Complete time.Duration
}

// Delivery is a run of records on its way to a member of a group.
type Delivery struct {
	Slot        Slot
	First, Last int64
	Complete    time.Duration
}

// Groups is what was done to consumer groups and seen of them in one run. Its methods may be called
// concurrently. Check must be called when the recording is over.
type Groups struct {
	start time.Time

	mu          sync.Mutex
	commits     []*Commit
	acked       int
	answers     []Answer
	assignments []Assignment
	deliveries  []Delivery
}

// NewGroups starts a history of groups and its clock.
func NewGroups() *Groups { return &Groups{start: time.Now()} }

// Now returns the time on the history's clock.
func (g *Groups) Now() time.Duration { return time.Since(g.start) }

// Began records a commit before its request is sent. It is in doubt until it is answered.
func (g *Groups) Began(c Commit) *Commit {
	c.Outcome, c.Complete = Indefinite, math.MaxInt64
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commits = append(g.commits, &c)
	return &c
}

// Ended records the answer to a commit.
func (g *Groups) Ended(c *Commit, at time.Duration, code int16) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.Outcome, c.Code, c.Complete = OK, code, at
	if code != 0 {
		c.Outcome = Fail
		return
	}
	g.acked++
}

// Doubted records that the broker died before it answered: the commit cannot take effect later.
func (g *Groups) Doubted(c *Commit, at time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.Complete = at
}

// Answered records what an OffsetFetch said.
func (g *Groups) Answered(a ...Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers = append(g.answers, a...)
}

// Assigned records an answer to SyncGroup.
func (g *Groups) Assigned(a Assignment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.assignments = append(g.assignments, a)
}

// Delivered records records that are on their way to a member.
func (g *Groups) Delivered(d ...Delivery) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deliveries = append(g.deliveries, d...)
}

// GroupCounts are totals of a history of groups, for people.
type GroupCounts struct {
	Committed, Refused, InDoubt      int // commits of one partition
	Answers, Assignments, Deliveries int
	Generations                      int
}

// Counts returns totals of what was recorded so far.
func (g *Groups) Counts() GroupCounts {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := GroupCounts{Answers: len(g.answers), Assignments: len(g.assignments), Deliveries: len(g.deliveries)}
	for _, commit := range g.commits {
		switch commit.Outcome {
		case OK:
			c.Committed++
		case Fail:
			c.Refused++
		default:
			c.InDoubt++
		}
	}
	seen := make(map[generation]bool)
	for _, a := range g.assignments {
		seen[generation{a.Group, a.Generation}] = true
	}
	c.Generations = len(seen)
	return c
}

// Committed returns the number of acknowledged commits so far.
func (g *Groups) Committed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.acked
}
