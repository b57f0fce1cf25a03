package group

import (
	"bytes"
	"slices"
	"time"
)

// pendingMax is how many unused member ids (KIP-394) a group remembers. Beyond it the oldest id is
// forgotten, and a member that comes with it is told to start anew.
const pendingMax = 4096

// group is one group: its members, their current generation, and the offsets that the group has
// committed.
//
// A rebalance goes Stable → PreparingRebalance (members join; completeJoin ends this phase and
// starts the generation) → CompletingRebalance (members sync; the leader's assignment is written) →
// Stable (once the assignment is durable).
type group struct {
	shard *Shard
	id    string
	known bool // clients may see the group

	state, previous State
	since           int64 // when the current state was entered, in ms since 1970
	generation      int32
	protocolType    string // "" if there is none yet, or for a simple group
	protocol        string // of the generation; "" if there is none
	leader          string // "" if there is none
	members         []*member
	byID            map[string]*member
	static          map[string]*member // by instance id
	supported       map[string]int     // protocol → members that support it
	joining         int                // members that wait for the answer to their JoinGroup
	owing           int                // members that have not sent SyncGroup in this generation
	pending         []*pendingMember   // oldest first
	newMember       bool               // somebody joined during the initial delay
	assigning       int32              // generation whose assignment is being written; 0 if none is
	joinTimer       timer              // ends the join phase
	syncTimer       timer              // ends the sync phase

	stored   []byte // value of the newest durable metadata record; nil if there is none
	offsets  map[PartitionName]*slot
	inFlight int // changes on their way to the log
}

// pendingMember is a member id that was given out and is not used yet.
type pendingMember struct {
	id      string
	session timer
}

// member is one member of a group.
type member struct {
	id                   string
	instance             *string
	clientID, clientHost string
	session, rebalance   time.Duration
	protocols            []Protocol
	assignment           []byte
	join, sync           waiting
	fresh                bool // has not had an answer to its first JoinGroup
	owes                 bool // has not sent SyncGroup in this generation
	expiry               timer
	charged              int // bytes that weigh has counted
}

// waiting is a member's request that may be waiting for its answer.
type waiting struct {
	on     bool
	waiter Waiter
}

// answer answers the request if one is waiting, and reports whether it did.
func (w *waiting) answer(s *Shard, b Body) bool {
	if !w.on {
		return false
	}
	w.on = false
	s.answer(w.waiter, b)
	return true
}

func newGroup(s *Shard, id string) *group {
	g := &group{shard: s, id: id, since: -1, offsets: make(map[PartitionName]*slot)}
	g.clearMembers()
	return g
}

// clearMembers removes all members, as if nobody had ever joined.
func (g *group) clearMembers() {
	for _, m := range g.members {
		g.unweigh(m)
	}
	g.members, g.leader, g.joining, g.owing = nil, "", 0, 0
	g.byID = make(map[string]*member)
	g.static = make(map[string]*member)
	g.supported = make(map[string]int)
}

// vacant reports whether nobody is in the group or about to join it.
func (g *group) vacant() bool {
	return g.state == Empty && len(g.members) == 0 && len(g.pending) == 0
}

func (g *group) enter(now time.Time, next State) {
	g.previous, g.state, g.since = g.state, next, now.UnixMilli()
}

// metadata returns what the member says about a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// says reports whether the member says the same as before about its protocols.
func (m *member) says(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// add takes a member into the group. The caller has checked its protocols.
func (g *group) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instance != nil {
		g.static[*m.instance] = m
	}
	g.support(m, 1)
	g.weigh(m)
	m.expiry.fire = func(now time.Time) { g.expireSession(now, m) }
	g.removePending(m.id)
}

// remove takes a member out of the group. Its waiting requests are answered that it is no member.
func (g *group) remove(m *member) {
	g.answerJoin(m, &JoinAnswer{Err: ErrUnknownMember, Generation: -1})
	m.sync.answer(g.shard, &SyncAnswer{Err: ErrUnknownMember})
	g.shard.timers.stop(&m.expiry)
	g.settleSync(m)
	g.support(m, -1)
	g.unweigh(m)
	delete(g.byID, m.id)
	if m.instance != nil {
		delete(g.static, *m.instance)
	}
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// support counts the member's protocols in (by 1) or out (by -1).
func (g *group) support(m *member, by int) {
	for _, p := range m.protocols {
		if g.supported[p.Name] += by; g.supported[p.Name] == 0 {
			delete(g.supported, p.Name)
		}
	}
}

// awaitJoin parks the member's JoinGroup. If another JoinGroup of the member is already waiting,
// that one is refused: its connection is gone, or the client is confused.
func (g *group) awaitJoin(m *member, w Waiter) {
	g.answerJoin(m, &JoinAnswer{Err: ErrRebalanceInProgress, Generation: -1, MemberID: m.id})
	m.join = waiting{on: true, waiter: w}
	g.joining++
}

func (g *group) answerJoin(m *member, a *JoinAnswer) bool {
	if !m.join.answer(g.shard, a) {
		return false
	}
	g.joining--
	return true
}

// settleSync notes that the member's SyncGroup is not awaited any more.
func (g *group) settleSync(m *member) {
	if m.owes {
		m.owes = false
		g.owing--
	}
}

// addPending remembers a member id that is given out (KIP-394) for one session.
func (g *group) addPending(now time.Time, id string, session time.Duration) {
	if len(g.pending) >= pendingMax {
		g.removePending(g.pending[0].id)
	}
	p := &pendingMember{id: id}
	p.session.fire = func(now time.Time) {
		g.removePending(id)
		g.maybeCompleteJoin(now)
	}
	g.pending = append(g.pending, p)
	g.shard.charge(p.size())
	g.shard.timers.set(&p.session, now.Add(session))
}

func (g *group) isPending(id string) bool {
	return slices.ContainsFunc(g.pending, func(p *pendingMember) bool { return p.id == id })
}

func (g *group) removePending(id string) {
	i := slices.IndexFunc(g.pending, func(p *pendingMember) bool { return p.id == id })
	if i < 0 {
		return
	}
	p := g.pending[i]
	g.shard.timers.stop(&p.session)
	g.pending = slices.Delete(g.pending, i, i+1)
	g.shard.charge(-p.size())
}

// renew restarts the member's session.
func (g *group) renew(now time.Time, m *member) {
	g.shard.timers.set(&m.expiry, now.Add(m.session))
}

// expireSession removes a member that has been silent. A member that waits for an answer has
// nothing to send, and the answer restarts its session. A new member, however, may have given up
// before it learnt its id; it has newMemberTimeout.
func (g *group) expireSession(now time.Time, m *member) {
	if !m.fresh && (m.join.on || m.sync.on) {
		return
	}
	g.remove(m)
	g.membersLeft(now)
}

// membersLeft starts a rebalance, or ends a join phase that waited for the members that left.
func (g *group) membersLeft(now time.Time) {
	switch g.state {
	case Stable, CompletingRebalance:
		g.prepareRebalance(now)
	case PreparingRebalance:
		g.maybeCompleteJoin(now)
	}
}

// validate checks that the request comes from a current member.
func (g *group) validate(memberID string, instance *string) (*member, error) {
	if instance != nil {
		m := g.static[*instance]
		if m == nil {
			return nil, ErrUnknownMember
		}
		if m.id != memberID {
			return nil, ErrFencedInstance
		}
	}
	m := g.byID[memberID]
	if m == nil {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// rebalanceTimeout is the longest one among the members.
func (g *group) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalance)
	}
	return longest
}

// Heartbeat serves Heartbeat. It returns nil, or why the member must do something else.
func (s *Shard) Heartbeat(now time.Time, r HeartbeatRequest) error {
	if r.Group == "" {
		return ErrInvalidGroupID
	}
	g := s.find(r.Group)
	if g == nil {
		return ErrUnknownMember
	}
	m, err := g.validate(r.MemberID, r.InstanceID)
	if err != nil {
		return err
	}
	if r.Generation != g.generation {
		return ErrIllegalGeneration
	}
	g.renew(now, m)
	// In CompletingRebalance all is well: the member has its generation and waits for its
	// assignment.
	if g.state == PreparingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}

// Leave serves LeaveGroup. If the group becomes empty, the answer waits until the empty group is
// written.
func (s *Shard) Leave(now time.Time, r LeaveRequest) Effects {
	if r.Group == "" {
		s.answer(r.Waiter, &LeaveAnswer{Err: ErrInvalidGroupID})
		return s.take()
	}
	a := &LeaveAnswer{Members: make([]error, len(r.Members))}
	g := s.find(r.Group)
	if g == nil {
		for i := range a.Members {
			a.Members[i] = ErrUnknownMember
		}
		s.answer(r.Waiter, a)
		return s.take()
	}
	left := false
	for i, who := range r.Members {
		a.Members[i] = g.leave(who)
		left = left || a.Members[i] == nil
	}
	if left {
		g.membersLeft(now)
	}
	if len(s.effects.Writes) == 0 {
		s.answer(r.Waiter, a)
		return s.take()
	}
	s.inFlight[len(s.inFlight)-1].op.then(func(error) { s.answer(r.Waiter, a) })
	return s.take()
}

// then adds something to do when the operation ends.
func (op *operation) then(also func(err error)) {
	first := op.done
	op.done = func(now time.Time, err error) {
		first(now, err)
		also(err)
	}
}

func (g *group) leave(who LeaveMember) error {
	if who.MemberID == "" {
		if who.InstanceID == nil || g.static[*who.InstanceID] == nil {
			return ErrUnknownMember
		}
		g.remove(g.static[*who.InstanceID])
		return nil
	}
	if g.isPending(who.MemberID) {
		g.removePending(who.MemberID)
		return nil
	}
	m, err := g.validate(who.MemberID, who.InstanceID)
	if err != nil {
		return err
	}
	g.remove(m)
	return nil
}
