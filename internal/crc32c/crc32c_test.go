package crc32c

import (
	"bytes"
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

// TestUpdate compares Update with hash/crc32: around each number of triples, at odd addresses, and
// continuing from any checksum.
func TestUpdate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := randomBytes(rng, 12*runBytes)
	for triples := range 4 {
		for _, more := range []int{0, 1, 7, 63, 64, runBytes - 1, runBytes, 2 * runBytes, 3*runBytes - 1} {
			n := triples*3*runBytes + more
			if n > len(b)-16 {
				continue
			}
			for from := range 9 {
				crc := rng.Uint32()
				p := b[from : from+n]
				if got, want := Update(crc, p), crc32.Update(crc, castagnoli, p); got != want {
					t.Fatalf("%d bytes from %d on: %08x, want %08x", n, from, got, want)
				}
			}
		}
	}
	if got, want := Checksum(b), crc32.Checksum(b, castagnoli); got != want {
		t.Fatalf("checksum %08x, want %08x", got, want)
	}
}

// TestUpdate_EveryByteCounts: no byte of a triple is left out, whatever its value is.
func TestUpdate_EveryByteCounts(t *testing.T) {
	b := bytes.Repeat([]byte{0xa5}, 3*runBytes)
	whole := Checksum(b)
	for i := range b {
		b[i] ^= 0x10
		if Checksum(b) == whole {
			t.Fatalf("byte %d does not count", i)
		}
		b[i] ^= 0x10
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint32(0), []byte("abc"), uint16(4100))
	f.Add(^uint32(0), []byte{0}, uint16(20_000))
	f.Fuzz(func(t *testing.T, crc uint32, seed []byte, times uint16) {
		b := bytes.Repeat(seed, min(int(times), 1<<20/(len(seed)+1)))
		if got, want := Update(crc, b), crc32.Update(crc, castagnoli, b); got != want {
			t.Fatalf("%d bytes: %08x, want %08x", len(b), got, want)
		}
	})
}

func TestCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := randomBytes(rng, rng.IntN(5000))
		cut := rng.IntN(len(b) + 1)
		if got, want := Combine(Checksum(b[:cut]), Checksum(b[cut:]), int64(len(b)-cut)), crc32.Checksum(b, castagnoli); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", cut, len(b)-cut, got, want)
		}
	}
}

// TestCombine_Lengths: every length up to a few words, empty pieces, zeros (whose checksums are not
// 0), and pieces far larger than any object, whose checksum of zeros follows by doubling.
func TestCombine_Lengths(t *testing.T) {
	sum := func(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
	for first := range 40 {
		for second := range 70 {
			a, b := bytes.Repeat([]byte{0xa5}, first), make([]byte, second)
			if got, want := Combine(sum(a), sum(b), int64(second)), sum(append(bytes.Clone(a), b...)); got != want {
				t.Fatalf("%d and %d bytes: %08x, want %08x", first, second, got, want)
			}
		}
	}
	// The checksum of 2n zeros is that of n zeros followed by n zeros. 2^40 zeros are reached in
	// two ways.
	double := sum([]byte{0})
	for n := int64(1); n < 1<<40; n *= 2 {
		double = Combine(double, double, n)
	}
	mib := sum(make([]byte, 1<<20))
	byMiB := mib
	for n := int64(1); n < 1<<20; n *= 2 {
		byMiB = Combine(byMiB, byMiB, n<<20)
	}
	if double != byMiB {
		t.Errorf("2^40 zeros have the checksums %08x and %08x", double, byMiB)
	}
}
