// Package unzeroed gives memory that was not filled with zeros.
//
// It promises nothing about the content. There are no types, goroutines or locks, and there is no
// layout. Imports: the standard library.
package unzeroed

import (
	"strings"
	"unsafe"
)

// leastBytes is the smallest size for which not simply make is called.
const leastBytes = 32 << 10

// Make returns n bytes of unknown content. The caller must overwrite all of them, or drop them,
// before anybody reads any. make would write each byte once more than the socket or the disk does
// ([BenchmarkMake]): that was 12 % of the cost of a cold fetch, and 22 % of one from the WAL's
// file. Large memory begins at a page, so that a disk can write into it directly. [strings.Builder]
// is the one place where the runtime gives such memory away.
func Make(n int) []byte {
	if n < leastBytes {
		return make([]byte, n)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // so that there is a first byte to point at
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
