package protocol

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestWholeCRC_AfterEveryChange: whatever the broker does to a batch on its way, the checksum of
// the whole is that of its bytes. The sizes lie around the one from which on checksums are
// combined.
func TestWholeCRC_AfterEveryChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	small, err := BuildBatch(BatchSpec{ProducerID: -1}, []Record{{Value: randomBytes(rng, 20_000)}})
	if err != nil {
		t.Fatal(err)
	}
	overhead := len(small) - 20_000
	for _, size := range []int{combineFromBytes - 1, combineFromBytes, combineFromBytes + 1, 5*combineFromBytes + 3} {
		b, err := BuildBatch(BatchSpec{ProducerID: -1}, []Record{{Value: randomBytes(rng, size-overhead)}})
		if err != nil {
			t.Fatal(err)
		}
		holds := func(what string, b []byte) {
			t.Helper()
			if err := VerifyCRC(b); err != nil {
				t.Errorf("%s, %d bytes: %v", what, len(b), err)
			}
			if got, want := WholeCRC(b), crc32.Checksum(b, Castagnoli); got != want {
				t.Errorf("%s, %d bytes: %08x, want %08x", what, len(b), got, want)
			}
		}
		holds("as sent", b)
		for codec := CodecNone; codec <= CodecZstd; codec++ {
			again, err := Recompress(b, codec, defaultLevel(codec), DecompressedBytesMax)
			if err != nil {
				t.Fatal(err)
			}
			holds("recompressed", again)
			SetLogAppendTime(again, 1_700_000_000_000)
			holds("stamped", again)
			SetPlace(again, 1<<62, 1<<30)
			holds("placed", again)
			SetPlace(again, 0, -1)
			holds("placed again", again)
		}
	}
}

// TestWholeCRC_Zero: a checksum that happens to be 0 is treated like any other.
func TestWholeCRC_Zero(t *testing.T) {
	b, err := BuildBatch(BatchSpec{ProducerID: -1}, []Record{{Value: make([]byte, combineFromBytes)}})
	if err != nil {
		t.Fatal(err)
	}
	// The base offset can be chosen freely. Find the one that makes the checksum of the whole 0:
	// the map from its lower 32 bits to the checksum is linear.
	zero := WholeCRC(b)
	var columns [32]uint32
	for bit := range columns {
		SetPlace(b, 1<<bit, -1)
		columns[bit] = WholeCRC(b) ^ zero
	}
	SetPlace(b, int64(solve(columns, zero)), -1)
	if got := crc32.Checksum(b, Castagnoli); got != 0 {
		t.Fatalf("%08x at offset %d, want 0", got, binary.BigEndian.Uint64(b))
	}
	if got := WholeCRC(b); got != 0 {
		t.Errorf("combined %08x, want 0", got)
	}
}

// solve returns which columns sum up to target.
func solve(columns [32]uint32, target uint32) (choice uint32) {
	var rows, chosen [32]uint32 // by highest bit
	for i, column := range columns {
		of := uint32(1) << i
		for bit := 31; bit >= 0 && column != 0; bit-- {
			if column>>bit&1 == 0 {
				continue
			}
			if rows[bit] == 0 {
				rows[bit], chosen[bit] = column, of
				break
			}
			column, of = column^rows[bit], of^chosen[bit]
		}
	}
	for bit := 31; bit >= 0; bit-- {
		if target>>bit&1 == 1 {
			target, choice = target^rows[bit], choice^chosen[bit]
		}
	}
	return choice
}
