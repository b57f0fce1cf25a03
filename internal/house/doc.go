// Package house holds the rules that a machine can check: which package may import which; that the
// pure cores stay pure; that every package says what it owns; that the numbers of invariants (I1 to
// I16) and of interleavings (E1 to E30) in the code are explained and tested; that comments keep to
// the width and cite only pages of the repository; and that the file map of docs/architecture.md
// names what there is.
//
// It has no code, only tests. They read the whole tree, including the compat-tests module, and name
// the file and line of each problem. `make check` runs them. Imports nothing of ours.
package house
