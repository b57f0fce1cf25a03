package client

import (
	"context"
	"errors"
	"path"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

func topicCommand() *cobra.Command {
	c := &connection{}
	cmd := parent("topic", "List, create, describe, change and delete topics",
		`List, create, describe, change and delete topics, of Sluice or of any Kafka cluster.

  sluice topic create orders -p 6
  sluice topic ls
  sluice topic describe orders`,
		topicLs(c), topicCreate(c), topicDescribe(c), topicAlter(c), topicDelete(c))
	c.addFlags(cmd.PersistentFlags())
	return cmd
}

// topicRow is a topic in a list.
type topicRow struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
}

func topicLs(c *connection) *cobra.Command {
	var out format
	var internal bool
	cmd := &cobra.Command{
		Use:   "ls [PATTERN…]",
		Short: "List topics",
		Long: `List topics, all or those that a pattern matches: * stands for any text, ? for one
character, [a-c] for one of some. Quote patterns, so that the shell leaves them alone.
Internal topics (__consumer_offsets) are left out without --internal or a pattern that matches them.`,
		Annotations: reference(),
		Example: `  sluice topic ls
  sluice topic ls 'orders-*'
  sluice topic ls -o json | jq -r '.[].name'`,
		Aliases:           []string{"list"},
		ValidArgsFunction: completeWith(c, 0, topicNames),
		RunE: func(cmd *cobra.Command, patterns []string) error {
			if err := checkPatterns(patterns); err != nil {
				return err
			}
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				rows, err := s.topicRows(ctx, internal, patterns)
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), rows, func(t *tabulator) { printTopicRows(t, rows) })
			})
		},
	}
	out.addFlag(cmd)
	cmd.Flags().BoolVar(&internal, "internal", false, "internal topics too")
	return cmd
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return usage("pattern %q: %w", p, err)
		}
	}
	return nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, name) // checkPatterns has checked it
		return ok
	})
}

func (s *session) topicRows(ctx context.Context, internal bool, patterns []string) ([]topicRow, error) {
	topics, err := s.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	rows := []topicRow{}
	for _, d := range topics.Sorted() {
		if len(patterns) > 0 && !matches(patterns, d.Topic) || len(patterns) == 0 && d.IsInternal && !internal {
			continue
		}
		if d.Err != nil && !errors.Is(d.Err, kerr.LeaderNotAvailable) {
			return nil, topicError(d.Topic, d.Err, "")
		}
		rows = append(rows, topicRow{d.Topic, len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal})
	}
	return rows, nil
}

func printTopicRows(t *tabulator, rows []topicRow) {
	t.head("TOPIC", "PARTITIONS", "REPLICAS")
	for _, r := range rows {
		t.row(r.Name, r.Partitions, r.Replicas)
	}
}
