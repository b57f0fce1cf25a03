package group

import (
	"maps"
	"time"
)

// Sync serves SyncGroup. It is answered when the leader's assignment is durable.
func (s *Shard) Sync(now time.Time, r SyncRequest) Effects {
	if a := s.sync(now, r); a != nil {
		s.answer(r.Waiter, a)
	}
	return s.take()
}

// sync returns the answer, or nil if the request waits.
func (s *Shard) sync(now time.Time, r SyncRequest) *SyncAnswer {
	if r.Group == "" {
		return &SyncAnswer{Err: ErrInvalidGroupID}
	}
	g := s.find(r.Group)
	if g == nil || g.state == Empty {
		return &SyncAnswer{Err: ErrUnknownMember}
	}
	m, err := g.validateSync(r)
	if err != nil {
		return &SyncAnswer{Err: err}
	}
	switch g.state {
	case PreparingRebalance:
		return &SyncAnswer{Err: ErrRebalanceInProgress}
	case Stable:
		g.synced(m)
		return g.assigned(m)
	}
	assigns := g.leader == m.id && g.assigning != g.generation
	var record Record
	if assigns {
		maps.DeleteFunc(r.Assignments, func(id string, _ []byte) bool { return g.byID[id] == nil })
		record = g.metadataRecord(r.Assignments)
		if !s.admit(g.assignedMore(r.Assignments, record), false) {
			// Clients know no other code for "try again" here. The leader joins the generation once
			// more and assigns anew. The other members go on waiting.
			return &SyncAnswer{Err: ErrRebalanceInProgress}
		}
	}
	g.synced(m)
	// An older request of the same member.
	m.sync.answer(s, &SyncAnswer{Err: ErrRebalanceInProgress})
	m.sync = waiting{on: true, waiter: r.Waiter}
	if assigns {
		g.assign(r.Assignments, record)
	}
	return nil
}

func (g *group) validateSync(r SyncRequest) (*member, error) {
	m, err := g.validate(r.MemberID, r.InstanceID)
	switch {
	case err != nil:
		return nil, err
	case r.Generation != g.generation:
		return nil, ErrIllegalGeneration
	case r.ProtocolType != nil && *r.ProtocolType != g.protocolType, r.Protocol != nil && *r.Protocol != g.protocol:
		return nil, ErrInconsistentProtocol
	}
	return m, nil
}

// synced notes the member's SyncGroup.
func (g *group) synced(m *member) {
	g.settleSync(m)
	if g.owing == 0 {
		g.shard.timers.stop(&g.syncTimer)
	}
}

// assigned is the answer of a stable group.
func (g *group) assigned(m *member) *SyncAnswer {
	protocolType, protocol := g.protocolType, g.protocol
	return &SyncAnswer{ProtocolType: &protocolType, Protocol: &protocol, Assignment: m.assignment}
}

// assign writes the leader's assignment. No member learns of it before it is durable (I13).
func (g *group) assign(assignments map[string][]byte, record Record) {
	generation := g.generation
	g.assigning = generation
	g.writeMetadata(record, func(now time.Time, err error) {
		if g.assigning == generation {
			g.assigning = 0
		}
		if g.state != CompletingRebalance || g.generation != generation {
			return // a rebalance began meanwhile; members that waited were told to join it
		}
		if err != nil {
			g.refuseSyncs(now, err)
			g.prepareRebalance(now)
			return
		}
		for _, m := range g.members {
			m.assignment = assignments[m.id]
			g.weigh(m)
		}
		g.enter(now, Stable)
		for _, m := range g.members {
			if m.sync.answer(g.shard, g.assigned(m)) {
				g.renew(now, m)
			}
		}
	})
}

// refuseSyncs answers all members that wait for an assignment, which is void now.
func (g *group) refuseSyncs(now time.Time, err error) {
	for _, m := range g.members {
		m.assignment = nil
		g.weigh(m)
		if m.sync.answer(g.shard, &SyncAnswer{Err: err}) {
			g.renew(now, m)
		}
	}
}

// persist writes the group as it is.
func (g *group) persist(done func(now time.Time, err error)) {
	assignments := make(map[string][]byte, len(g.members))
	for _, m := range g.members {
		assignments[m.id] = m.assignment
	}
	g.writeMetadata(g.metadataRecord(assignments), done)
}

func (g *group) writeMetadata(record Record, done func(now time.Time, err error)) {
	g.shard.write([]change{{record: record, group: g}}, done)
}
