package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicDetail is everything about one topic.
type topicDetail struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Internal bool   `json:"internal"`
	// Records is the number of offsets between start and end. There are fewer records if some were
	// compacted away.
	Records    int64             `json:"records"`
	Bytes      *int64            `json:"bytes"` // null if the cluster does not tell
	Partitions []partitionDetail `json:"partitions"`
	Configs    []configRow       `json:"configs"`
}

type partitionDetail struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       *int64  `json:"start"` // null if the partition has no leader to ask
	End         *int64  `json:"end"`
	Bytes       *int64  `json:"bytes"`
	Error       string  `json:"error,omitempty"`
}

type configRow struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"` // null if it is sensitive
	Source string  `json:"source"`
}

func topicDescribe(c *connection) *cobra.Command {
	var out format
	var all bool
	cmd := &cobra.Command{
		Use:   "describe TOPIC…",
		Short: "Show partitions, offsets, size and configuration of topics",
		Long: `Show partitions, offsets, size and configuration of topics.

START is the oldest offset that is kept, END the one that the next record gets. Of the
configuration, what differs from the defaults is shown, and where it was set; with --all, everything.`,
		Annotations: reference(),
		Example: `  sluice topic describe orders
  sluice topic describe orders --all
  sluice topic describe orders -o json | jq '.[0].partitions[] | .end - .start'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWith(c, 0, topicNames),
		RunE: func(cmd *cobra.Command, topics []string) error {
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				details, failed, err := s.describeTopics(ctx, topics, all)
				if err != nil {
					return err
				}
				if err := out.print(cmd.OutOrStdout(), details, func(t *tabulator) { printTopics(t, details) }); err != nil {
					return err
				}
				return several(len(details), failed)
			})
		},
	}
	out.addFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "the whole configuration, defaults too")
	return cmd
}

// describeTopics gathers what five requests return. A topic that does not exist, or does not
// answer, does not hide the others.
func (s *session) describeTopics(ctx context.Context, topics []string, all bool) (details []topicDetail, failed []error, err error) {
	details, failed, err = s.metadataOf(ctx, topics)
	if err != nil || len(details) == 0 {
		return details, failed, err
	}
	if err := s.addConfigs(ctx, details, all); err != nil {
		return nil, nil, err
	}
	s.addSizes(ctx, details)
	unknown, err := s.addOffsets(ctx, details) // last, since one partition may take all of the time
	return details, append(failed, unknown...), err
}

// metadataOf asks which partitions topics have, and who leads them.
func (s *session) metadataOf(ctx context.Context, topics []string) (details []topicDetail, failed []error, err error) {
	meta, err := s.admin.Metadata(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	details = []topicDetail{}
	for _, name := range topics {
		d := meta.Topics[name]
		if d.Err != nil {
			failed = append(failed, topicError(name, d.Err, ""))
			continue
		}
		details = append(details, newTopicDetail(d))
	}
	return details, failed, nil
}

func newTopicDetail(d kadm.TopicDetail) topicDetail {
	t := topicDetail{Name: d.Topic, ID: base64.RawURLEncoding.EncodeToString(d.ID[:]), Internal: d.IsInternal, Configs: []configRow{}}
	for _, p := range d.Partitions.Sorted() {
		row := partitionDetail{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR}
		if p.Err != nil {
			row.Error = clusterError(partition{d.Topic, p.Partition}.String(), p.Err, "").Error()
		}
		t.Partitions = append(t.Partitions, row)
	}
	return t
}

func detailNames(details []topicDetail) []string {
	var names []string
	for _, d := range details {
		names = append(names, d.Name)
	}
	return names
}

// addOffsets adds what the partitions keep. If a partition does not tell, its row and unknown say
// why.
func (s *session) addOffsets(ctx context.Context, details []topicDetail) (unknown []error, err error) {
	starts, ends, err := s.startsAndEnds(ctx, detailNames(details))
	if err != nil {
		return nil, err
	}
	for i := range details {
		d := &details[i]
		for j := range d.Partitions {
			p := &d.Partitions[j]
			p.Start, p.End = listedOffset(starts, d.Name, p.Partition), listedOffset(ends, d.Name, p.Partition)
			if p.Start != nil && p.End != nil {
				d.Records += *p.End - *p.Start
			}
			if err := listedError(d.Name, p.Partition, starts, ends); err != nil {
				p.Error = err.Error()
				unknown = append(unknown, err)
			}
		}
	}
	return unknown, nil
}

// startsAndEnds asks what is kept of topics. If the starts take all of the time, they say why, and
// there are no ends.
func (s *session) startsAndEnds(ctx context.Context, topics []string) (starts, ends kadm.ListedOffsets, err error) {
	starts, err = s.admin.ListStartOffsets(ctx, topics...)
	if err == nil && ctx.Err() == nil {
		ends, err = s.admin.ListEndOffsets(ctx, topics...)
	}
	return starts, ends, firstShardError(err)
}

// listedError returns why an offset is not known, if the partition exists.
func listedError(topic string, number int32, lists ...kadm.ListedOffsets) error {
	for _, l := range lists {
		if o, ok := l.Lookup(topic, number); ok && o.Err != nil && !errors.Is(o.Err, kerr.UnknownTopicOrPartition) {
			return topicError(partition{topic, number}.String(), o.Err, "")
		}
	}
	return nil
}

func listedOffset(l kadm.ListedOffsets, topic string, number int32) *int64 {
	o, ok := l.Lookup(topic, number)
	if !ok || o.Err != nil {
		return nil
	}
	return &o.Offset
}

// addSizes asks for sizes. Not every cluster tells them, and not everybody may ask. Without an
// answer there are none.
func (s *session) addSizes(ctx context.Context, details []topicDetail) {
	set := make(kadm.TopicsSet)
	for _, d := range details {
		for _, p := range d.Partitions {
			set.Add(d.Name, p.Partition)
		}
	}
	dirs, err := s.admin.DescribeAllLogDirs(ctx, set)
	if err != nil {
		return
	}
	for i := range details {
		for j := range details[i].Partitions {
			addSize(&details[i], &details[i].Partitions[j], dirs)
		}
	}
}

// addSize uses the leader's size, since copies hold the same.
func addSize(d *topicDetail, p *partitionDetail, dirs kadm.DescribedAllLogDirs) {
	found, ok := dirs[p.Leader].LookupPartition(d.Name, p.Partition)
	if !ok {
		return
	}
	p.Bytes = &found.Size
	sum := found.Size
	if d.Bytes != nil {
		sum += *d.Bytes
	}
	d.Bytes = &sum
}

func (s *session) addConfigs(ctx context.Context, details []topicDetail, all bool) error {
	described, err := s.admin.DescribeTopicConfigs(ctx, detailNames(details)...)
	if err != nil {
		return firstShardError(err)
	}
	for i := range details {
		d := &details[i]
		rc, err := described.On(d.Name, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return topicError(d.Name, err, rc.ErrMessage)
		}
		d.Configs = configRows(rc.Configs, all)
	}
	return nil
}

func configRows(configs []kadm.Config, all bool) []configRow {
	rows := []configRow{}
	for _, c := range configs {
		if all || c.Source != kmsg.ConfigSourceDefaultConfig {
			rows = append(rows, configRow{c.Key, c.Value, sourceName(c.Source)})
		}
	}
	slices.SortFunc(rows, func(a, b configRow) int { return cmp.Compare(a.Key, b.Key) })
	return rows
}

// sourceName returns "topic" for DYNAMIC_TOPIC_CONFIG, and so on.
func sourceName(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "topic"
	case kmsg.ConfigSourceDynamicBrokerConfig:
		return "broker (dynamic)"
	case kmsg.ConfigSourceDynamicDefaultBrokerConfig:
		return "cluster (dynamic)"
	case kmsg.ConfigSourceStaticBrokerConfig:
		return "broker"
	case kmsg.ConfigSourceDefaultConfig:
		return "default"
	}
	return strings.ToLower(s.String())
}

func printTopics(t *tabulator, details []topicDetail) {
	for i, d := range details {
		if i > 0 {
			t.line("")
		}
		t.line("Topic:       %s", d.Name)
		t.line("Id:          %s", d.ID)
		t.line("Partitions:  %d", len(d.Partitions))
		t.line("Records:     %d", d.Records)
		t.line("Bytes:       %s", cell(d.Bytes))
		t.line("")
		t.head("PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "BYTES")
		for _, p := range d.Partitions {
			t.row(p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.Start, p.End, p.Bytes)
		}
		if len(d.Configs) == 0 {
			continue
		}
		t.line("")
		t.head("CONFIG", "VALUE", "SET BY")
		for _, c := range d.Configs {
			t.row(c.Key, configValue(c.Value), c.Source)
		}
	}
}

func configValue(v *string) any {
	if v == nil {
		return "(sensitive)"
	}
	return *v
}
