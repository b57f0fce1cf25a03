package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/term"
)

// deleted is what became of a topic that was to be deleted.
type deleted struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "deleted", "absent" or "failed"
	Error  string `json:"error,omitempty"`
}

func topicDelete(c *connection) *cobra.Command {
	var out format
	var yes, ifExists bool
	cmd := &cobra.Command{
		Use:   "delete TOPIC…",
		Short: "Delete topics with all their records",
		Long: `Delete topics with all their records. There is no way back.

On a terminal it says what goes and asks. Elsewhere, as in scripts, it wants --yes.`,
		Annotations: reference(),
		Example: `  sluice topic delete orders
  sluice topic delete orders payments --yes
  sluice topic delete orders --yes --if-exists`,
		Args:              cobra.MinimumNArgs(1),
		Aliases:           []string{"rm"},
		ValidArgsFunction: completeWith(c, 0, topicNames),
		RunE: func(cmd *cobra.Command, topics []string) error {
			if !yes && !isTerminal(cmd.InOrStdin()) {
				return fail(exitRefused, "deleting %s is for good: nobody is here to ask, so add --yes", strings.Join(topics, ", "))
			}
			if !yes {
				if err := confirmDelete(cmd, c, topics); err != nil {
					return err
				}
			}
			return c.bounded(cmd, func(ctx context.Context, s *session) error {
				rows, failed, err := s.deleteTopics(ctx, topics, ifExists)
				if err != nil {
					return err
				}
				if err := out.print(cmd.OutOrStdout(), rows, func(t *tabulator) { printDeleted(t, rows) }); err != nil {
					return err
				}
				return several(len(rows)-len(failed), failed)
			})
		},
	}
	out.addFlag(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that does not exist is no error")
	return cmd
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirmDelete shows what would be deleted, and asks.
func confirmDelete(cmd *cobra.Command, c *connection, topics []string) error {
	err := c.bounded(cmd, func(ctx context.Context, s *session) error {
		var selections []selection
		for _, t := range topics {
			selections = append(selections, selection{topic: t})
		}
		parts, err := s.partitionsOf(ctx, selections)
		if err != nil {
			return err
		}
		spans, err := s.spans(ctx, parts, s.admin.ListEndOffsets)
		if err != nil {
			return err
		}
		var records int64
		for _, sp := range spans {
			records += sp.end - sp.start
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Delete %s with %s in %s, for good? [y/N] ", strings.Join(topics, ", "),
			plural(records, "record"), plural(len(parts), "partition"))
		return nil
	})
	if err != nil {
		return err
	}
	return readYes(cmd.InOrStdin())
}

func readYes(in io.Reader) error {
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fail(exitRefused, "nothing was deleted")
}

func (s *session) deleteTopics(ctx context.Context, topics []string, ifExists bool) (rows []deleted, failed []error, err error) {
	responses, err := s.admin.DeleteTopics(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range responses.Sorted() {
		row := deleted{Name: r.Topic, Status: "deleted"}
		switch {
		case r.Err == nil:
		case ifExists && errors.Is(r.Err, kerr.UnknownTopicOrPartition):
			row.Status = "absent"
		default:
			failed = append(failed, topicError(r.Topic, r.Err, r.ErrMessage))
			row.Status, row.Error = "failed", failed[len(failed)-1].Error()
		}
		rows = append(rows, row)
	}
	return rows, failed, nil
}

func printDeleted(t *tabulator, rows []deleted) {
	t.head("TOPIC", "STATUS")
	for _, r := range rows {
		t.row(r.Name, r.Status)
	}
}
