package broker

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
)

// Whatever the sizes of the buffers and wherever they lie, their bytes arrive once and in order,
// and the buffers are unchanged.
func TestWriteVector(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		buffers := randomBuffers(random)
		want := bytes.Join(buffers, nil)
		got, err := sent(t, buffers)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d buffers: %d bytes arrived, %d were sent, equal: %v, err %v", seed, len(buffers), len(got), len(want), bytes.Equal(got, want), err)
		}
		if !bytes.Equal(bytes.Join(buffers, nil), want) {
			t.Fatalf("seed %d: the batches were changed", seed)
		}
	}
}

// randomBuffers mixes sizes around the bounds, buffers that are neighbours in memory, and buffers
// with spare capacity that belongs to others.
func randomBuffers(random *rand.Rand) (buffers [][]byte) {
	noise := rand.NewChaCha8([32]byte{byte(random.Uint32())})
	for range random.IntN(30) {
		size := []int{0, 1, 100, joinBelow - 1, joinBelow, joinBelow + 1, 5000, scratchBytes - 1}[random.IntN(8)]
		block := make([]byte, 3*size+10)
		_, _ = noise.Read(block) // never fails
		for range 1 + random.IntN(3) {
			n := min(size, len(block))
			buffers = append(buffers, block[:n])
			block = block[n+random.IntN(2)*min(3, len(block)-n):]
		}
	}
	for range random.IntN(3) * vectorMax {
		small, large := make([]byte, 1+random.IntN(20)), make([]byte, joinBelow)
		small[0], large[0] = byte(random.Uint32()), byte(random.Uint32())
		buffers = append(buffers, small, large)
	}
	return buffers
}

func sent(t *testing.T, buffers [][]byte) ([]byte, error) {
	t.Helper()
	here, there := net.Pipe()
	failed := make(chan error, 1)
	go func() {
		n, err := writeVector(here, buffers)
		if want := len(slices.Concat(buffers...)); n != want {
			t.Errorf("%d bytes are said to be sent, want %d", n, want)
		}
		failed <- err
		_ = here.Close()
	}()
	got, err := io.ReadAll(there)
	if err != nil {
		t.Fatal(err)
	}
	return got, <-failed
}

// Batches that lie side by side in one block become one entry, and so do small ones that lie apart.
func TestWriteVectorJoins(t *testing.T) {
	block := make([]byte, 64*kib)
	var side, apart [][]byte
	for i := range 64 {
		side = append(side, block[i*kib:][:kib])
		apart = append(apart, make([]byte, 100))
	}
	for name, buffers := range map[string][][]byte{"side by side": side, "small": apart} {
		v := new(vector)
		for _, b := range buffers {
			if !v.add(b) {
				t.Fatalf("%s: full", name)
			}
		}
		if v.count != 1 {
			t.Errorf("%s: %d entries, want 1", name, v.count)
		}
	}
}

// A vector that is put away refers to no bytes.
func TestWriteVectorLetsGo(t *testing.T) {
	v := new(vector)
	for range 3 * vectorMax {
		if !v.add(make([]byte, joinBelow)) {
			v.count = 0 // as after a write that failed
		}
	}
	v.free()
	for i, b := range v.entries {
		if b != nil {
			t.Fatalf("entry %d holds %d bytes", i, len(b))
		}
	}
}

// A connection that ends in the middle gives an error.
func TestWriteVectorFails(t *testing.T) {
	here, there := net.Pipe()
	_ = there.Close()
	if _, err := writeVector(here, [][]byte{make([]byte, 10), make([]byte, scratchBytes), make([]byte, 10)}); err == nil {
		t.Fatal("no error")
	}
}
