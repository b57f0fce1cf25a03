package broker

import (
	"strings"
	"unsafe"
)

// unzeroedMin is the least that is not just asked of make.
const unzeroedMin = 32 * kib

// makeUnzeroed returns n bytes of unknown content, for whoever overwrites all of them before anybody reads any: make would
// write each byte of a frame once more than the socket does (BenchmarkMakeUnzeroed).
// [strings.Builder] is the one place where the runtime gives such memory away.
func makeUnzeroed(n int) []byte {
	if n < unzeroedMin {
		return make([]byte, n)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0) // so that it has a first byte to point at
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}
