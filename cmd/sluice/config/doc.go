// Package config is the configuration of a broker: which keys there are, and what a
// file, the environment and the command line say about them.
//
// It owns the table of keys ([Keys]) with their types and defaults, and says of each whether it acts, is accepted
// without meaning here, or asks for something that is not served, which must not be ignored: a start that was asked
// for TLS and answers in clear text would be a lie.
//
// Sources are read into lists of [Entry] ([ParseFile], [FromEnvironment], [FromFlags]); [Resolve] lays them over each
// other and reports every problem at once, each with its place. The resulting [Config] is immutable.
//
// Nothing here reads a file, a variable or the clock: bytes and lists of strings come in as arguments. Package main
// makes the parts' Config structs of the values. There are no goroutines and no locks.
//
// Imports: catalog (for topic defaults), go.yaml.in/yaml.
package config
