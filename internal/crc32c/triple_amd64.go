package crc32c

import "golang.org/x/sys/cpu"

var hasTriple = cpu.X86.HasSSE42

// triple hashes three runs side by side. The first continues from state, the others begin at 0, and
// nothing is inverted. Meanwhile it prefetches the three runs that would follow p, even if there
// are none: a prefetch reads nothing and cannot fail.
//
//go:noescape
func triple(state uint32, p *[3 * runBytes]byte) (first, second, third uint32)
