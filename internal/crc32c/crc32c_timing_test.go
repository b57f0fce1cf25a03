package crc32c

import (
	"fmt"
	"hash/crc32"
	"testing"
)

// BenchmarkUpdate compares Update with hash/crc32, for bytes that are only in memory and for bytes
// that are in a cache.
func BenchmarkUpdate(b *testing.B) {
	memory := make([]byte, 256<<20) // far more than the caches hold
	for i := range memory {
		memory[i] = byte(i * 7)
	}
	for _, side := range []struct {
		name string
		hash func([]byte) uint32
	}{{"ours", Checksum}, {"std", func(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }}} {
		for _, size := range []struct{ bytes, within int }{{16 << 10, 16 << 10}, {128 << 10, 128 << 10}, {16 << 10, len(memory)}, {350 << 10, len(memory)}} {
			b.Run(fmt.Sprintf("%s/%dKiB/within=%dMiB", side.name, size.bytes>>10, size.within>>20), func(b *testing.B) {
				b.SetBytes(int64(size.bytes))
				from := 0
				for b.Loop() {
					if from+size.bytes > size.within {
						from = 0
					}
					side.hash(memory[from : from+size.bytes])
					from += size.bytes
				}
			})
		}
	}
}
