package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore --bucket URL --dir DIR",
		Short: "Bring a cluster whose disk is lost back from its bucket",
		Long: `Make the empty directory DIR that of the cluster in --bucket: its newest metadata
snapshot, and every record that was flushed after it. What was only in the lost write-ahead log does
not come back. It prints to which time it went back, and what lies in the bucket and could not be used.

Stop the old broker first. Once the restore is done, a directory of before refuses to serve; one that still
runs stops at its next snapshot, and what it took meanwhile is not in the restored cluster.

The bucket is only read until the last step; an interrupted restore is begun again with an empty DIR.
Start the restored broker with the same --dir and --bucket.`,
		Example: `  sluice restore --bucket 's3://my-bucket/sluice?region=eu-central-1' --dir /var/lib/sluice
  sluice dev --bucket 's3://my-bucket/sluice?region=eu-central-1' --dir /var/lib/sluice`,
		Args: cobra.NoArgs,
	}
	bucketURL := cmd.Flags().String("bucket", "", "the cluster's bucket: s3://bucket/prefix?region=… or file:///path")
	dir := cmd.Flags().String("dir", "", "empty or absent directory to restore into")
	nodeID := cmd.Flags().Int32("node-id", 1, "`ID` of the broker that the directory is for: its node.id")
	acceptLoss := cmd.Flags().Bool("accept-loss", false, "restore although damaged objects keep sound records behind them from coming back")
	asJSON := cmd.Flags().Bool("json", false, "print the report as one JSON document; progress goes to standard error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *bucketURL == "" || *dir == "" {
			return usage(errors.New("restore needs --bucket URL and --dir DIR"))
		}
		cfg := node.RestoreConfig{Dir: *dir, NodeID: *nodeID, AcceptLoss: *acceptLoss}
		report, err := restore(cmd.Context(), *bucketURL, cfg, cmd.ErrOrStderr())
		if err != nil && report.Cluster == "" {
			return err // it did not get far enough to know anything
		}
		if *asJSON {
			err = errors.Join(err, printJSON(cmd.OutOrStdout(), report))
		} else if err == nil {
			printReport(cmd.OutOrStdout(), &report, *bucketURL)
		} else {
			printTrouble(cmd.ErrOrStderr(), &report)
		}
		return err
	}
	return cmd
}

func restore(ctx context.Context, url string, cfg node.RestoreConfig, progress io.Writer) (report node.Report, err error) {
	b, err := openExisting(ctx, url)
	if err != nil {
		return report, err
	}
	defer closing(&err, b.Close)
	return node.Restore(ctx, cfg, node.RestoreDeps{
		Bucket: b, Out: progress, Log: slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// openExisting opens a bucket for writing. Unlike open.Open it does not create the folder of a
// mistyped file:// URL.
func openExisting(ctx context.Context, url string) (bucket.Bucket, error) {
	look, err := open.Open(ctx, url, open.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if err := look.Close(); err != nil {
		return nil, err
	}
	return open.Open(ctx, url, open.Options{})
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printReport says in words what a restore did. The URL is shown as it was given: a URL with
// credentials in it does not open.
func printReport(w io.Writer, r *node.Report, bucketURL string) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	if s := r.Snapshot; s.Number > 0 {
		line("Cluster %s went back to snapshot %d of %s (index %d, generation %d) and what was flushed after it.",
			r.Cluster, s.Number, s.Time.Format(time.RFC3339), s.Index, s.Generation)
	} else {
		line("Cluster %s had no snapshot yet; it has what was flushed.", r.Cluster)
	}
	line("  now            generation %d, stored as snapshot %d, directory %s", r.Generation, r.Link, r.Dir)
	line("  topics         %d with %d partitions", r.Topics, r.Partitions)
	line("  after snapshot %d offsets from %d of %d objects; %d hold nothing that came back and will be deleted",
		r.Offsets, r.Objects.Applied, r.Objects.Unsettled, r.Objects.Unused)
	if r.Partitions > 0 {
		line("  leader epochs  above %d (before: at most %d)", r.Epoch, r.EpochSeen)
	}
	printTrouble(w, r)
	line("Start it:  sluice dev --dir %s --bucket %s", quoted(r.Dir), quoted(bucketURL))
}

// quoted quotes an argument for a shell, where the ? and & of a URL have a meaning.
func quoted(arg string) string { return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'" }

// printTrouble names what a restore found and could not use.
func printTrouble(w io.Writer, r *node.Report) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	for _, o := range r.Objects.Foreign {
		line("FOREIGN  %s: %s; it stays where it is", o.Key, o.Reason)
	}
	for _, o := range r.Objects.Damaged {
		line("DAMAGED  %s: %s; it stays where it is", o.Key, o.Reason)
	}
	for _, l := range r.LeftOut {
		line("LEFT OUT %s-%d [%d,%d) of epoch %d in %s: %s", l.Topic, l.Partition, l.Start, l.End, l.Epoch, l.Key, l.Reason)
	}
	for _, key := range r.Objects.Kept {
		line("KEPT     %s: nothing refers to it, but beside the damage it may be needed; it stays where it is", key)
	}
}
