package group

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Replay applies one record of the log, in order, before Loaded. A record of a kind that belongs to
// newer group types is counted (Skipped) and otherwise ignored. A record of our kinds that does not
// decode is a *RecordError. The shard keeps nothing of r's slices.
func (s *Shard) Replay(r Record) error {
	kind, ok := version(r.Key)
	if !ok {
		return &RecordError{Key: r.Key, Reason: "no key"}
	}
	switch kind {
	case 0, offsetKeyVersion:
		return s.replayOffset(r)
	case groupKeyVersion:
		return s.replayGroup(r)
	}
	s.skipped++
	return nil
}

func (s *Shard) replayOffset(r Record) error {
	var key kmsg.OffsetCommitKey
	if err := key.ReadFrom(r.Key); err != nil {
		return &RecordError{Key: r.Key, Reason: "damaged key", Err: err}
	}
	p := PartitionName{key.Topic, key.Partition}
	if r.Value == nil {
		if g := s.groups[key.Group]; g != nil && g.offsets[p] != nil {
			s.commit(g, g.offsets[p], nil)
			g.maybeDrop(g.offsets[p])
		}
		return nil
	}
	o, err := parseOffsetValue(r.Key, r.Value)
	if err != nil {
		return err
	}
	g := s.group(key.Group)
	g.known = true
	sl := g.slot(p)
	s.charge(o.size())
	s.commit(g, sl, o)
	return nil
}

func (s *Shard) replayGroup(r Record) error {
	var key kmsg.GroupMetadataKey
	if err := key.ReadFrom(r.Key); err != nil {
		return &RecordError{Key: r.Key, Reason: "damaged key", Err: err}
	}
	if r.Value == nil {
		if g := s.groups[key.Group]; g != nil {
			s.store(g, nil)
			g.known = len(g.offsets) > 0
			s.maybeForget(g)
		}
		return nil
	}
	// Only the newest value is made into members, at the end of the log.
	if _, err := parseGroupValue(r.Key, r.Value); err != nil {
		return err
	}
	g := s.group(key.Group)
	g.known = true
	s.store(g, bytes.Clone(r.Value))
	return nil
}

// store sets the group's durable metadata; nil means that there is none.
func (s *Shard) store(g *group, value []byte) {
	if g.stored != nil {
		s.bytes -= recordBytes(len(g.id)+4, len(g.stored))
		s.charge(-len(g.stored))
	}
	if g.stored = value; value != nil {
		s.bytes += recordBytes(len(g.id)+4, len(value))
		s.charge(len(value))
	}
}

// commit sets a slot's durable offset; nil means that there is none. The new offset is counted
// already.
func (s *Shard) commit(g *group, sl *slot, o *offset) {
	s.charge(-sl.committed.size())
	s.bytes += offsetBytes(g.id, sl.partition, o) - offsetBytes(g.id, sl.partition, sl.committed)
	sl.committed = o
}

// Loaded ends the replay. Every group is in the state that its newest record gives, and every
// member's session starts anew. So members just go on with their heartbeats, and no group has to
// rebalance.
func (s *Shard) Loaded(now time.Time) Effects {
	for _, g := range s.sorted() {
		if g.stored == nil {
			continue
		}
		v, err := parseGroupValue(groupKey(g.id), g.stored)
		if err != nil {
			panic("BUG: group: a record that replayed does not decode: " + err.Error())
		}
		g.restore(now, v)
		if len(g.members) > s.cfg.MaxSize {
			g.prepareRebalance(now)
		}
	}
	return s.take()
}

// restore makes the members that the record names.
func (g *group) restore(now time.Time, v *kmsg.GroupMetadataValue) {
	g.clearMembers()
	g.generation, g.since = v.Generation, v.CurrentStateTimestamp
	g.protocolType, g.protocol = v.ProtocolType, orEmpty(v.Protocol)
	for i := range v.Members {
		rm := &v.Members[i]
		if g.byID[rm.MemberID] != nil {
			continue
		}
		m := &member{
			id: rm.MemberID, instance: rm.InstanceID, clientID: rm.ClientID, clientHost: rm.ClientHost,
			session: millis(rm.SessionTimeoutMillis), rebalance: millis(rm.RebalanceTimeoutMillis),
			protocols:  []Protocol{{Name: g.protocol, Metadata: rm.Subscription}},
			assignment: rm.Assignment,
		}
		g.state = Stable
		g.add(m, v.ProtocolType)
		g.renew(now, m)
	}
	if leader := orEmpty(v.Leader); g.byID[leader] != nil {
		g.leader = leader
	}
}

// Skipped returns the number of replayed records of kinds that this package does not know.
func (s *Shard) Skipped() int { return s.skipped }

// Snapshot returns the durable state as records: replaying them gives the same state (I15). It may
// be taken only while InFlight is 0, and must be appended before any later write. Then nothing
// before it in the log is needed.
func (s *Shard) Snapshot() []Record {
	if len(s.inFlight) > 0 {
		panic("BUG: group: Snapshot while writes are in flight: they would be undone by it")
	}
	var records []Record
	for _, g := range s.sorted() {
		if g.stored != nil {
			records = append(records, Record{Key: groupKey(g.id), Value: bytes.Clone(g.stored)})
		}
		for _, sl := range g.slots() {
			records = append(records, offsetRecord(g.id, sl.partition, sl.committed))
		}
	}
	return records
}

// Bytes estimates the size of a snapshot.
func (s *Shard) Bytes() int { return s.bytes }
