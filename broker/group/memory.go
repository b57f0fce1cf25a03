package group

import "sync/atomic"

// These are rough sizes of the structs, map entries and timers of a group's parts, without the
// strings and bytes that clients send.
const (
	groupOverhead    = 1 << 10
	memberOverhead   = 1 << 10
	protocolOverhead = 128
	pendingOverhead  = 256
	slotOverhead     = 256
)

// newcomersPart is the part of a Memory, in eighths, that new members and simple groups may fill.
// The rest is for what the members of groups add: assignments, and offsets of new partitions.
const newcomersPart = 7

// Memory counts the bytes that the groups of several shards take, and bounds them. Unlike a Shard
// it may be used by several goroutines.
//
// The count covers members with their protocols and assignments, member ids that are not used yet,
// stored records, and offsets. At the bound a request that would add to the count is refused with
// ErrNoMemory; a member that needs no more than before goes on. A log that is replayed is counted
// and never refused, so the count may exceed a bound that was lowered.
type Memory struct {
	max  int64
	used atomic.Int64
}

// NewMemory returns a Memory with a bound in bytes.
func NewMemory(max int64) *Memory { return &Memory{max: max} }

// Used returns the number of bytes that groups take.
func (m *Memory) Used() int64 { return m.used.Load() }

// admit makes sure that the current call may add n bytes, and sets them aside until the call ends.
func (s *Shard) admit(n int, newcomer bool) bool {
	if n <= 0 {
		return true
	}
	bound := s.memory.max
	if newcomer {
		bound = bound / 8 * newcomersPart
	}
	if s.memory.used.Add(int64(n)) > bound {
		s.memory.used.Add(-int64(n))
		return false
	}
	s.admitted += n
	return true
}

// charge counts n bytes more, or fewer if n is negative. It is the only place where the size of a
// shard changes. What was admitted is counted in the Memory already.
func (s *Shard) charge(n int) {
	s.size += n
	if n > 0 {
		ready := min(n, s.admitted)
		s.admitted -= ready
		n -= ready
	}
	s.memory.used.Add(int64(n))
}

// giveBackAdmitted gives back what admit has set aside and the call has not used.
func (s *Shard) giveBackAdmitted() {
	s.memory.used.Add(-int64(s.admitted))
	s.admitted = 0
}

// Drop gives back the share of the Memory that the shard holds. The owner calls it when it gives
// the shard up, and calls nothing after it.
func (s *Shard) Drop() { s.charge(-s.size) }

// weigh counts the bytes that a member takes now. It is called after every change of a member.
func (g *group) weigh(m *member) {
	size := m.size()
	g.shard.charge(size - m.charged)
	m.charged = size
}

// unweigh takes a member out of the count.
func (g *group) unweigh(m *member) {
	g.shard.charge(-m.charged)
	m.charged = 0
}

func (m *member) size() int {
	size := memberOverhead + len(m.id) + len(m.clientID) + len(m.clientHost) + len(m.assignment) + protocolsSize(m.protocols)
	if m.instance != nil {
		size += len(*m.instance)
	}
	return size
}

func protocolsSize(protocols []Protocol) int {
	size := 0
	for _, p := range protocols {
		size += protocolOverhead + len(p.Name) + len(p.Metadata)
	}
	return size
}

// size returns the bytes that a new member takes, with its part of the group's record.
func (r *JoinRequest) size() int {
	size := groupOverhead + pendingOverhead + memberOverhead + len(r.Group) + 2*(len(r.ClientID)+len(r.FreshID)+len(r.MemberID)+len(r.ClientHost))
	if r.InstanceID != nil {
		size += 2 * len(*r.InstanceID)
	}
	return size + 2*protocolsSize(r.Protocols)
}

// size returns the bytes that an offset takes beside its slot.
func (o *offset) size() int {
	if o == nil {
		return 0
	}
	return len(o.metadata)
}

func (p PartitionName) size() int { return slotOverhead + len(p.Topic) }

// assignedMore returns by how many bytes new assignments, and the record that holds them, exceed
// the present ones.
func (g *group) assignedMore(assignments map[string][]byte, record Record) int {
	more := len(record.Value) - len(g.stored)
	for _, m := range g.members {
		more += len(assignments[m.id]) - len(m.assignment)
	}
	return more
}

// committedMore returns by how many bytes an offset exceeds the committed one.
func (g *group) committedMore(p PartitionName, o *offset) int {
	sl := g.offsets[p]
	if sl == nil {
		return p.size() + o.size()
	}
	return o.size() - sl.committed.size()
}

// Size returns the bytes that a group takes, or 0 if the group does not exist.
func (s *Shard) Size(id string) int {
	g := s.find(id)
	if g == nil {
		return 0
	}
	size := groupOverhead + len(g.id) + len(g.stored)
	for _, m := range g.members {
		size += m.charged
	}
	for _, p := range g.pending {
		size += p.size()
	}
	for _, sl := range g.offsets {
		size += sl.partition.size() + sl.committed.size()
	}
	return size
}

func (p *pendingMember) size() int { return pendingOverhead + len(p.id) }
