package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupCommand() *cobra.Command {
	c := &connection{}
	cmd := parent("group", "List and describe consumer groups, and move where they read",
		`List and describe consumer groups, and move where they read, in Sluice or any Kafka cluster.

  sluice group ls
  sluice group describe billing
  sluice group reset-offsets billing --all-topics --to @-1h             (shows what would happen)
  sluice group reset-offsets billing --all-topics --to @-1h --execute   (does it)`,
		groupLs(c), groupDescribe(c), groupReset(c))
	c.addFlags(cmd.PersistentFlags())
	return cmd
}

// groupRow is a group in a list.
type groupRow struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// ProtocolType is for example "consumer" or "connect". It is empty for a group that only has
	// commits.
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func groupLs(c *connection) *cobra.Command {
	var out format
	var states []string
	cmd := &cobra.Command{
		Use:   "ls [PATTERN…]",
		Short: "List groups",
		Long: `List groups, all or those that a pattern matches: * stands for any text, ? for one
character, [a-c] for one of some. Quote patterns, so that the shell leaves them alone.`,
		Annotations: reference(),
		Example: `  sluice group ls
  sluice group ls 'billing-*' --state Empty
  sluice group ls -o json | jq -r '.[].name'`,
		Aliases:           []string{"list"},
		ValidArgsFunction: completeWith(c, 0, groupNames),
		RunE: func(cmd *cobra.Command, patterns []string) error {
			if err := checkPatterns(patterns); err != nil {
				return err
			}
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				rows, err := s.groupRows(ctx, states, patterns)
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), rows, func(t *tabulator) { printGroupRows(t, rows) })
			})
		},
	}
	out.addFlag(cmd)
	cmd.Flags().StringSliceVar(&states, "state", nil, "only groups in these `STATES`: Stable, Empty, PreparingRebalance, CompletingRebalance, Dead")
	return cmd
}

func (s *session) groupRows(ctx context.Context, states, patterns []string) ([]groupRow, error) {
	listed, err := s.admin.ListGroups(ctx, states...)
	if err != nil {
		return nil, firstShardError(err)
	}
	rows := []groupRow{}
	for _, g := range listed.Sorted() {
		if len(patterns) == 0 || matches(patterns, g.Group) {
			rows = append(rows, groupRow{g.Group, g.State, g.ProtocolType, g.Coordinator})
		}
	}
	return rows, nil
}

func printGroupRows(t *tabulator, rows []groupRow) {
	t.head("GROUP", "STATE", "TYPE", "COORDINATOR")
	for _, r := range rows {
		t.row(r.Name, r.State, r.ProtocolType, r.Coordinator)
	}
}

// groupDetail is everything about one group.
type groupDetail struct {
	Name        string        `json:"name"`
	State       string        `json:"state"`
	Protocol    string        `json:"protocol"` // how partitions are assigned to members
	Coordinator int32         `json:"coordinator"`
	Lag         int64         `json:"lag"` // of all partitions with a committed offset
	Members     []groupMember `json:"members"`
	Partitions  []groupOffset `json:"partitions"`
}

type groupMember struct {
	ID         string      `json:"id"`
	InstanceID *string     `json:"instance_id"` // for static members
	ClientID   string      `json:"client_id"`
	Host       string      `json:"host"`
	Assigned   []selection `json:"-"`
	Partitions []string    `json:"partitions"` // in the form TOPIC:0,1
}

// groupOffset is where a group is in a partition that has a committed offset, a member, or both.
type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null if nothing is committed
	Start     *int64 `json:"start"`     // null if the partition does not exist, or nobody leads it
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`    // records from committed to end; null if unknown
	Member    string `json:"member"` // its client id; empty if nobody reads the partition
}

func groupDescribe(c *connection) *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "describe GROUP…",
		Short: "Show members, assignments and lag of groups",
		Long: `Show members, assignments and lag of groups.

LAG is the number of records between what the group committed and the end of the partition.
A group that never committed for a partition has no lag there.`,
		Annotations: reference(),
		Example: `  sluice group describe billing
  sluice group describe billing -o json | jq '.[0].lag'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWith(c, 0, groupNames),
		RunE: func(cmd *cobra.Command, groups []string) error {
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				details := []groupDetail{}
				var failed []error
				for _, g := range groups {
					d, err := s.describeGroup(ctx, g)
					if err != nil {
						failed = append(failed, s.explain(err))
					}
					if d.Name != "" {
						details = append(details, d)
					}
				}
				if err := out.print(cmd.OutOrStdout(), details, func(t *tabulator) { printGroups(t, details) }); err != nil {
					return err
				}
				return several(len(details), failed)
			})
		},
	}
	out.addFlag(cmd)
	return cmd
}

// describeGroup may return both what is known, and an error that says why a lag is not known.
func (s *session) describeGroup(ctx context.Context, group string) (groupDetail, error) {
	d, err := s.groupState(ctx, group)
	if err != nil {
		return groupDetail{}, err
	}
	committed, err := s.committed(ctx, group)
	if err != nil {
		return groupDetail{}, err
	}
	err = s.addLag(ctx, &d, committed)
	return d, err
}

// groupState asks who is in a group. A group of the newer protocol (KIP-848) has a request of its
// own.
func (s *session) groupState(ctx context.Context, group string) (groupDetail, error) {
	described, err := s.admin.DescribeGroups(ctx, group)
	if err != nil {
		return groupDetail{}, firstShardError(err)
	}
	g, err := described.On(group, nil)
	if err == nil {
		err = g.Err
	}
	if errors.Is(err, kerr.GroupIDNotFound) || err == nil && g.State == "Dead" {
		return s.consumerGroupState(ctx, group)
	}
	if err != nil {
		return groupDetail{}, groupError(group, err, g.ErrMessage)
	}
	d := groupDetail{Name: g.Group, State: g.State, Protocol: g.Protocol, Coordinator: g.Coordinator.NodeID, Members: []groupMember{}}
	for _, m := range g.Members {
		set := kadm.TopicsSet{}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				set.Add(t.Topic, t.Partitions...)
			}
		}
		d.Members = append(d.Members, newMember(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, set))
	}
	return d, nil
}

func (s *session) consumerGroupState(ctx context.Context, group string) (groupDetail, error) {
	absent := groupError(group, kerr.GroupIDNotFound, "")
	described, err := s.admin.DescribeConsumerGroups(ctx, group)
	if err != nil {
		return groupDetail{}, absent // a cluster without such groups does not know the request
	}
	g, ok := described[group]
	if !ok || g.Err != nil {
		return groupDetail{}, absent
	}
	d := groupDetail{Name: g.Group, State: g.State, Protocol: g.AssignorName, Coordinator: g.Coordinator.NodeID, Members: []groupMember{}}
	for _, m := range g.Members {
		d.Members = append(d.Members, newMember(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, m.Assignment))
	}
	return d, nil
}

func newMember(id string, instance *string, client, host string, assigned kadm.TopicsSet) groupMember {
	m := groupMember{ID: id, InstanceID: instance, ClientID: client, Host: strings.TrimPrefix(host, "/"), Partitions: []string{}}
	for _, t := range assigned.Sorted() {
		slices.Sort(t.Partitions)
		m.Assigned = append(m.Assigned, selection{t.Topic, t.Partitions})
		m.Partitions = append(m.Partitions, t.Topic+":"+numbers(t.Partitions))
	}
	return m
}

// committed asks for everything that a group has committed.
func (s *session) committed(ctx context.Context, group string) (map[partition]int64, error) {
	responses, err := s.admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, groupError(group, err, "")
	}
	offsets := make(map[partition]int64)
	for _, r := range responses.Sorted() {
		p := partition{r.Topic, r.Partition}
		if r.Err != nil {
			return nil, clusterError(p.String(), r.Err, "")
		}
		if r.At >= 0 {
			offsets[p] = r.At
		}
	}
	return offsets, nil
}

// addLag lists partitions that have a committed offset or a reader, with what the partition keeps.
func (s *session) addLag(ctx context.Context, d *groupDetail, committed map[partition]int64) error {
	readers := make(map[partition]string)
	for _, m := range d.Members {
		for _, a := range m.Assigned {
			for _, n := range a.partitions {
				readers[partition{a.topic, n}] = m.ClientID
			}
		}
	}
	var parts []partition
	for p := range committed {
		parts = append(parts, p)
	}
	for p := range readers {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, comparePartitions)
	parts = slices.Compact(parts)
	d.Partitions = []groupOffset{}
	if len(parts) == 0 {
		return nil
	}
	starts, ends, err := s.startsAndEnds(ctx, topicsOf(parts))
	if err != nil {
		return err
	}
	var unknown error
	for _, p := range parts {
		if unknown == nil {
			unknown = listedError(p.topic, p.number, starts, ends)
		}
		row := groupOffset{Topic: p.topic, Partition: p.number, Member: readers[p],
			Start: listedOffset(starts, p.topic, p.number), End: listedOffset(ends, p.topic, p.number)}
		if at, ok := committed[p]; ok {
			row.Committed, row.Lag = &at, lag(at, row.Start, row.End)
		}
		if row.Lag != nil {
			d.Lag += *row.Lag
		}
		d.Partitions = append(d.Partitions, row)
	}
	return unknown
}

// lag counts from what is still kept, since no reader will see what retention has removed.
func lag(committed int64, start, end *int64) *int64 {
	if start == nil || end == nil {
		return nil
	}
	n := max(*end-max(committed, *start), 0)
	return &n
}

func printGroups(t *tabulator, details []groupDetail) {
	for i, d := range details {
		if i > 0 {
			t.line("")
		}
		t.line("Group:        %s", d.Name)
		t.line("State:        %s", d.State)
		t.line("Protocol:     %s", cell(d.Protocol))
		t.line("Coordinator:  %d", d.Coordinator)
		t.line("Lag:          %d", d.Lag)
		t.line("Members:      %d", len(d.Members))
		if len(d.Partitions) > 0 {
			t.line("")
			t.head("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
			for _, p := range d.Partitions {
				t.row(p.Topic, p.Partition, p.Committed, p.End, p.Lag, p.Member)
			}
		}
		if len(d.Members) > 0 {
			t.line("")
			printMembers(t, d.Members)
		}
	}
}

func printMembers(t *tabulator, members []groupMember) {
	slices.SortStableFunc(members, func(a, b groupMember) int { return cmp.Compare(a.ClientID, b.ClientID) })
	t.head("MEMBER", "HOST", "STATIC ID", "PARTITIONS", "ID")
	for _, m := range members {
		t.row(m.ClientID, m.Host, orDash(m.InstanceID), strings.Join(m.Partitions, " "), m.ID)
	}
}
