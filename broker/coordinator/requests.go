package coordinator

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
)

// The requests. An error means that the group was not asked, or that the caller gave up (the error
// of ctx): what the group says itself stands in its answer.

// ask sends a request to the shard of its group and waits for the answer.
func ask[B group.Body](ctx context.Context, c *Coordinator, name string, f func(*group.Shard, time.Time, group.Waiter) group.Effects) (answer B, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return answer, err
	}
	body, err := s.ask(ctx, f)
	if err != nil {
		return answer, err
	}
	return body.(B), nil
}

// view looks at the shard of a group.
func (c *Coordinator) view(ctx context.Context, name string, f func(*group.Shard)) error {
	s, err := c.shardOf(name)
	if err != nil {
		return err
	}
	return s.view(ctx, f)
}

// Join is JoinGroup. It may take as long as the rebalance timeout. Waiter and FreshID of r are set here.
func (c *Coordinator) Join(ctx context.Context, r group.JoinRequest) (*group.JoinAnswer, error) {
	r.FreshID = newUUID()
	return ask[*group.JoinAnswer](ctx, c, r.Group, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Join(now, r)
	})
}

// newUUID returns a random version 4 UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Sync is SyncGroup. It is answered when the leader's assignment is durable.
func (c *Coordinator) Sync(ctx context.Context, r group.SyncRequest) (*group.SyncAnswer, error) {
	return ask[*group.SyncAnswer](ctx, c, r.Group, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Sync(now, r)
	})
}

// Heartbeat is Heartbeat.
func (c *Coordinator) Heartbeat(ctx context.Context, r group.HeartbeatRequest) (err error) {
	posted := c.view(ctx, r.Group, func(m *group.Shard) { err = m.Heartbeat(time.Now(), r) })
	if posted != nil {
		return posted
	}
	return err
}

// Leave is LeaveGroup.
func (c *Coordinator) Leave(ctx context.Context, r group.LeaveRequest) (*group.LeaveAnswer, error) {
	return ask[*group.LeaveAnswer](ctx, c, r.Group, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Leave(now, r)
	})
}

// Commit is OffsetCommit. It is answered when the offsets are durable.
func (c *Coordinator) Commit(ctx context.Context, r group.CommitRequest) (*group.CommitAnswer, error) {
	return ask[*group.CommitAnswer](ctx, c, r.Group, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Commit(now, r)
	})
}

// DeleteOffsets is OffsetDelete.
func (c *Coordinator) DeleteOffsets(ctx context.Context, r group.DeleteOffsetsRequest) (*group.DeleteOffsetsAnswer, error) {
	return ask[*group.DeleteOffsetsAnswer](ctx, c, r.Group, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.DeleteOffsets(now, r)
	})
}

// Delete is DeleteGroups of one group.
func (c *Coordinator) Delete(ctx context.Context, name string) (*group.DeleteAnswer, error) {
	return ask[*group.DeleteAnswer](ctx, c, name, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		return m.Delete(now, group.DeleteRequest{Waiter: w, Group: name})
	})
}

// Fetch is OffsetFetch of the partitions named, one result each, in order.
func (c *Coordinator) Fetch(ctx context.Context, name string, partitions []group.PartitionName) (offsets []group.FetchedOffset, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(m *group.Shard) { offsets = m.Fetch(name, partitions, s.topics) })
	return offsets, err
}

// FetchAll is OffsetFetch of all that the group has committed, by topic, then partition.
func (c *Coordinator) FetchAll(ctx context.Context, name string) (offsets []group.FetchedOffset, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(m *group.Shard) { offsets = m.FetchAll(name, s.topics) })
	return offsets, err
}

// Describe is DescribeGroups of one group.
func (c *Coordinator) Describe(ctx context.Context, name string) (d group.Description, err error) {
	err = c.view(ctx, name, func(m *group.Shard) { d = m.Describe(name) })
	return d, err
}

// List is ListGroups: what this broker coordinates. One shard that loads makes it ErrLoading: an incomplete list would look whole.
func (c *Coordinator) List(ctx context.Context) (groups []group.Listing, err error) {
	err = c.each(ctx, func(s *shard) error {
		return s.view(ctx, func(m *group.Shard) { groups = append(groups, m.List()...) })
	})
	return groups, err
}

// each calls f for every shard of this broker, if there are any.
func (c *Coordinator) each(ctx context.Context, f func(*shard) error) error {
	set, err := c.open()
	if err != nil {
		return ctx.Err() // no topic, no groups
	}
	for _, s := range set.shards {
		if s == nil {
			continue
		}
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

// Status is what metrics tell of one group.
type Status struct {
	Group   string
	State   group.State
	Members int
	Offsets []group.FetchedOffset // committed, by topic, then partition
}

// Groups tells of every group that is loaded; what still loads is left out.
func (c *Coordinator) Groups(ctx context.Context) (all []Status) {
	_ = c.each(ctx, func(s *shard) error {
		_ = s.view(ctx, func(m *group.Shard) { // an error leaves the shard out
			for _, l := range m.List() {
				all = append(all, Status{
					Group: l.Group, State: l.State, Members: len(m.Describe(l.Group).Members), Offsets: m.FetchAll(l.Group, s.topics),
				})
			}
		})
		return nil
	})
	return all
}
