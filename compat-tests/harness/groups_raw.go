package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// RawMember is a member of a group on raw connections that does what no stock client does: it marks
// every commit, sends two commits at a time that race each other, repeats commits that were
// answered, and tries to commit in a generation that is over. As a leader it assigns partitions in
// ranges.
type RawMember struct {
	Addr, Group, Topic string
	Count              int32  // partitions of the topic
	Instance           string // "" for a dynamic member
	Session            time.Duration
	Rand               *rand.Rand

	id         string
	generation int32
	positions  map[int32]int64
	marks      int
	main, side *Conn
}

// rawStep is the interval in which a raw member reads, commits and sends a heartbeat.
const rawStep = 50 * time.Millisecond

// Run takes part until ctx ends. Then it goes away without leaving the group.
func (m *RawMember) Run(ctx context.Context) {
	for ctx.Err() == nil {
		// After a lost connection it comes back as the same member.
		_ = m.session(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(rawStep):
		}
	}
}

func (m *RawMember) session(ctx context.Context) (err error) {
	if m.main, err = Dial(m.Addr); err != nil {
		return err
	}
	defer m.main.Close()
	if m.side, err = Dial(m.Addr); err != nil {
		return err
	}
	defer m.side.Close()
	defer context.AfterFunc(ctx, func() { m.main.Close(); m.side.Close() })()
	for ctx.Err() == nil {
		err := m.life(ctx)
		switch {
		case errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedInstanceID):
			m.id = ""
		case errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration):
		default:
			return err
		}
	}
	return nil
}

// life is one generation. It ends when the generation or the connection does.
func (m *RawMember) life(ctx context.Context) error {
	if err := m.join(); err != nil {
		return err
	}
	tick := time.NewTicker(rawStep)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := m.step(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func (m *RawMember) step() error {
	moved, err := m.read()
	if err != nil {
		return err
	}
	if moved || m.Rand.IntN(10) == 0 {
		if err := m.commit(); err != nil {
			return err
		}
	}
	return m.heartbeat()
}

func (m *RawMember) instance() *string {
	if m.Instance == "" {
		return nil
	}
	return &m.Instance
}

func (m *RawMember) join() error {
	req := kmsg.NewPtrJoinGroupRequest()
	req.SetVersion(7)
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = m.Group, m.id, m.instance(), "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.Session.Milliseconds()), 8_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics = 1, []string{m.Topic}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	resp, err := do[*kmsg.JoinGroupResponse](m.main, req)
	if err != nil {
		return err
	}
	if resp.ErrorCode == kerr.MemberIDRequired.Code {
		m.id = resp.MemberID
		return m.join()
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	m.id, m.generation = resp.MemberID, resp.Generation
	return m.sync(resp)
}

func (m *RawMember) sync(joined *kmsg.JoinGroupResponse) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.SetVersion(5)
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.Group, m.id, m.instance(), m.generation
	kind := "consumer"
	req.ProtocolType, req.Protocol = &kind, joined.Protocol
	if joined.LeaderID == m.id {
		req.GroupAssignment = m.share(joined.Members)
	}
	resp, err := do[*kmsg.SyncGroupResponse](m.main, req)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	parts, err := assignedTo(resp.MemberAssignment)
	if err != nil {
		return err
	}
	m.positions = make(map[int32]int64)
	for _, p := range parts {
		m.positions[p.Index] = 0
	}
	return m.resume()
}

// share gives each member a range of partitions.
func (m *RawMember) share(members []kmsg.JoinGroupResponseMember) (plan []kmsg.SyncGroupRequestGroupAssignment) {
	slices.SortFunc(members, func(a, b kmsg.JoinGroupResponseMember) int { return cmp.Compare(a.MemberID, b.MemberID) })
	n := int32(len(members))
	for i, member := range members {
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic = m.Topic
		for p := int32(i) * m.Count / n; p < (int32(i)+1)*m.Count/n; p++ {
			t.Partitions = append(t.Partitions, p)
		}
		a := kmsg.NewConsumerMemberAssignment()
		a.Topics = append(a.Topics, t)
		g := kmsg.NewSyncGroupRequestGroupAssignment()
		g.MemberID, g.MemberAssignment = member.MemberID, a.AppendTo(nil)
		plan = append(plan, g)
	}
	return plan
}

// resume continues from the offsets that the group has committed.
func (m *RawMember) resume() error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(7)
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic = m.Topic
	for p := range m.positions {
		t.Partitions = append(t.Partitions, p)
	}
	if len(t.Partitions) == 0 {
		return nil
	}
	req.Group, req.RequireStable, req.Topics = m.Group, true, append(req.Topics, t)
	resp, err := do[*kmsg.OffsetFetchResponse](m.main, req)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, p := range resp.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return err
		}
		m.positions[p.Partition] = max(0, p.Offset)
	}
	return nil
}

// read fetches once from each of its partitions.
func (m *RawMember) read() (moved bool, err error) {
	for p, from := range m.positions {
		got, err := m.main.fetch(m.Topic, p, from, 64<<10)
		if err != nil {
			return moved, err
		}
		if _, last, ok := batchSpan(got.RecordBatches); ok {
			m.positions[p] = last + 1
			moved = true
		}
	}
	return moved, nil
}

// commit commits its positions, and sometimes does what it should not or need not do.
func (m *RawMember) commit() error {
	switch m.Rand.IntN(8) {
	case 0: // two commits race: either may be the last
		if err := m.side.Send(m.commitRequest(m.generation)); err != nil {
			return err
		}
		err := m.committed(m.main, m.generation)
		if _, sideErr := m.side.Receive(&kmsg.OffsetCommitRequest{Version: commitVersion}); sideErr != nil {
			return sideErr
		}
		return err
	case 1: // a commit in a generation that is over
		err := m.committed(m.main, m.generation-1)
		if err == nil {
			// The history reports it too.
			return fmt.Errorf("group %s: a commit in generation %d was accepted", m.Group, m.generation-1)
		}
		if !errors.Is(err, kerr.IllegalGeneration) {
			return err
		}
	}
	return m.committed(m.main, m.generation)
}

const commitVersion = 8

func (m *RawMember) committed(c *Conn, generation int32) error {
	if len(m.positions) == 0 {
		return nil
	}
	resp, err := do[*kmsg.OffsetCommitResponse](c, m.commitRequest(generation))
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *RawMember) commitRequest(generation int32) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(commitVersion)
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.Group, m.id, m.instance(), generation
	m.marks++
	mark := fmt.Sprintf("%s/%d", m.id, m.marks)
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = m.Topic
	for p, offset := range m.positions {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.Metadata = p, offset, &mark
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func (m *RawMember) heartbeat() error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4)
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.Group, m.id, m.instance(), m.generation
	resp, err := do[*kmsg.HeartbeatResponse](m.main, req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
