package group

import (
	"slices"
	"strings"
	"time"
)

// Shard holds the groups of one partition of __consumer_offsets, as a pure state machine. It is not
// safe for concurrent use: one owner calls it.
//
// Its durable state is what the log says: each group's newest metadata record and its committed
// offsets. Only Replay and settle change that. The rest is lost with the process: which members are
// joining, which requests wait, timers.
type Shard struct {
	cfg       Config
	groups    map[string]*group
	timers    timers
	inFlight  []write // in order
	lastToken Token
	effects   Effects // of the current call
	bytes     int     // estimated size of the durable state
	skipped   int

	memory   *Memory
	size     int // bytes that the shard counts in memory
	admitted int // bytes beside size that memory counts until the current call ends
}

// NewShard returns an empty shard. The owner replays its log, calls Loaded and then serves. Memory
// counts what the shard holds, until Drop.
func NewShard(cfg Config, memory *Memory) *Shard {
	return &Shard{cfg: cfg, groups: make(map[string]*group), memory: memory}
}

// take ends the current call: it returns the effects and clears them.
func (s *Shard) take() Effects {
	s.giveBackAdmitted()
	e := s.effects
	s.effects = Effects{}
	return e
}

// answer gives a waiter its one answer.
func (s *Shard) answer(w Waiter, b Body) {
	s.effects.Answers = append(s.effects.Answers, Answer{Waiter: w, Body: b})
}

// find returns the group if clients may see it.
func (s *Shard) find(id string) *group {
	if g := s.groups[id]; g != nil && g.known {
		return g
	}
	return nil
}

// group returns the group, and creates it if there is none. Clients do not see a new group until
// known is set.
func (s *Shard) group(id string) *group {
	g := s.groups[id]
	if g == nil {
		g = newGroup(s, id)
		s.register(g)
	}
	return g
}

func (s *Shard) register(g *group) {
	s.groups[g.id] = g
	s.charge(groupOverhead + len(g.id))
}

// maybeForget drops a group that neither clients nor the log know.
func (s *Shard) maybeForget(g *group) {
	if !g.known && g.inFlight == 0 && len(g.offsets) == 0 && g.vacant() {
		s.unregister(g)
	}
}

// unregister does nothing for a group that was forgotten before.
func (s *Shard) unregister(g *group) {
	if s.groups[g.id] == g {
		delete(s.groups, g.id)
		s.charge(-groupOverhead - len(g.id))
	}
}

// sorted returns the groups that clients may see, by name.
func (s *Shard) sorted() []*group {
	all := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		if g.known {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *group) int { return strings.Compare(a.id, b.id) })
	return all
}

// Deadline returns when Tick has something to do, or zero if nothing waits for time. It may lie in
// the past.
func (s *Shard) Deadline() time.Time {
	if len(s.timers.queue) == 0 {
		return time.Time{}
	}
	return s.timers.queue[0].at
}

// Tick does what is due: it ends sessions, rebalances and pending members.
func (s *Shard) Tick(now time.Time) Effects {
	seq := s.timers.seq
	for {
		t := s.timers.due(now, seq)
		if t == nil {
			return s.take()
		}
		t.fire(now)
	}
}

// Stop answers every waiter with err, because the owner gives the shard up. Nothing may be called
// after it.
func (s *Shard) Stop(err error) Effects {
	for _, g := range s.sorted() {
		for _, m := range g.members {
			m.join.answer(s, &JoinAnswer{Err: err, Generation: -1, MemberID: m.id})
			m.sync.answer(s, &SyncAnswer{Err: err})
		}
	}
	for _, w := range s.inFlight {
		w.op.left--
		if w.op.left == 0 {
			w.op.done(time.Time{}, err)
		}
	}
	s.inFlight = nil
	e := s.take()
	e.Writes = nil
	return e
}

// Describe serves DescribeGroups for one group.
func (s *Shard) Describe(id string) Description {
	g := s.find(id)
	if g == nil {
		return Description{Err: ErrNotFound, Group: id, State: Dead}
	}
	d := Description{Group: id, State: g.state, ProtocolType: g.protocolType}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		md := MemberDescription{MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, Assignment: m.assignment}
		if g.state == Stable {
			md.Metadata = m.metadata(g.protocol)
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// List serves ListGroups, by name.
func (s *Shard) List() []Listing {
	groups := s.sorted()
	list := make([]Listing, len(groups))
	for i, g := range groups {
		list[i] = Listing{Group: g.id, State: g.state, ProtocolType: g.protocolType}
	}
	return list
}
