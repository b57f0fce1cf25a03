// Package beside finds where two answers to the same request differ.
//
// A [Side] turns an answer of a broker into a [Node], a tree of named values. In the tree,
// everything that must differ between two brokers (ids, ports, times, wording) has a common name.
// [Diff] compares two trees. A [List] holds the intended differences, which are tables in
// docs/differences.md: a difference that matches no row is a bug of the broker, and a row that
// matches nothing is a bug of the page.
//
// It promises that nothing is left out silently: what is normalised is in the tables at the top of
// normal.go. Nothing here starts goroutines, or may be called concurrently. Imports: kmsg.
package beside
