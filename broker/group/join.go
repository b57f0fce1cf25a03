package group

import (
	"slices"
	"time"
)

// newMemberTimeout is how long a new member may wait for its first answer before it is taken for
// gone, as in Apache Kafka. The member does not know its id yet, so it cannot send heartbeats. If
// it has given up, it has left a ghost that would hold up every rebalance.
const newMemberTimeout = 5 * time.Minute

// Join serves JoinGroup. The answer may take as long as the rebalance timeout.
func (s *Shard) Join(now time.Time, r JoinRequest) Effects {
	if a := s.join(now, r); a != nil {
		s.answer(r.Waiter, a)
	}
	return s.take()
}

func refuseJoin(err error, memberID string) *JoinAnswer {
	return &JoinAnswer{Err: err, Generation: -1, MemberID: memberID}
}

// join returns the answer, or nil if the request waits.
func (s *Shard) join(now time.Time, r JoinRequest) *JoinAnswer {
	if r.Group == "" {
		return refuseJoin(ErrInvalidGroupID, r.MemberID)
	}
	if r.SessionTimeout < s.cfg.MinSessionTimeout || r.SessionTimeout > s.cfg.MaxSessionTimeout {
		return refuseJoin(ErrInvalidSession, r.MemberID)
	}
	if r.tooLong() {
		return refuseJoin(ErrTooLong, "")
	}
	r.RebalanceTimeout = max(r.RebalanceTimeout, 0)
	r.Protocols = withoutRepeats(r.Protocols)
	if r.MemberID != "" {
		return s.rejoin(now, r)
	}
	g := s.groups[r.Group]
	if g == nil {
		g = newGroup(s, r.Group)
	}
	if !g.accepts(nil) {
		return refuseJoin(ErrMaxSize, "")
	}
	if !g.supports(r.ProtocolType, r.Protocols) {
		return refuseJoin(ErrInconsistentProtocol, "")
	}
	if !g.admitsNew(r) {
		return refuseJoin(ErrNoMemory, "")
	}
	if s.groups[r.Group] == nil {
		s.register(g)
	}
	g.known = true
	return g.joinNew(now, r)
}

// tooLong reports whether a string of the request does not fit a record.
func (r *JoinRequest) tooLong() bool {
	long := len(r.Group) > stringMax || len(r.ClientID)+1+len(r.FreshID) > stringMax || len(r.ClientHost) > stringMax ||
		len(r.ProtocolType) > stringMax || r.InstanceID != nil && len(*r.InstanceID)+1+len(r.FreshID) > stringMax
	return long || slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return len(p.Name) > stringMax })
}

// withoutRepeats keeps the first protocol of each name, so that protocols can be counted by name.
func withoutRepeats(protocols []Protocol) []Protocol {
	seen := make(map[string]bool, len(protocols))
	return slices.DeleteFunc(slices.Clone(protocols), func(p Protocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

// accepts reports whether one more member may join. m is the member that joins again, or nil for a
// new one.
func (g *group) accepts(m *member) bool {
	switch g.state {
	case PreparingRebalance:
		// Only members that have joined again count, not those of the last generation. So a group
		// that is over the limit loses the members that come back last.
		return m != nil && m.join.on || g.joining < g.shard.cfg.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.shard.cfg.MaxSize
	}
	return true
}

// supports reports whether one of the protocols, of this protocol type, is supported by all
// members.
func (g *group) supports(protocolType string, protocols []Protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool {
		return g.supported[p.Name] == len(g.members)
	})
}

// admitsNew reports whether there is memory for a member that comes without an id. A static member
// takes its predecessor's place, and so needs memory only for what it adds.
func (g *group) admitsNew(r JoinRequest) bool {
	if r.InstanceID != nil && g.static[*r.InstanceID] != nil {
		return g.admitsAgain(g.static[*r.InstanceID], r)
	}
	return g.shard.admit(r.size(), true)
}

// admitsAgain reports whether there is memory for the protocols with which a member joins again.
func (g *group) admitsAgain(m *member, r JoinRequest) bool {
	return g.shard.admit(protocolsSize(r.Protocols)-protocolsSize(m.protocols), false)
}

// joinNew takes in a member that has no id yet.
func (g *group) joinNew(now time.Time, r JoinRequest) *JoinAnswer {
	if r.InstanceID != nil {
		r.MemberID = *r.InstanceID + "-" + r.FreshID
		if old := g.static[*r.InstanceID]; old != nil {
			g.replaceStatic(now, old, r)
			return nil
		}
		g.addMember(now, r)
		return nil
	}
	r.MemberID = r.ClientID + "-" + r.FreshID
	if r.RequireKnownMember {
		g.addPending(now, r.MemberID, r.SessionTimeout)
		return refuseJoin(ErrMemberIDRequired, r.MemberID)
	}
	g.addMember(now, r)
	return nil
}

// addMember adds a new member and parks its request.
func (g *group) addMember(now time.Time, r JoinRequest) {
	m := &member{
		id: r.MemberID, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		session: r.SessionTimeout, rebalance: r.RebalanceTimeout, protocols: r.Protocols, fresh: true,
	}
	if g.state == PreparingRebalance && g.previous == Empty {
		g.newMember = true
	}
	g.add(m, r.ProtocolType)
	g.awaitJoin(m, r.Waiter)
	g.shard.timers.set(&m.expiry, now.Add(newMemberTimeout))
	g.rebalanceOrComplete(now)
}

// updateMember takes over what a member says anew, and parks its request.
func (g *group) updateMember(now time.Time, m *member, r JoinRequest) {
	g.restate(m, r)
	g.awaitJoin(m, r.Waiter)
	g.rebalanceOrComplete(now)
}

func (g *group) restate(m *member, r JoinRequest) {
	g.support(m, -1)
	m.protocols, m.session, m.rebalance = r.Protocols, r.SessionTimeout, r.RebalanceTimeout
	g.support(m, 1)
	g.weigh(m)
}

// rejoin serves JoinGroup of a member that has an id.
func (s *Shard) rejoin(now time.Time, r JoinRequest) *JoinAnswer {
	g := s.find(r.Group)
	if g == nil {
		return refuseJoin(ErrUnknownMember, r.MemberID)
	}
	m := g.byID[r.MemberID]
	if !g.accepts(m) {
		if m != nil {
			g.remove(m)
		}
		g.removePending(r.MemberID)
		return refuseJoin(ErrMaxSize, "")
	}
	if !g.supports(r.ProtocolType, r.Protocols) {
		return refuseJoin(ErrInconsistentProtocol, r.MemberID)
	}
	// An id that was given out to a dynamic member cannot be used by a static one.
	if g.isPending(r.MemberID) && r.InstanceID == nil {
		if !s.admit(r.size(), true) {
			return refuseJoin(ErrNoMemory, r.MemberID)
		}
		g.addMember(now, r)
		return nil
	}
	m, err := g.validate(r.MemberID, r.InstanceID)
	if err != nil {
		return refuseJoin(err, r.MemberID)
	}
	// A member that says nothing new may not have received its answer, so it gets the current
	// generation. The leader of a stable group is different: by joining again it asks for a
	// rebalance.
	same := m.says(r.Protocols) && (g.state == CompletingRebalance || g.state == Stable && g.leader != m.id)
	if same {
		return g.joined(m)
	}
	if !g.admitsAgain(m, r) {
		return refuseJoin(ErrNoMemory, r.MemberID)
	}
	g.updateMember(now, m, r)
	return nil
}

// joined is the answer to a member of the generation.
func (g *group) joined(m *member) *JoinAnswer {
	protocolType, protocol := g.protocolType, g.protocol
	a := &JoinAnswer{Generation: g.generation, ProtocolType: &protocolType, Protocol: &protocol, Leader: g.leader, MemberID: m.id}
	if m.id == g.leader {
		a.Members = make([]JoinMember, len(g.members))
		for i, other := range g.members {
			a.Members[i] = JoinMember{MemberID: other.id, InstanceID: other.instance, Metadata: other.metadata(g.protocol)}
		}
	}
	return a
}

// replaceStatic puts a static member that came back without its id in the place of its predecessor
// (KIP-345). If the group is stable and keeps its protocol, the other members notice nothing: only
// the new id must be durable before it is used.
func (g *group) replaceStatic(now time.Time, old *member, r JoinRequest) {
	leaderBefore := g.leader
	before := JoinRequest{MemberID: old.id, SessionTimeout: old.session, RebalanceTimeout: old.rebalance, Protocols: old.protocols}
	m := g.succeed(now, old, r.MemberID)
	g.restate(m, r)
	g.awaitJoin(m, r.Waiter)
	switch {
	case g.state == Stable && g.elect() == g.protocol:
		g.persist(func(now time.Time, err error) { g.staticPersisted(now, m, r, before, leaderBefore, err) })
	case g.state == Stable, g.state == CompletingRebalance:
		// The leader may have assigned partitions to the old id already, so it must assign again.
		g.prepareRebalance(now)
	default:
		g.maybeCompleteJoin(now)
	}
}

// succeed gives the member a new id, and fences the requests that wait under the old one.
func (g *group) succeed(now time.Time, old *member, id string) *member {
	g.answerJoin(old, refuseJoin(ErrFencedInstance, old.id))
	old.sync.answer(g.shard, &SyncAnswer{Err: ErrFencedInstance})
	g.shard.timers.stop(&old.expiry)
	m := *old
	m.id, m.fresh = id, false
	m.expiry = timer{}
	m.expiry.fire = func(now time.Time) { g.expireSession(now, &m) }
	delete(g.byID, old.id)
	g.byID[id] = &m
	g.static[*m.instance] = &m
	g.members[slices.Index(g.members, old)] = &m
	if g.leader == old.id {
		g.leader = id
	}
	g.weigh(&m)
	g.renew(now, &m)
	return &m
}

// staticPersisted answers a replaced static member once its new id is durable.
func (g *group) staticPersisted(now time.Time, m *member, r JoinRequest, before JoinRequest, leaderBefore string, err error) {
	if g.byID[m.id] != m || !m.join.on || m.join.waiter != r.Waiter {
		return // answered already: the member left, was replaced, or joined a newer generation
	}
	if g.state != Stable {
		return // a rebalance has begun, for which its JoinGroup counts
	}
	if err != nil {
		g.restate(m, before)
		a := refuseJoin(err, "")
		a.Leader = leaderBefore
		g.answerJoin(m, a)
		g.succeed(now, m, before.MemberID)
		return
	}
	g.renew(now, m)
	a := g.joined(m)
	if r.CanSkipAssignment {
		a.SkipAssignment = m.id == g.leader
	} else {
		// Since it is told the old leader's id, the member takes itself for a follower and assigns
		// nothing.
		a.Leader, a.Members = leaderBefore, nil
	}
	g.answerJoin(m, a)
}
