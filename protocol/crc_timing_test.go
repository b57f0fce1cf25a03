package protocol

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/sluicemq/sluice/internal/crc32c"
)

// BenchmarkWholeCRC shows from which size on combining is faster than hashing (combineFromBytes).
func BenchmarkWholeCRC(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 1 << 20} {
		p := randomBytes(rng, n)
		rest := crc32.Checksum(p[crcFrom:], Castagnoli)
		b.Run(fmt.Sprintf("hash/%d", n), func(b *testing.B) {
			for b.Loop() {
				crc32.Checksum(p, Castagnoli)
			}
		})
		b.Run(fmt.Sprintf("combine/%d", n), func(b *testing.B) {
			for b.Loop() {
				crc32c.Combine(crc32.Checksum(p[:crcFrom], Castagnoli), rest, int64(n-crcFrom))
			}
		})
	}
}
