package coordinator

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sluicemq/sluice/broker/group"
)

// This file has the requests. An error means that the group was not asked, or that the caller gave
// up (the error of ctx). What the group itself says is in its answer.

// ask sends a request to the shard of its group and waits for the answer.
func ask[B group.Body](ctx context.Context, c *Coordinator, name string, taken func(), f func(*group.Shard, time.Time, group.Waiter) group.Effects) (answer B, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return answer, err
	}
	body, err := s.ask(ctx, taken, f)
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

// Join handles JoinGroup. It may take as long as the rebalance timeout. Join itself sets Waiter and
// FreshID of r. When the group has the request, Join lets go of r's protocols and calls taken.
func (c *Coordinator) Join(ctx context.Context, r *group.JoinRequest, taken func()) (*group.JoinAnswer, error) {
	r.FreshID = newUUID()
	return ask[*group.JoinAnswer](ctx, c, r.Group, taken, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		defer func() { r.Protocols = nil }()
		return m.Join(now, *r)
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

// Sync handles SyncGroup. It answers when the leader's assignment is durable. As soon as the group
// has the request, Sync lets go of r's assignments and calls taken.
func (c *Coordinator) Sync(ctx context.Context, r *group.SyncRequest, taken func()) (*group.SyncAnswer, error) {
	return ask[*group.SyncAnswer](ctx, c, r.Group, taken, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		defer func() { r.Assignments = nil }()
		return m.Sync(now, *r)
	})
}

// Heartbeat handles the request Heartbeat.
func (c *Coordinator) Heartbeat(ctx context.Context, r group.HeartbeatRequest) (err error) {
	posted := c.view(ctx, r.Group, func(m *group.Shard) { err = m.Heartbeat(time.Now(), r) })
	if posted != nil {
		return posted
	}
	return err
}

// Leave handles LeaveGroup.
func (c *Coordinator) Leave(ctx context.Context, r group.LeaveRequest) (*group.LeaveAnswer, error) {
	return ask[*group.LeaveAnswer](ctx, c, r.Group, nil, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Leave(now, r)
	})
}

// Commit handles OffsetCommit. It answers when the offsets are durable.
func (c *Coordinator) Commit(ctx context.Context, r group.CommitRequest) (*group.CommitAnswer, error) {
	return ask[*group.CommitAnswer](ctx, c, r.Group, nil, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.Commit(now, r)
	})
}

// DeleteOffsets handles OffsetDelete.
func (c *Coordinator) DeleteOffsets(ctx context.Context, r group.DeleteOffsetsRequest) (*group.DeleteOffsetsAnswer, error) {
	return ask[*group.DeleteOffsetsAnswer](ctx, c, r.Group, nil, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		r.Waiter = w
		return m.DeleteOffsets(now, r)
	})
}

// Delete handles DeleteGroups for one group.
func (c *Coordinator) Delete(ctx context.Context, name string) (*group.DeleteAnswer, error) {
	return ask[*group.DeleteAnswer](ctx, c, name, nil, func(m *group.Shard, now time.Time, w group.Waiter) group.Effects {
		return m.Delete(now, group.DeleteRequest{Waiter: w, Group: name})
	})
}

// Fetch handles OffsetFetch for the partitions named. It returns one result for each, in order.
func (c *Coordinator) Fetch(ctx context.Context, name string, partitions []group.PartitionName) (offsets []group.FetchedOffset, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(m *group.Shard) { offsets = m.Fetch(name, partitions, s.topics) })
	return offsets, err
}

// FetchAll handles OffsetFetch for everything that the group has committed, ordered by topic, then
// partition.
func (c *Coordinator) FetchAll(ctx context.Context, name string) (offsets []group.FetchedOffset, err error) {
	s, err := c.shardOf(name)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(m *group.Shard) { offsets = m.FetchAll(name, s.topics) })
	return offsets, err
}

// Describe handles DescribeGroups for one group.
func (c *Coordinator) Describe(ctx context.Context, name string) (d group.Description, err error) {
	err = c.view(ctx, name, func(m *group.Shard) { d = m.Describe(name) })
	return d, err
}

// Size returns roughly how many bytes of memory a group takes.
func (c *Coordinator) Size(ctx context.Context, name string) (bytes int, err error) {
	err = c.view(ctx, name, func(m *group.Shard) { bytes = m.Size(name) })
	return bytes, err
}

// List handles ListGroups: it lists the groups that this broker coordinates. If one shard is still
// loading, it returns ErrLoading, because an incomplete list would look complete.
func (c *Coordinator) List(ctx context.Context) (groups []group.Listing, err error) {
	err = c.each(ctx, func(s *shard) error {
		return s.view(ctx, func(m *group.Shard) { groups = append(groups, m.List()...) })
	})
	return groups, err
}

// each calls f for every shard of this broker.
func (c *Coordinator) each(ctx context.Context, f func(*shard) error) error {
	set, err := c.open()
	if err != nil {
		return ctx.Err() // without the topic there are no groups
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

// Status is what the metrics show of one group.
type Status struct {
	Group   string
	State   group.State
	Members int
	Offsets []group.FetchedOffset // the committed offsets, by topic, then partition
}

// Groups returns the status of every group that is loaded. It leaves out the groups that still
// load.
func (c *Coordinator) Groups(ctx context.Context) (all []Status) {
	_ = c.each(ctx, func(s *shard) error {
		_ = s.view(ctx, func(m *group.Shard) { // on an error the shard is left out
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
