package group

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/sluicemq/sluice/ident"
)

// offset is one committed offset.
type offset struct {
	at       ident.Offset
	epoch    ident.Epoch
	metadata string
	commit   int64 // ms since 1970
	expire   int64 // ms since 1970; -1 if the broker's retention counts
	topic    ident.TopicID
}

// slot is one partition in a group's offsets.
type slot struct {
	partition PartitionName
	committed *offset // the durable offset, and all that is ever shown (I13); nil if there is none
	inFlight  int     // changes on their way to the log, applied in the log's order
}

func (g *group) slot(p PartitionName) *slot {
	sl := g.offsets[p]
	if sl == nil {
		sl = &slot{partition: p}
		g.offsets[p] = sl
		g.shard.charge(p.size())
	}
	return sl
}

func (g *group) maybeDrop(sl *slot) {
	if sl.committed == nil && sl.inFlight == 0 {
		delete(g.offsets, sl.partition)
		g.shard.charge(-sl.partition.size())
	}
}

// Commit serves OffsetCommit. It is answered when the offsets are durable, and only then does Fetch
// show them (I13).
func (s *Shard) Commit(now time.Time, r CommitRequest) Effects {
	if r.tooLong() {
		s.answer(r.Waiter, &CommitAnswer{Err: ErrTooLong})
		return s.take()
	}
	g, err := s.mayCommit(now, r)
	if err != nil {
		s.answer(r.Waiter, &CommitAnswer{Err: err})
		return s.take()
	}
	a := &CommitAnswer{Partitions: make([]error, len(r.Partitions))}
	var offsets []*offset // an offset that is refused is nil
	more := 0
	for i, p := range r.Partitions {
		if utf16Length(p.Metadata) > s.cfg.OffsetMetadataMax || len(p.Metadata) > stringMax {
			a.Partitions[i] = ErrMetadataTooLarge
			offsets = append(offsets, nil)
			continue
		}
		o := &offset{at: p.Offset, epoch: p.LeaderEpoch, metadata: p.Metadata, commit: now.UnixMilli(), expire: -1, topic: p.TopicID}
		if r.Retention >= 0 {
			// The record version that has an expiry has neither an epoch nor a topic id.
			o.expire, o.epoch, o.topic = now.Add(r.Retention).UnixMilli(), ident.NoEpoch, ident.TopicID{}
		}
		offsets = append(offsets, o)
		more += g.committedMore(PartitionName{p.Topic, p.Partition}, o)
	}
	if !s.admit(more, r.Generation < 0) {
		s.answer(r.Waiter, &CommitAnswer{Err: ErrNoMemory})
		s.maybeForget(g)
		return s.take()
	}
	var changes []change
	for i, p := range r.Partitions {
		if offsets[i] != nil {
			changes = append(changes, g.offsetChange(PartitionName{p.Topic, p.Partition}, offsets[i]))
		}
	}
	if len(changes) == 0 {
		s.answer(r.Waiter, a)
		s.maybeForget(g)
		return s.take()
	}
	s.write(changes, func(_ time.Time, err error) {
		if err != nil {
			a = &CommitAnswer{Err: err}
		}
		s.answer(r.Waiter, a)
	})
	return s.take()
}

// tooLong reports whether a string of the request does not fit a record's key.
func (r *CommitRequest) tooLong() bool {
	return len(r.Group) > stringMax || slices.ContainsFunc(r.Partitions, func(p CommitPartition) bool { return len(p.Topic) > stringMax })
}

// utf16Length is the length of a string as Apache Kafka counts it for its limit on metadata.
func utf16Length(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// mayCommit finds the group, and says whether the client may commit to it. A commit without a
// generation creates a simple group.
func (s *Shard) mayCommit(now time.Time, r CommitRequest) (*group, error) {
	g := s.find(r.Group)
	if g == nil {
		switch {
		case r.Generation < 0:
			return s.group(r.Group), nil
		case r.KnowsNoGroup:
			return nil, ErrNotFound
		}
		return nil, ErrIllegalGeneration
	}
	if r.Generation < 0 && g.state == Empty {
		return g, nil
	}
	if r.Generation < 0 && r.MemberID == "" && r.InstanceID == nil {
		return nil, ErrUnknownMember // a simple consumer in a group that has members
	}
	m, err := g.validate(r.MemberID, r.InstanceID)
	switch {
	case err != nil:
		return nil, err
	case r.Generation != g.generation:
		return nil, ErrIllegalGeneration
	case g.state == CompletingRebalance:
		return nil, ErrRebalanceInProgress
	}
	g.renew(now, m)
	return g, nil
}

// offsetChange is the change that commits an offset. If o is nil, it deletes the offset.
func (g *group) offsetChange(p PartitionName, o *offset) change {
	sl := g.slot(p)
	g.shard.charge(o.size()) // settle or commit takes it back
	return change{record: offsetRecord(g.id, p, o), group: g, slot: sl, offset: o}
}

// shown returns what a client may see of a slot: the durable offset, if it belongs to the topic
// that exists now.
func (sl *slot) shown(topics Topics) (FetchedOffset, bool) {
	f := FetchedOffset{Topic: sl.partition.Topic, Partition: sl.partition.Partition, Offset: -1, LeaderEpoch: ident.NoEpoch}
	o := sl.committed
	if o == nil || o.gone(sl.partition.Topic, topics) {
		return f, false
	}
	f.Offset, f.LeaderEpoch, f.Metadata, f.CommitTime = o.at, o.epoch, o.metadata, time.UnixMilli(o.commit)
	return f, true
}

// gone reports whether the topic for which the offset was committed does not exist any more.
func (o *offset) gone(name string, topics Topics) bool {
	if topics == nil {
		return false
	}
	id, ok := topics(name)
	return !ok || !o.topic.IsZero() && o.topic != id
}

// Fetch serves OffsetFetch for the named partitions: one result for each, in order. A group or
// partition without a committed offset gives Offset -1 and no error.
func (s *Shard) Fetch(id string, partitions []PartitionName, topics Topics) []FetchedOffset {
	g := s.find(id)
	found := make([]FetchedOffset, len(partitions))
	for i, p := range partitions {
		sl := &slot{partition: p}
		if g != nil && g.offsets[p] != nil {
			sl = g.offsets[p]
		}
		found[i], _ = sl.shown(topics)
	}
	return found
}

// FetchAll serves OffsetFetch for everything that the group has committed, by topic, then
// partition.
func (s *Shard) FetchAll(id string, topics Topics) []FetchedOffset {
	g := s.find(id)
	if g == nil {
		return nil
	}
	var found []FetchedOffset
	for _, sl := range g.slots() {
		if f, ok := sl.shown(topics); ok {
			found = append(found, f)
		}
	}
	return found
}

// slots returns the group's offsets by topic, then partition.
func (g *group) slots() []*slot {
	all := make([]*slot, 0, len(g.offsets))
	for _, sl := range g.offsets {
		all = append(all, sl)
	}
	slices.SortFunc(all, func(a, b *slot) int {
		return cmp.Or(strings.Compare(a.partition.Topic, b.partition.Topic), cmp.Compare(a.partition.Partition, b.partition.Partition))
	})
	return all
}

// DeleteOffsets serves OffsetDelete.
func (s *Shard) DeleteOffsets(_ time.Time, r DeleteOffsetsRequest) Effects {
	g := s.find(r.Group)
	if g == nil {
		s.answer(r.Waiter, &DeleteOffsetsAnswer{Err: ErrNotFound})
		return s.take()
	}
	if g.state != Empty && g.protocolType != consumerProtocol {
		s.answer(r.Waiter, &DeleteOffsetsAnswer{Err: ErrNotEmpty})
		return s.take()
	}
	a := &DeleteOffsetsAnswer{Partitions: make([]error, len(r.Partitions))}
	subscribed := g.subscription()
	var changes []change
	for i, p := range r.Partitions {
		switch {
		case subscribed.holds(p.Topic):
			a.Partitions[i] = ErrSubscribed
		case g.offsets[p] != nil:
			changes = append(changes, g.offsetChange(p, nil))
		}
	}
	if len(changes) == 0 {
		s.answer(r.Waiter, a)
		return s.take()
	}
	s.write(changes, func(_ time.Time, err error) {
		if err != nil {
			a = &DeleteOffsetsAnswer{Err: err}
		}
		s.answer(r.Waiter, a)
	})
	return s.take()
}

// Delete serves DeleteGroups for one group.
func (s *Shard) Delete(_ time.Time, r DeleteRequest) Effects {
	g := s.find(r.Group)
	if g == nil {
		s.answer(r.Waiter, &DeleteAnswer{Err: ErrNotFound})
		return s.take()
	}
	if g.state != Empty {
		s.answer(r.Waiter, &DeleteAnswer{Err: ErrNotEmpty})
		return s.take()
	}
	for _, p := range slices.Clone(g.pending) {
		g.removePending(p.id)
	}
	var changes []change
	for _, sl := range g.slots() {
		changes = append(changes, g.offsetChange(sl.partition, nil))
	}
	s.erase(g, changes, func(err error) { s.answer(r.Waiter, &DeleteAnswer{Err: err}) })
	return s.take()
}

// erase writes the given tombstones and, last, the group's own. Once they are durable, clients do
// not see the group any more, unless somebody has joined it meanwhile.
func (s *Shard) erase(g *group, changes []change, done func(err error)) {
	changes = append(changes, change{record: Record{Key: groupKey(g.id)}, group: g})
	s.write(changes, func(_ time.Time, err error) {
		if err == nil && g.vacant() && len(g.offsets) == 0 {
			g.known = false
		}
		done(err)
	})
}
