package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// GroupAuditor asks a broker about groups over raw connections and records the answers.
type GroupAuditor struct {
	Addr   string
	H      *history.Groups
	Groups []string
	Topic  string
	Count  int32 // partitions of the topic
}

// Follow asks for all committed offsets until ctx ends, whatever happens to the broker.
func (a *GroupAuditor) Follow(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.followOnce(ctx, tick.C)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// followOnce goes on for as long as its connection lives.
func (a *GroupAuditor) followOnce(ctx context.Context, tick <-chan time.Time) {
	c, err := Dial(a.Addr)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for ctx.Err() == nil {
		for _, g := range a.Groups {
			if _, err := a.Committed(c, g); err != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-tick:
		}
	}
}

// Committed asks what a group has committed, by partition.
func (a *GroupAuditor) Committed(c *Conn, group string) ([]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(7)
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic = a.Topic
	for p := range a.Count {
		t.Partitions = append(t.Partitions, p)
	}
	req.Group, req.Topics = group, append(req.Topics, t)
	reader := tapReader{h: a.H, group: group}
	asked := reader.asked(req)
	resp, err := do[*kmsg.OffsetFetchResponse](c, req)
	if err != nil {
		return nil, err
	}
	reader.answered(asked, resp)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	offsets := make([]int64, a.Count)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("offsets of group %s, partition %d: %w", group, p.Partition, err)
			}
			offsets[p.Partition] = p.Offset
		}
	}
	return offsets, nil
}

// Assigned returns nil if the group is stable with the given number of members and each partition
// has one owner.
func (a *GroupAuditor) Assigned(group string, members int) error {
	c, err := Dial(a.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.owned(c, group, members)
}

// Settled returns nil if the group is assigned and has committed everything that was written.
func (a *GroupAuditor) Settled(group string, members int) error {
	c, err := Dial(a.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := a.owned(c, group, members); err != nil {
		return err
	}
	committed, err := a.Committed(c, group)
	if err != nil {
		return err
	}
	for p, at := range committed {
		end, _, err := c.ListOffset(a.Topic, int32(p), Latest)
		if err != nil {
			return err
		}
		if at != end {
			return fmt.Errorf("group %s: partition %d is committed up to %d and ends at %d", group, p, at, end)
		}
	}
	return nil
}

func (a *GroupAuditor) owned(c *Conn, group string, members int) error {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.SetVersion(5)
	req.Groups = []string{group}
	resp, err := do[*kmsg.DescribeGroupsResponse](c, req)
	if err != nil {
		return err
	}
	g := resp.Groups[0]
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		return fmt.Errorf("describe group %s: %w", group, err)
	}
	var names []string
	for _, m := range g.Members {
		names = append(names, m.MemberID)
	}
	if g.State != "Stable" || len(g.Members) != members {
		return fmt.Errorf("group %s is %s with %d members, want Stable with %d: %q", group, g.State, len(g.Members), members, names)
	}
	owners := make(map[int32]int)
	for _, m := range g.Members {
		parts, err := assignedTo(m.MemberAssignment)
		if err != nil {
			return err
		}
		for _, p := range parts {
			owners[p.Index]++
		}
	}
	for p := range a.Count {
		if owners[p] != 1 {
			return fmt.Errorf("group %s: partition %d has %d owners", group, p, owners[p])
		}
	}
	return nil
}
