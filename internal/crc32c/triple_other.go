//go:build !amd64

package crc32c

// On other processors hash/crc32 does everything.
const hasTriple = false

func triple(uint32, *[3 * runBytes]byte) (first, second, third uint32) { panic("BUG: no triple here") }
