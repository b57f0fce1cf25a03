// Package config is the configuration of a broker: which keys there are, and what a file, the
// environment and the command line say about them.
//
// It owns the table of keys ([Keys]) with their types and defaults. The table says for each key
// whether it acts, is accepted without a meaning here, or asks for something that is not served.
// The last kind must not be ignored: a broker that was told to use TLS and answers in clear text
// would be a lie.
//
// Sources are read into lists of [Entry] ([ParseFile], [FromEnvironment], [FromFlags]). [Resolve]
// lets later lists override earlier ones, and reports every problem at once, each with its place.
// The resulting [Config] is immutable.
//
// Nothing here reads a file, a variable or the clock: bytes and lists of strings are arguments.
// Package main makes the parts' Config structs from the values. There are no goroutines and no
// locks.
//
// Imports: catalog (for topic defaults), go.yaml.in/yaml.
package config
