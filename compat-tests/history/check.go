package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Anomaly is something that no correct log explains.
type Anomaly struct {
	Kind      string
	Partition Partition
	Text      string
}

func (a Anomaly) String() string { return fmt.Sprintf("%s: %s: %s", a.Partition, a.Kind, a.Text) }

// The kinds of anomaly.
const (
	Fabricated = "fabricated" // a value that nobody sent
	Misrouted  = "misrouted"  // a value in a partition to which it was not sent
	Altered    = "altered"    // a value with other bytes than were sent
	BadCRC     = "bad-crc"    // a batch that does not match its checksum
	TwoValues  = "two-values" // an offset shown with two values (I2)
	Duplicate  = "duplicate"  // an idempotent producer's value at two offsets (I11)
	// An acknowledged value at another offset than its answer said.
	WrongOffset   = "wrong-offset"
	WrongRepeat   = "wrong-repeat"       // a duplicate's answer differs from the original's (I11)
	LostWrite     = "lost-write"         // acknowledged, but not in the last complete read (I1)
	Vanished      = "vanished"           // shown once, but not in the last complete read (I2, I5)
	RefusedSeen   = "refused-seen"       // definitely refused, but shown
	Hole          = "hole"               // a complete read skips offsets
	Stale         = "not-linearizable"   // high watermark or append contradicts real time (I5)
	FromTheFuture = "from-the-future"    // shown before it was sent
	Order         = "order"              // one producer's values out of order in a partition
	StartBack     = "log-start-back"     // log start went down
	EpochBack     = "epoch-back"         // leader epoch went down
	StableAbove   = "lso-above-hw"       // last stable offset above the high watermark
	SequenceTwice = "sequence-twice"     // (producer, epoch, sequence) at two offsets (I11)
	SequenceGap   = "sequence-gap"       // a producer's sequences do not follow each other
	ShortRestore  = "committed-not-back" // a restore lost what had been committed
	NotSwept      = "not-swept"          // no complete read at the end, so nothing is proven
)

// Check judges the history. The last sweep of each partition says what is there in the end.
func (h *History) Check() []Anomaly {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newChecker(h)
	for _, p := range c.order {
		c.partition(c.parts[p])
	}
	c.identity()
	return c.found
}

// perKindMax bounds how many anomalies of one kind are listed per partition, since the first ones
// say enough.
const perKindMax = 5

// part is the part of the history about one partition, without what a restore legally took back.
type part struct {
	name     Partition
	sends    []*Send
	batches  []Batch
	bounds   []Bounds
	last     *Sweep
	restores []Restore
}

type checker struct {
	sends   map[ID]*Send
	parts   map[Partition]*part
	order   []Partition
	found   []Anomaly
	perKind map[string]int
}

func newChecker(h *History) *checker {
	c := &checker{sends: make(map[ID]*Send), parts: make(map[Partition]*part), perKind: make(map[string]int)}
	for _, r := range h.restores {
		p := c.part(r.Partition)
		p.restores = append(p.restores, r)
	}
	for _, s := range h.sends {
		c.sends[s.ID] = s
		c.part(s.Partition).sends = append(c.part(s.Partition).sends, s)
	}
	for _, b := range h.batches {
		c.part(b.Partition).batches = append(c.part(b.Partition).batches, b)
	}
	for _, b := range h.bounds {
		c.part(b.Partition).bounds = append(c.part(b.Partition).bounds, b)
	}
	for _, s := range h.sweeps {
		p := c.part(s.Partition)
		if p.last == nil || s.Invoke >= p.last.Invoke {
			p.last = &s
		}
	}
	return c
}

func (c *checker) part(name Partition) *part {
	p := c.parts[name]
	if p == nil {
		p = &part{name: name}
		c.parts[name] = p
		c.order = append(c.order, name)
	}
	return p
}

func (c *checker) bad(p Partition, kind, format string, args ...any) {
	key := kind + p.String()
	c.perKind[key]++
	switch n := c.perKind[key]; {
	case n <= perKindMax:
		c.found = append(c.found, Anomaly{kind, p, fmt.Sprintf(format, args...)})
	case n == perKindMax+1:
		c.found = append(c.found, Anomaly{kind, p, "and more of the same"})
	}
}

// takenBack reports whether a restore legally took back what was at the offset at that time.
func (p *part) takenBack(offset int64, at time.Duration) bool {
	for _, r := range p.restores {
		if at <= r.At && offset >= r.Survived {
			return true
		}
	}
	return false
}

// era counts the restores before a moment. Monotone values are monotone within an era.
func (p *part) era(at time.Duration) int {
	n := 0
	for _, r := range p.restores {
		if at > r.At {
			n++
		}
	}
	return n
}

func (c *checker) partition(p *part) {
	for _, r := range p.restores {
		if r.Survived < r.Floor {
			c.bad(p.name, ShortRestore, "all below %d was in the bucket, only what is below %d came back", r.Floor, r.Survived)
		}
	}
	if p.last == nil {
		c.bad(p.name, NotSwept, "%d sends and no complete read", len(p.sends))
		return
	}
	seen := c.observations(p)
	c.present(p, seen)
	c.contiguous(p)
	c.sequences(p)
	c.producerOrder(p, seen)
	c.linear(p, seen)
	c.monotone(p)
}

// sighting is the offset of a value, and when the value was first shown there.
type sighting struct {
	id     ID
	hash   uint64
	offset int64
	first  time.Duration // when the first read that showed it completed
	final  bool          // in the last complete read
}

// seen is what readers were shown of a partition.
type seen struct {
	at    map[int64]*sighting // by offset
	value map[ID][]*sighting
}

// observations is check C1: an offset has one value for ever, and a value is what was sent.
func (c *checker) observations(p *part) seen {
	s := seen{make(map[int64]*sighting), make(map[ID][]*sighting)}
	for _, b := range p.batches {
		if !b.CRCOK {
			c.bad(p.name, BadCRC, "batch [%d,%d] at %v", b.Base, b.Last, b.Complete)
			continue
		}
		final := b.Sweep != 0 && b.Sweep == p.last.Number
		for _, r := range b.Records {
			if p.takenBack(r.Offset, b.Complete) {
				continue
			}
			c.observe(p, s, r, b.Complete, final)
		}
	}
	return s
}

func (c *checker) observe(p *part, s seen, r Record, at time.Duration, final bool) {
	old := s.at[r.Offset]
	if old == nil {
		old = &sighting{id: r.ID, hash: r.Hash, offset: r.Offset, first: at}
		s.at[r.Offset] = old
		s.value[r.ID] = append(s.value[r.ID], old)
		c.asSent(p, r)
	}
	if old.id != r.ID || old.hash != r.Hash {
		c.bad(p.name, TwoValues, "offset %d was %s at %v and %s at %v", r.Offset, old.id, old.first, r.ID, at)
		return
	}
	old.first = min(old.first, at)
	old.final = old.final || final
}

// asSent is the rest of C1, and C3.
func (c *checker) asSent(p *part, r Record) {
	sent := c.sends[r.ID]
	switch {
	case sent == nil:
		c.bad(p.name, Fabricated, "offset %d holds %s, which nobody sent", r.Offset, r.ID)
	case sent.Partition != p.name:
		c.bad(p.name, Misrouted, "offset %d holds %s, which was sent to %s", r.Offset, r.ID, sent.Partition)
	case sent.Hash != r.Hash:
		c.bad(p.name, Altered, "offset %d holds %s with other bytes than were sent", r.Offset, r.ID)
	case sent.Outcome == Fail:
		c.bad(p.name, RefusedSeen, "offset %d holds %s, which was refused with code %d", r.Offset, r.ID, sent.Code)
	}
}

// identity is the part of C1 across partitions: no value of an idempotent producer occurs twice.
func (c *checker) identity() {
	where := make(map[ID]Partition)
	for _, name := range c.order {
		for _, b := range c.parts[name].batches {
			for _, r := range b.Records {
				if other, ok := where[r.ID]; ok && other != name {
					c.bad(name, Misrouted, "%s stands in %s too", r.ID, other)
				}
				where[r.ID] = name
			}
		}
	}
}

// present is C2: what was acknowledged or shown is in the last complete read, unless the log start
// has passed it.
func (c *checker) present(p *part, s seen) {
	for _, send := range p.sends {
		c.once(p, s, send)
		if send.Outcome != OK || send.Acks == 0 {
			continue
		}
		c.acked(p, s, send)
		for _, repeat := range send.Repeats {
			if repeat != send.Offset {
				c.bad(p.name, WrongRepeat, "%s was acknowledged at %d and, repeated, at %d", send.ID, send.Offset, repeat)
			}
		}
	}
	for _, o := range s.at {
		if !o.final && o.offset >= p.last.Start && o.offset < p.last.End {
			c.bad(p.name, Vanished, "%s was shown at %d at %v and is not there in the end", o.id, o.offset, o.first)
		}
		if o.offset >= p.last.End && o.first < p.last.Invoke {
			c.bad(p.name, Vanished, "%s was shown at %d at %v; the log ends at %d", o.id, o.offset, o.first, p.last.End)
		}
	}
}

func (c *checker) acked(p *part, s seen, send *Send) {
	if send.Complete > p.last.Invoke || p.takenBack(send.Offset, send.Complete) {
		return // not due yet in the last complete read, or legally lost
	}
	if send.Offset >= 0 && send.Offset < p.last.Start {
		return
	}
	var final []int64
	for _, o := range s.value[send.ID] {
		if o.final {
			final = append(final, o.offset)
		}
	}
	switch {
	case len(final) == 0:
		c.bad(p.name, LostWrite, "%s was acknowledged at offset %d at %v and is not in [%d,%d)", send.ID, send.Offset, send.Complete, p.last.Start, p.last.End)
	case send.Offset >= 0 && !slices.Contains(final, send.Offset):
		c.bad(p.name, WrongOffset, "%s was acknowledged at %d and stands at %v", send.ID, send.Offset, final)
	}
}

// once checks that a value of an idempotent producer has one offset, whatever its outcome was.
func (c *checker) once(p *part, s seen, send *Send) {
	if !send.Idempotent || len(s.value[send.ID]) < 2 {
		return
	}
	var all []int64
	for _, o := range s.value[send.ID] {
		all = append(all, o.offset)
	}
	c.bad(p.name, Duplicate, "%s of an idempotent producer stands at %v", send.ID, all)
}

// contiguous is C5, for the reader that reads everything: no offset is left out.
func (c *checker) contiguous(p *part) {
	var final []Batch
	for _, b := range p.batches {
		if b.Sweep != 0 && b.Sweep == p.last.Number {
			final = append(final, b)
		}
	}
	slices.SortFunc(final, func(a, b Batch) int { return cmp.Compare(a.Base, b.Base) })
	next, epoch := p.last.Start, int32(-1)
	for _, b := range final {
		if b.Base > next {
			c.bad(p.name, Hole, "offsets [%d,%d) are missing", next, b.Base)
		}
		if !b.Control && int64(len(b.Records)) != b.Last-b.Base+1 {
			c.bad(p.name, Hole, "batch [%d,%d] holds %d records", b.Base, b.Last, len(b.Records))
		}
		if b.LeaderEpoch < epoch {
			c.bad(p.name, EpochBack, "batch at %d has leader epoch %d after %d", b.Base, b.LeaderEpoch, epoch)
		}
		next, epoch = max(next, b.Last+1), max(epoch, b.LeaderEpoch)
	}
	if next < p.last.End {
		c.bad(p.name, Hole, "offsets [%d,%d) are missing", next, p.last.End)
	}
}

// producer identifies the sender that numbers batches in a partition.
type producer struct {
	id    int64
	epoch int16
}

// sequences is C7: a producer's sequences follow each other, and none occurs twice.
func (c *checker) sequences(p *part) {
	where := make(map[producer]map[int32]int64)
	var final []Batch
	for _, b := range p.batches {
		if b.ProducerID < 0 || b.Control || p.takenBack(b.Base, b.Complete) {
			continue
		}
		who := producer{b.ProducerID, b.ProducerEpoch}
		if where[who] == nil {
			where[who] = make(map[int32]int64)
		}
		if old, ok := where[who][b.BaseSequence]; ok && old != b.Base {
			c.bad(p.name, SequenceTwice, "producer %d epoch %d sequence %d stands at %d and %d", who.id, who.epoch, b.BaseSequence, old, b.Base)
		}
		where[who][b.BaseSequence] = b.Base
		if b.Sweep != 0 && b.Sweep == p.last.Number {
			final = append(final, b)
		}
	}
	slices.SortFunc(final, func(a, b Batch) int { return cmp.Compare(a.Base, b.Base) })
	next := make(map[producer]int32)
	for _, b := range final {
		who := producer{b.ProducerID, b.ProducerEpoch}
		if want, ok := next[who]; ok && b.BaseSequence != want {
			c.bad(p.name, SequenceGap, "producer %d epoch %d goes from sequence %d to %d at offset %d", who.id, who.epoch, want, b.BaseSequence, b.Base)
		}
		next[who] = int32((int64(b.BaseSequence) + b.Last - b.Base + 1) & math.MaxInt32)
	}
}

// producerOrder checks that the values of one client are in the order in which it sent them. For an
// idempotent client that holds for all values that are there. A plain client repeats what is in
// doubt, so for it that holds only for acknowledged values.
func (c *checker) producerOrder(p *part, s seen) {
	type placed struct {
		id     ID
		offset int64
	}
	byClient := make(map[uint64][]placed)
	for _, send := range p.sends {
		if send.Idempotent {
			for _, o := range s.value[send.ID] {
				byClient[send.ID.Client] = append(byClient[send.ID.Client], placed{send.ID, o.offset})
			}
		} else if send.Outcome == OK && send.Offset >= 0 && !p.takenBack(send.Offset, send.Complete) {
			byClient[send.ID.Client] = append(byClient[send.ID.Client], placed{send.ID, send.Offset})
		}
	}
	for _, list := range byClient {
		slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.id.Counter, b.id.Counter) })
		for i := 1; i < len(list); i++ {
			if list[i].id != list[i-1].id && list[i].offset <= list[i-1].offset {
				c.bad(p.name, Order, "%s at %d was sent before %s at %d", list[i-1].id, list[i-1].offset, list[i].id, list[i].offset)
			}
		}
	}
}

// event is something that happened to a growing value in an interval of time.
type event struct {
	key              int64
	invoke, complete time.Duration
	text             string
}

// backwards finds an event that was over before an event with a lower key began: the value then
// went down in real time.
func backwards(events []event, found func(low, high event)) {
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.key, b.key) })
	latest := event{invoke: math.MinInt64}
	for i := 0; i < len(events); {
		j := i
		for ; j < len(events) && events[j].key == events[i].key; j++ {
			if events[j].complete < latest.invoke {
				found(latest, events[j])
			}
		}
		for ; i < j; i++ {
			if events[i].invoke > latest.invoke {
				latest = events[i]
			}
		}
	}
}

// linear is C4: appends, and readings of the length, fit one log in real time. An append of offset
// o has the key 2o+1, a length of h has the key 2h.
func (c *checker) linear(p *part, s seen) {
	eras := make(map[int][]event)
	for _, send := range p.sends {
		for _, e := range c.appends(p, s, send) {
			eras[p.era(e.complete)] = append(eras[p.era(e.complete)], e)
		}
	}
	for _, b := range p.bounds {
		if b.HighWatermark >= 0 {
			e := event{2 * b.HighWatermark, b.Invoke, b.Complete, fmt.Sprintf("high watermark %d told in [%v,%v]", b.HighWatermark, b.Invoke, b.Complete)}
			eras[p.era(b.Complete)] = append(eras[p.era(b.Complete)], e)
		}
	}
	for _, events := range eras {
		backwards(events, func(low, high event) {
			c.bad(p.name, Stale, "%s, after: %s", low.text, high.text)
		})
	}
}

// appends returns a send's events, at the offset of its answer or, without one, where it was seen.
// Copies of a plain producer that are in doubt give no events, since their attempts have no time of
// their own.
func (c *checker) appends(p *part, s seen, send *Send) []event {
	offset := send.Offset
	sightings := s.value[send.ID]
	if send.Outcome != OK || offset < 0 {
		if len(sightings) != 1 {
			return nil
		}
		offset = sightings[0].offset
	}
	if p.takenBack(offset, send.Invoke) {
		return nil
	}
	complete := send.Complete
	for _, o := range sightings {
		if o.first < send.Invoke {
			c.bad(p.name, FromTheFuture, "%s was shown at %v and sent at %v", send.ID, o.first, send.Invoke)
		}
		if o.offset == offset {
			complete = min(complete, o.first)
		}
	}
	return []event{{2*offset + 1, send.Invoke, complete, fmt.Sprintf("%s appended at %d in [%v,%v]", send.ID, offset, send.Invoke, complete)}}
}

// monotone is C6 without the high watermark, which linear has judged.
func (c *checker) monotone(p *part) {
	var starts, epochs []event
	for _, b := range p.bounds {
		if b.LastStable >= 0 && b.HighWatermark >= 0 && b.LastStable > b.HighWatermark {
			c.bad(p.name, StableAbove, "%d above %d at %v", b.LastStable, b.HighWatermark, b.Complete)
		}
		// A restore puts the log start back to what the bucket knew. Epochs go up even across a
		// restore.
		if b.LogStart >= 0 && p.era(b.Complete) == len(p.restores) {
			starts = append(starts, event{b.LogStart, b.Invoke, b.Complete, fmt.Sprintf("%d at %v", b.LogStart, b.Complete)})
		}
		if b.LeaderEpoch >= 0 {
			epochs = append(epochs, event{int64(b.LeaderEpoch), b.Invoke, b.Complete, fmt.Sprintf("%d at %v", b.LeaderEpoch, b.Complete)})
		}
	}
	backwards(starts, func(low, high event) { c.bad(p.name, StartBack, "%s, after %s", low.text, high.text) })
	backwards(epochs, func(low, high event) { c.bad(p.name, EpochBack, "%s, after %s", low.text, high.text) })
}
