// Package node joins metadata, storage, bucket and broker to one running broker.
//
// The parts do not know each other; this package is where storage's Catalog and
// the broker's Topics are answered from the metadata quorum ([Catalog]), where the
// order of opening and closing stands ([Open], [Node.Close]), and where the bucket is kept
// shut until it is known to be this cluster's ([gate]). It holds no rules of its own
// beyond that order (E27) and the writing of the snapshot chain (E1, E22).
//
// Goroutines: the chain keeper (chain.go) and the bucket's check (claim.go), both
// ended by Close. Imports: everything but cmd.
package node
