package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func sampleRecords() []Record {
	return []Record{
		{Offset: 0, Timestamp: 1000, Key: []byte("k"), Value: []byte("v")},
		{Offset: 1, Timestamp: 1500, Key: nil, Value: bytes.Repeat([]byte("long "), 200)},
		{Offset: 2, Timestamp: 900, Key: []byte{}, Value: nil, Headers: []Header{{"h", []byte("x")}, {"null", nil}}},
	}
}

func collect(t *testing.T, batch []byte) ([]Record, error) {
	t.Helper()
	var got []Record
	for r, err := range Records(batch) {
		if err != nil {
			return got, err
		}
		got = append(got, r)
	}
	return got, nil
}

// TestRecordsRoundTrip: Records and kmsg read what BuildBatch writes, in every codec, and
// Recompress keeps it.
func TestRecordsRoundTrip(t *testing.T) {
	for codec := range 5 {
		spec := BatchSpec{BaseOffset: 0, Attributes: Attributes(codec), ProducerID: 9, ProducerEpoch: 1, BaseSequence: 5}
		batch, err := BuildBatch(spec, sampleRecords())
		if err != nil {
			t.Fatal(err)
		}
		for to := range 5 {
			t.Run(fmt.Sprintf("%d to %d", codec, to), func(t *testing.T) {
				b, err := Recompress(batch, to, max(1, defaultLevel(to)), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if err := VerifyCRC(b); err != nil {
					t.Error(err)
				}
				h, err := ParseBatchHeader(b)
				if err != nil || h.Attributes.Codec() != to || h.ProducerID != 9 || h.BaseSequence != 5 || h.Bytes != len(b) || h.MaxTimestamp != 1500 {
					t.Errorf("header %+v, %v", h, err)
				}
				got, err := collect(t, b)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sampleRecords(), got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestBuildBatchIsReadByKmsg(t *testing.T) {
	batch, err := BuildBatch(NoProducerSpec, sampleRecords())
	if err != nil {
		t.Fatal(err)
	}
	var rb kmsg.RecordBatch
	if err := rb.ReadFrom(batch); err != nil {
		t.Fatal(err)
	}
	if rb.NumRecords != 3 || rb.LastOffsetDelta != 2 || rb.ProducerID != -1 || rb.FirstSequence != -1 || rb.MaxTimestamp != 1500 {
		t.Errorf("%+v", rb)
	}
}

func TestLogAppendTimeCountsForEveryRecord(t *testing.T) {
	batch, err := BuildBatch(NoProducerSpec, sampleRecords())
	if err != nil {
		t.Fatal(err)
	}
	SetLogAppendTime(batch, 7777)
	if err := VerifyCRC(batch); err != nil {
		t.Error(err)
	}
	got, err := collect(t, batch)
	if err != nil || len(got) != 3 || got[0].Timestamp != 7777 || got[2].Timestamp != 7777 {
		t.Errorf("%v %v", got, err)
	}
}

func TestXerialSnappy(t *testing.T) {
	want := bytes.Repeat([]byte("hello "), 100)
	framed := append([]byte{}, xerialMagic...)
	framed = append(framed, 0, 0, 0, 1, 0, 0, 0, 1)
	for _, half := range [][]byte{want[:300], want[300:]} {
		block := s2.EncodeSnappy(nil, half)
		framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
	}
	got, err := Decompress(CodecSnappy, framed, 1<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := Decompress(CodecSnappy, framed, 400); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	for cut := xerialHeaderBytes + 1; cut < len(framed); cut++ {
		if cut == xerialHeaderBytes+4+len(s2.EncodeSnappy(nil, want[:300])) {
			continue // a whole block
		}
		if _, err := Decompress(CodecSnappy, framed[:cut], 1<<20); !errors.Is(err, ErrCorruptBatch) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// TestBombs: 4 MiB of zeros in each codec cost no more memory than a small multiple of the limit of
// 256 KiB.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 4<<20)
	for codec, level := range map[int]int{CodecGzip: 9, CodecSnappy: 0, CodecLZ4: 1, CodecZstd: 3} {
		bomb, err := Compress(nil, codec, level, zeros)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("codec %d, %d bytes", codec, len(bomb)), func(t *testing.T) {
			const limit = 256 << 10
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decompress(codec, bomb, limit)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 16*limit+zstdWindowMax {
				t.Errorf("%d bytes allocated against a limit of %d", spent, limit)
			}
		})
	}
	if _, err := Decompress(CodecSnappy, []byte{0xff, 0xff, 0xff, 0x3f, 0}, 1<<30); !errors.Is(err, ErrCorruptBatch) {
		t.Errorf("a snappy block of 5 bytes that claims 128 MiB: %v", err)
	}
	if _, err := Decompress(6, nil, 1); !errors.Is(err, ErrUnknownCodec) {
		t.Errorf("codec 6: %v", err)
	}
}

// TestRecordsRefusesDamage: records that do not fit their lengths end the sequence with
// ErrCorruptBatch, never with a panic.
func TestRecordsRefusesDamage(t *testing.T) {
	batch, err := BuildBatch(NoProducerSpec, sampleRecords())
	if err != nil {
		t.Fatal(err)
	}
	count := bytes.Clone(batch)
	binary.BigEndian.PutUint32(count[57:], 4)
	fewer := bytes.Clone(batch)
	binary.BigEndian.PutUint32(fewer[57:], 2)
	length := bytes.Clone(batch)
	length[BatchHeaderBytes] = 0x01 // length -1
	for name, b := range map[string][]byte{"one too many": count, "one too few": fewer, "negative length": length} {
		if _, err := collect(t, b); !errors.Is(err, ErrCorruptBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for codec := range 5 {
		b, err := BuildBatch(BatchSpec{Attributes: Attributes(codec), ProducerID: -1}, sampleRecords())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, err := range Records(b) {
			if err != nil {
				return
			}
		}
	})
}

// Records and Recompress together take no more memory for decompressed records than
// DecompressingBytesMax. A bomb waits until it is alone, usual batches go on side by side, and all
// memory is given back, whatever happens.
func TestDecompressingIsBounded(t *testing.T) {
	free := func() bool {
		ok := decompressing.TryAcquire(DecompressingBytesMax)
		if ok {
			decompressing.Release(DecompressingBytesMax)
		}
		return ok
	}
	if !free() {
		t.Fatal("something is held before the test")
	}
	compressed := func(n int) []byte {
		spec := NoProducerSpec
		spec.Attributes = CodecZstd
		b, err := BuildBatch(spec, []Record{{Value: make([]byte, n)}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	usual, bomb := compressed(1000), compressed(2<<20)
	for _, err := range Records(bomb) {
		if err != nil || decompressing.TryAcquire(1) {
			t.Fatalf("beside a bomb, another batch would be decompressed (%v)", err)
		}
	}
	for _, err := range Records(usual) {
		if err != nil || !decompressing.TryAcquire(DecompressingBytesMax/2) {
			t.Fatalf("beside a usual batch, none would be decompressed (%v)", err)
		}
		decompressing.Release(DecompressingBytesMax / 2)
		break
	}
	if _, err := Recompress(bomb, CodecNone, 0, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := Recompress(bomb, CodecGzip, 6, DecompressedBytesMax); err != nil {
		t.Error(err)
	}
	damaged := slices.Clone(usual)
	damaged[len(damaged)-1] ^= 1
	damaged[BatchHeaderBytes] ^= 1
	for _, err := range Records(damaged) {
		if err == nil {
			t.Error("a damaged batch has records")
		}
	}
	if !free() {
		t.Error("something is held afterwards")
	}
}
