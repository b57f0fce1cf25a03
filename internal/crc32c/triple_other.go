//go:build !amd64

package crc32c

// Elsewhere hash/crc32 does all of it.
const hasTriple = false

func triple(uint32, *[3 * runBytes]byte) (first, second, third uint32) { panic("BUG: no triple here") }
