// Package compat shows that stock clients work against the real binary, over TCP only: what is acknowledged survives kill -9, an outage of the
// bucket and the loss of the disk.
package compat
