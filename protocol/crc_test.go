package protocol

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestWholeCRC(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, combineFromBytes / 2, combineFromBytes, 3 * combineFromBytes, 1 << 20} {
		batch, err := BuildBatch(BatchSpec{ProducerID: 7, BaseSequence: 5}, []Record{{Value: randomBytes(rng, n)}})
		if err != nil {
			t.Fatal(err)
		}
		SetPlace(batch, 1<<40, 3)
		if got, want := WholeCRC(batch), crc32.Checksum(batch, Castagnoli); got != want {
			t.Errorf("batch of %d bytes: %08x, want %08x", len(batch), got, want)
		}
	}
}

func TestExtendCRC(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, combineFromBytes - 1, combineFromBytes, 3 * combineFromBytes} {
		b := randomBytes(rng, 100+n)
		got := ExtendCRC(crc32.Checksum(b[:100], Castagnoli), b[100:], crc32.Checksum(b[100:], Castagnoli))
		if want := crc32.Checksum(b, Castagnoli); got != want {
			t.Errorf("%d bytes: %08x, want %08x", n, got, want)
		}
	}
}
