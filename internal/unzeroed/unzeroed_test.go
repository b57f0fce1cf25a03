package unzeroed

import "testing"

func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, leastBytes - 1, leastBytes, leastBytes + 1, 1 << 20, 7_500_001} {
		b := Make(n)
		if len(b) != n {
			t.Fatalf("%d bytes asked for, %d given", n, len(b))
		}
		for i := range b { // the memory is ours, and the race detector and the collector agree
			b[i] = byte(i)
		}
		for i := range b {
			if b[i] != byte(i) {
				t.Fatalf("of %d bytes, byte %d does not keep what was written", n, i)
			}
		}
	}
}

func BenchmarkMake(b *testing.B) {
	for _, x := range []struct {
		name string
		of   func(int) []byte
	}{{"make", func(n int) []byte { return make([]byte, n) }}, {"unzeroed", Make}} {
		b.Run(x.name, func(b *testing.B) {
			b.SetBytes(4 << 20)
			for b.Loop() {
				sink = x.of(4 << 20)
			}
		})
	}
}

var sink []byte
