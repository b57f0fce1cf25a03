// Package house holds the rules that a machine can repeat: which package may
// import which, that the pure cores stay pure, that every package says what it
// owns, and that the numbers of invariants (I1 to I16) and of interleavings
// (E1 to E30) used in the code are explained and tested.
//
// It has no code, only tests; they read the whole tree, the compat-tests module
// included, and name file and line. `make check` runs them. Imports nothing of ours.
package house
