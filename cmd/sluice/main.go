// Command sluice is a Kafka-compatible broker whose log lives in object storage.
//
// There is one file per command: flags → config → open in order → serve → close in reverse. Package
// config knows the keys, settings.go makes the parts' configurations from their values, and run.go
// opens and serves, for serve and dev alike. Package node joins the parts to a broker. The tools
// (restore, object, wal) use the parts directly; stuck asks the admin address of a running broker.
// Package client has the commands that talk to any cluster, and bench.go runs package bench/load.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/cmd/sluice/client"
)

func main() { os.Exit(execute(os.Args[1:])) }

// execute runs one command and returns the exit code of the process.
func execute(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go stopBySignals(cancel)
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for _, line := range lines(err) {
		fmt.Fprintln(os.Stderr, "sluice:", line)
	}
	return exitCode(err)
}

// stopBySignals lets the first signal end the command in order, and the second one end the process
// at once.
func stopBySignals(cancel context.CancelFunc) {
	signals := make(chan os.Signal, 2) // room for both, however fast they come
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	cancel()
	second := <-signals
	signal.Reset()
	// Ends the process as an unhandled signal does.
	_ = syscall.Kill(os.Getpid(), second.(syscall.Signal))
}

// usageError is a command line that does not say what to do.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

const exitUsage = 2

func exitCode(err error) int {
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return client.ExitCode(err)
}

// The groups of commands in the help.
const (
	groupBroker = "broker"
	groupClient = "client"
	groupInside = "inside"
)

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
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	root.AddGroup(
		&cobra.Group{ID: groupBroker, Title: "Run a broker:"},
		&cobra.Group{ID: groupClient, Title: "Use a cluster, this one or any other that speaks Kafka:"},
		&cobra.Group{ID: groupInside, Title: "Look at what is stored:"},
	)
	addTo(root, groupBroker, devCommand(), serveCommand(), restoreCommand())
	addTo(root, groupClient, append(client.Commands(), benchCommand())...)
	addTo(root, groupInside, objectCommand(), walCommand(), stuckCommand())
	version := versionCommand()
	checkArgs(version)
	root.AddCommand(version)
	return root
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		checkArgs(c)
		root.AddCommand(c)
	}
}

// checkArgs makes a wrong number of arguments an error of usage, in a command and those below it. A
// command that only holds other commands prints its help if none of them is named.
func checkArgs(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args, c.DisableFlagsInUseLine = cobra.NoArgs, true
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil || exitCode(err) == exitUsage {
				return err // the client's commands do this themselves
			}
			return usage(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}
