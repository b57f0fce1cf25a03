// Command sluice is a Kafka-compatible broker whose log lives in object storage.
//
// One file per command: flags → config → open in order → serve → close in
// reverse. Package node joins the parts to a broker; the tools (restore, object, wal) use the parts directly.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/cmd/sluice/client"
)

// version is stamped by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // a second signal ends the process at once
		<-ctx.Done()
		stop()
	}()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", err)
		os.Exit(client.ExitCode(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "A Kafka-compatible broker whose log lives in object storage",
		Long: `Sluice speaks the Kafka protocol, makes records durable in a local write-ahead
log within a millisecond or two, and keeps them in S3-compatible object storage.

Start with:  sluice dev
Then:        kcat -b 127.0.0.1:9092 -P -t hello    and    kcat -b 127.0.0.1:9092 -C -t hello`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.AddCommand(devCommand(), objectCommand(), restoreCommand(), versionCommand(), walCommand())
	root.AddCommand(client.Commands()...)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "sluice", version) },
	}
}
