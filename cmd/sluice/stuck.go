package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/storage"
)

// stuckAnswerMax bounds how much of an answer is read, stuckTimeout how long the command waits for
// it.
const (
	stuckAnswerMax = 64 << 20
	stuckTimeout   = 10 * time.Second
)

func stuckCommand() *cobra.Command {
	var admin string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stuck",
		Short: "Show partitions that cannot move to the bucket, why, and the way out",
		Long: `Show partitions that cannot move to the bucket, why, and the way out.

A broker asks producers of such a partition to come again later, and keeps what the partition holds in
its log. Other partitions notice nothing. The broker is asked at its admin address (sluice.admin.listener).

It ends with 0 if there is none, and with 1 if there are some.`,
		Example: `  sluice stuck
  sluice stuck --admin 10.0.0.5:9644 --json | jq -r '.[].remedy'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stuck, err := askStuck(cmd.Context(), admin)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(stuck)
			} else {
				err = printStuck(cmd.OutOrStdout(), stuck)
			}
			if err == nil && len(stuck) > 0 {
				err = fmt.Errorf("%d partitions are stuck", len(stuck))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9644", "HOST:PORT of the broker's admin address")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// askStuck asks a broker which partitions are stuck.
func askStuck(ctx context.Context, admin string) (stuck []storage.StuckPartition, err error) {
	ctx, cancel := context.WithTimeout(ctx, stuckTimeout)
	defer cancel()
	url := "http://" + admin + "/stuck"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, usage(fmt.Errorf("--admin %q: want HOST:PORT", admin))
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the broker: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, stuckAnswerMax))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %.200s", url, answer.Status, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, &stuck); err != nil {
		return nil, fmt.Errorf("%s does not answer as a broker's admin address does: %w", url, err)
	}
	return stuck, nil
}

func printStuck(w io.Writer, stuck []storage.StuckPartition) error {
	if len(stuck) == 0 {
		_, err := fmt.Fprintln(w, "No partition is stuck.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// The writer is in memory; Flush reports errors.
	_, _ = fmt.Fprintln(t, "TOPIC\tPARTITION\tREASON\tSINCE\tUNFLUSHED")
	for i := range stuck {
		s := &stuck[i]
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\n", s.Topic, s.Partition, s.Reason, s.Since.UTC().Format(time.RFC3339), s.UnflushedBytes)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range stuck {
		s := &stuck[i]
		if _, err := fmt.Fprintf(w, "\n%s/%d: %s\n  Way out: %s.\n", s.Topic, s.Partition, s.Err, s.Remedy); err != nil {
			return err
		}
	}
	return nil
}
