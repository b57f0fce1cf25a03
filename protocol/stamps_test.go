package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
)

func stampsOf(batch []byte) (list []Stamp, err error) {
	for s, err := range Stamps(batch) {
		if err != nil {
			return list, err
		}
		list = append(list, s)
	}
	return list, nil
}

func sampleBatch(t testing.TB, codec int) []byte {
	t.Helper()
	b, err := BuildBatch(BatchSpec{BaseOffset: 40, Attributes: Attributes(codec), ProducerID: -1}, sampleRecords())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStampsAreTheRecords: in every codec, Stamps reads what Records reads, and the largest time is
// found whatever the header says.
func TestStampsAreTheRecords(t *testing.T) {
	for codec := range 5 {
		t.Run(fmt.Sprint(codec), func(t *testing.T) {
			b := sampleBatch(t, codec)
			SetMaxTimestamp(b, -1)
			if err := VerifyCRC(b); err != nil {
				t.Fatal(err)
			}
			stamps, err := stampsOf(b)
			if err != nil || len(stamps) != 3 {
				t.Fatalf("%v, %v", stamps, err)
			}
			i := 0
			for r, err := range Records(b) {
				if err != nil || stamps[i] != (Stamp{r.Offset - 40, r.Timestamp}) {
					t.Errorf("stamp %+v of record %+v, %v", stamps[i], r, err)
				}
				i++
			}
			if largest, err := LargestTimestamp(b); err != nil || largest != 1500 {
				t.Errorf("largest %d, %v", largest, err)
			}
			for s := range Stamps(b) {
				if s.OffsetDelta > 0 {
					t.Error("it went on after a break")
				}
				break
			}
		})
	}
}

func TestStampsOfABadBatch(t *testing.T) {
	for codec := range 5 {
		for name, edit := range map[string]func(b []byte) []byte{
			"one more claimed":  func(b []byte) []byte { b[60] = 4; return b },
			"one fewer claimed": func(b []byte) []byte { b[60] = 2; return b },
			"cut off": func(b []byte) []byte {
				b = b[:len(b)-9]
				binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchLengthEnd))
				return b
			},
			"another codec's": func(b []byte) []byte { b[22] = byte((codec + 1) % 5); return b },
		} {
			if _, err := stampsOf(edit(sampleBatch(t, codec))); !errors.Is(err, ErrCorruptBatch) {
				t.Errorf("codec %d, %s: %v", codec, name, err)
			}
		}
	}
	for name, record := range map[string][]byte{
		"negative length": {1}, "longer than there is": {100, 0, 0, 0}, "empty": {0}, "no offset": {4, 0, 0}, "a varint without end": {8, 0, 0xff, 0xff, 0xff},
	} {
		b := append(make([]byte, BatchHeaderBytes), record...)
		b[16], b[60] = 2, 1
		sealBatch(b)
		if _, err := stampsOf(b); !errors.Is(err, ErrCorruptBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStampsOfABomb: records that decompress to more than the limit are refused, and take no more
// memory than a window.
func TestStampsOfABomb(t *testing.T) {
	const limit = 64 << 20
	huge := appendRecord(nil, &Record{Value: make([]byte, limit)}, 0, 0)
	for _, codec := range []int{CodecGzip, CodecLZ4, CodecZstd} {
		b := make([]byte, BatchHeaderBytes)
		b[16], b[22], b[60] = 2, byte(codec), 1
		b, err := Compress(b, codec, 1, huge)
		if err != nil {
			t.Fatal(err)
		}
		sealBatch(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, err = range stampsWithin(b, limit) {
		}
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("codec %d: %v", codec, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > zstdWindowMax {
			t.Errorf("codec %d: %d MiB for %d bytes", codec, got>>20, len(b))
		}
	}
}

// FuzzStamps: Stamps reads the same as Records, from every batch that Records can read.
func FuzzStamps(f *testing.F) {
	for codec := range 5 {
		f.Add(sampleBatch(f, codec))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stamps, err := stampsOf(b)
		i := 0
		for r, readErr := range Records(b) {
			if readErr != nil {
				return
			}
			h, _ := ParseBatchHeader(b)
			if i >= len(stamps) || h.BaseOffset+stamps[i].OffsetDelta != r.Offset || !h.Attributes.LogAppendTime() && stamps[i].Timestamp != r.Timestamp {
				t.Fatalf("record %d is %+v; stamps %v, %v", i, r, stamps, err)
			}
			i++
		}
		if err != nil || len(stamps) != i {
			t.Errorf("%d records, %d stamps, %v", i, len(stamps), err)
		}
	})
}

func BenchmarkStamps(b *testing.B) {
	for codec := range 5 {
		records := make([]Record, 1000)
		for i := range records {
			records[i] = Record{Timestamp: int64(i), Value: bytes.Repeat([]byte{byte(i)}, 1000)}
		}
		batch, err := BuildBatch(BatchSpec{Attributes: Attributes(codec)}, records)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(codec), func(b *testing.B) {
			b.SetBytes(1000 * 1000)
			for b.Loop() {
				if _, err := LargestTimestamp(batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
