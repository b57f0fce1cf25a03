// Package node joins metadata, storage, bucket and broker to one running broker.
//
// The parts do not know each other; this package is where storage's Catalog and
// the broker's Topics are answered from the metadata quorum ([Catalog]), where the
// order of opening and closing stands ([Open], [Node.Close]), and where the bucket is kept
// shut until it is known to be this cluster's ([gate]). It holds no rules of its own
// beyond that order (E27), and the order in which a
// lost directory is made anew from the bucket ([Restore], E26).
//
// node.json says whose a directory is ([Identity]): "new" is continued by the next start, "ready" is
// served, "restoring" never is.
//
// It also answers health, metrics and profiles over HTTP (admin.go); each package names what is measured of it in
// its metrics.go, and docs/metrics.md lists it all.
//
// Goroutines: the bucket's check and after it the controller (while this node leads the quorum), the watch that logs what is not in the bucket
// (metrics.go), the admin server's, all ended by Close; Restore's readers, ended when it returns. Imports: everything but cmd.
package node
