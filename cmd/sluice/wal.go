package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/vfs"
	"github.com/sluicemq/sluice/wal"
)

func walCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "wal", Short: "Look at the write-ahead log"}
	cmd.AddCommand(walInspectCommand())
	return cmd
}

func walInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [INCARNATION]",
		Short: "Print segments and groups, verifying every checksum",
		Long: `Print what the write-ahead log in --dir holds: segments, groups and, with --entries, the entries
of each group. Every checksum is verified; damage is printed and makes the exit code 1. Without INCARNATION all of them,
oldest first. It only reads; beside a running broker the end may look torn.`,
		Args: cobra.MaximumNArgs(1),
	}
	dir := cmd.Flags().String("dir", "./sluice-data", "data directory")
	asJSON := cmd.Flags().Bool("json", false, "one JSON object per line")
	entries := cmd.Flags().Bool("entries", false, "name every entry")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		folder := filepath.Join(*dir, "wal")
		names, err := incarnations(folder, args)
		if err != nil {
			return err
		}
		return inspectWAL(cmd.OutOrStdout(), folder, names, wal.InspectOptions{JSON: *asJSON, Entries: *entries})
	}
	return cmd
}

// incarnations are the requested ones, or all that have a folder.
func incarnations(folder string, asked []string) (names []string, err error) {
	if len(asked) > 0 {
		return asked, nil
	}
	found, err := vfs.OS().List(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: is --dir right?", err)
	}
	for _, name := range found {
		if _, err := strconv.ParseUint(name, 16, 64); err == nil && len(name) == 16 {
			names = append(names, name)
		}
	}
	return names, err
}

// inspectWAL goes on after damage, since the rest is worth seeing, too.
func inspectWAL(w io.Writer, folder string, names []string, opts wal.InspectOptions) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, wal.Inspect(w, vfs.OS(), filepath.Join(folder, name), opts))
	}
	return errors.Join(errs...)
}
