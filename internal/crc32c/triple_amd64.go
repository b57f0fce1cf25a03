package crc32c

import "golang.org/x/sys/cpu"

var hasTriple = cpu.X86.HasSSE42

// triple hashes three runs side by side: the first goes on from state, the others begin at 0, nothing is inverted. Meanwhile it
// asks memory for as much behind p, which may be beyond what p is a part of: a prefetch reads nothing and cannot fail.
//
//go:noescape
func triple(state uint32, p *[3 * runBytes]byte) (first, second, third uint32)
