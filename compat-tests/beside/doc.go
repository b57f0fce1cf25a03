// Package beside tells where two answers to the same request differ.
//
// A [Side] turns what a broker answered into a [Node], a tree of named values in which all
// that has to differ between two brokers (ids, ports, times, wording) has been given a common name.
// [Diff] compares two trees. A [List] holds the differences that are meant, as docs/differences.md has them in its
// tables: what matches no row is a bug of the broker, a row that matches nothing is one of the page.
//
// It promises that nothing is left out silently: what is normalised stands in the tables at the top of normal.go.
// Nothing here starts goroutines or is safe for several. Imports: kmsg.
package beside
