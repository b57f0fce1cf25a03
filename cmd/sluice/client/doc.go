// Package client is the part of the command line that talks to a Kafka cluster:
// sluice topic, group, produce and consume.
//
// It owns what these commands print, in three formats, their exit codes (exit.go), the offset
// grammar (where.go) and the format letters (letters.go). It speaks the Kafka protocol through
// franz-go and nothing else, so that it works against any Kafka, and it promises that
// every wait for the cluster ends: within --timeout, or with Ctrl-C.
//
// A command is a cobra.Command whose RunE opens a [session]; [Commands] lists
// them and [ExitCode] tells what the process ends with. One goroutine
// is started here, which reads standard input for produce; records that were sent are answered on the client's.
//
// A request whose answer holds an error that passes by itself is sent again until --timeout, in one
// place for all commands (admin.go).
//
// Imports: internal/retry. Only this package, of all under cmd, imports kadm.
package client
