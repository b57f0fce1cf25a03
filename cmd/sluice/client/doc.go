// Package client is the part of the command line that talks to a Kafka cluster: sluice topic,
// group, produce and consume.
//
// It owns what these commands print, in three formats, their exit codes (exit.go), the offset
// grammar (where.go) and the format letters (letters.go). It uses only the Kafka protocol, through
// franz-go, so that it works with any Kafka. It promises that every wait for the cluster ends:
// within --timeout, or with Ctrl-C.
//
// A command is a cobra.Command whose RunE opens a [session]. [Commands] lists the commands, and
// [ExitCode] tells the exit code of the process. The package starts one goroutine, which reads
// standard input for produce. Answers to sent records are handled on the client's goroutines.
//
// A request whose answer holds an error that passes by itself is sent again until --timeout, in one
// place for all commands (admin.go).
//
// Imports: internal/retry. Of all packages under cmd, only this one imports kadm.
package client
