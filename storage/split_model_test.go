package storage

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/object"
)

// splitLog is a run of random batches, as an object has it from position 1000 on, and the same run
// cut into pieces as blocks cut it.
type splitLog struct {
	run     []byte
	entries []object.IndexEntry
	pieces  [][]byte
}

func randomSplitLog(random *rand.Rand) *splitLog {
	l := &splitLog{run: make([]byte, 1+random.IntN(300))}
	rand.NewChaCha8([32]byte{byte(random.Uint32())}).Read(l.run)
	for at, i := 0, 0; at < len(l.run); i++ {
		n := 1 + random.IntN(min(60, len(l.run)-at))
		l.entries = append(l.entries, object.IndexEntry{
			Start: ident.Offset(i), End: ident.Offset(i + 1), Position: int64(1000 + at), Bytes: int32(n),
			CRC: crc32.Checksum(l.run[at:][:n], protocol.Castagnoli),
		})
		at += n
	}
	for piece, rest := 1+random.IntN(100), l.run; len(rest) > 0; {
		n := min(piece, len(rest))
		l.pieces, rest = append(l.pieces, rest[:n]), rest[n:]
	}
	return l
}

// fetched returns the answer that has the whole log.
func (l *splitLog) fetched(t *testing.T, split bool) *FetchPartition {
	t.Helper()
	batches, cold, err := cutBatches(l.entries, l.pieces, split)
	if err != nil {
		t.Fatal(err)
	}
	return &FetchPartition{Batches: batches, cold: cold, Bytes: len(l.run), Split: split}
}

// Wherever blocks end, batches come whole, one after another: in one slice each, or split without a
// copy. A limit counts batches, not slices.
func TestBatchesAcrossBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	split := 0
	for range 2000 {
		l := randomSplitLog(random)
		whole, cut := l.fetched(t, false), l.fetched(t, true)
		if len(whole.Batches) != len(l.entries) {
			t.Fatalf("%d batches of %d", len(whole.Batches), len(l.entries))
		}
		split += len(cut.Batches) - len(whole.Batches)
		for i, e := range l.entries {
			if !bytes.Equal(whole.Batches[i], l.run[e.Position-1000:][:e.Bytes]) {
				t.Fatalf("batch %d of %+v is another one", i, l.entries)
			}
		}
		limit, atLeastOne := random.IntN(len(l.run)+10)-5, random.IntN(2) == 0
		want := pickEntries(l.entries, ident.Offset(len(l.entries)), limit, atLeastOne)
		for _, q := range []*FetchPartition{whole, cut} {
			q.cut(limit, atLeastOne)
			checkCut(t, q, l, len(want))
		}
	}
	if split == 0 {
		t.Error("no batch was split")
	}
}

// checkCut checks that an answer has the first n batches, and that its fields agree with that.
func checkCut(t *testing.T, q *FetchPartition, l *splitLog, n int) {
	t.Helper()
	size, inSlices := 0, 0
	for i, b := range q.cold {
		if b.bytes != int(l.entries[i].Bytes) || b.end != l.entries[i].End {
			t.Fatalf("batch %d is %+v, the index has %+v", i, b, l.entries[i])
		}
		size, inSlices = size+b.bytes, inSlices+b.slices
	}
	if len(q.cold) != n || q.Bytes != size || len(q.Batches) != inSlices || !bytes.Equal(slices.Concat(q.Batches...), l.run[:size]) {
		t.Fatalf("%d batches, %d bytes in %d slices; want %d, %d and %d", len(q.cold), q.Bytes, len(q.Batches), n, size, inSlices)
	}
}

// A changed bit is found in whichever slice of its batch it lies.
func TestDamageInABatchAcrossBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	for range 500 {
		l := randomSplitLog(random)
		l.run[random.IntN(len(l.run))] ^= 1 << random.IntN(8)
		for _, split := range []bool{false, true} {
			if batches, _, err := cutBatches(l.entries, l.pieces, split); !errors.Is(err, object.ErrCorrupt) || batches != nil {
				t.Fatalf("split %v: %d slices and %v", split, len(batches), err)
			}
		}
	}
}
