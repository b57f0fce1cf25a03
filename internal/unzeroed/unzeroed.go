// Package unzeroed gives memory that nobody has written zeros into.
//
// It promises nothing about the content. There are no types, goroutines or locks, and nothing is laid out. Imports: the standard library.
package unzeroed

import (
	"strings"
	"unsafe"
)

// leastBytes is the least that is not just asked of make.
const leastBytes = 32 << 10

// Make returns n bytes of unknown content, for whoever overwrites all of them, or drops them, before anybody reads any: make would
// write each byte once more than the socket or the disk does ([BenchmarkMake]). It was 12 % of what a cold fetch cost, and 22 % of one from the WAL's file.
// What is not small begins at a page, so that a disk can write into it directly.
// [strings.Builder] is the one place where the runtime gives such memory away.
func Make(n int) []byte {
	if n < leastBytes {
		return make([]byte, n)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // so that it has a first byte to point at
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
