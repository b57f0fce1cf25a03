package wal

import (
	"errors"
	"testing"

	"github.com/sluicemq/sluice/ident"
)

// sampleGroup builds a good group at a position.
func sampleGroup(pos ident.Position) []byte {
	g := new(Group)
	g.reset()
	g.position, g.previous, g.durable = pos, pos, pos
	a := &Append{Entries: []Entry{{Kind: KindBatch, Start: 1, End: 4, Payload: []byte("payload")}, {Kind: KindState, End: 4, Payload: make([]byte, 5000)}}}
	for i := range a.Entries {
		a.Entries[i].CRC = checksum(a.Entries[i].Payload)
		a.bytes += EntryBytes + int64(len(a.Entries[i].Payload))
	}
	g.add(a)
	g.build(7, 0)
	var p []byte
	for _, v := range g.vec {
		p = append(p, v...)
	}
	return p
}

// decodeAll decodes a group from memory in the steps of a scan.
func decodeAll(p []byte, pos ident.Position, visit func(*Entry) error) error {
	if len(p) < headerBytes {
		return nil
	}
	h, err := peekGroup(p, 7, pos, int64(len(p)))
	if err != nil {
		return err
	}
	if err := h.checkHead(p); err != nil {
		return err
	}
	if err := h.decode(p, nil); err != nil {
		return err
	}
	if visit == nil {
		return nil
	}
	return h.decode(p, visit)
}

// FuzzGroup: no bytes make the decoder panic, read beyond its input, or show an entry whose
// checksum is wrong. A single changed byte of a good group is always noticed unless it is padding.
func FuzzGroup(f *testing.F) {
	good := sampleGroup(8192)
	f.Add(good, uint16(0))
	f.Add(good, uint16(44))
	f.Add(good[:100], uint16(3))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, p []byte, at uint16) {
		check := func(p []byte) error {
			total := 0
			return decodeAll(p, 8192, func(e *Entry) error {
				if total += len(e.Payload) + EntryBytes; total > len(p) {
					t.Fatalf("entries of %d bytes out of %d", total, len(p))
				}
				if checksum(e.Payload) != e.CRC {
					t.Fatal("showed a payload with a wrong checksum")
				}
				return nil
			})
		}
		if err := check(p); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("neither damage nor a newer version: %v", err)
		}
		damaged := append([]byte(nil), good...)
		if i := int(at) % len(damaged); i < 64+2*EntryBytes+5007 {
			damaged[i] ^= 1 << (at % 8)
			if check(damaged) == nil {
				t.Fatalf("changed byte %d was not seen", i)
			}
		}
	})
}

// FuzzSegmentHeader: the decoder of the header never panics and accepts only sizes that make sense.
func FuzzSegmentHeader(f *testing.F) {
	f.Add((&segmentHeader{incarnation: 7, index: 3, segmentBytes: 1 << 20, capacity: 1 << 20}).encode()[:headerBytes])
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < headerBytes {
			return
		}
		h, err := decodeSegmentHeader(p)
		if err == nil && (h.segmentBytes <= 0 || h.segmentBytes > segmentBytesMax || h.capacity > h.segmentBytes) {
			t.Fatalf("passed %+v", h)
		}
	})
}

// More payloads than the platform takes in one call still make one write.
func TestVectorStaysWithinOneCall(t *testing.T) {
	g := new(Group)
	g.reset()
	a := &Append{}
	for i := range 3000 {
		size := 100
		if i%2 == 0 {
			size = copyBytesMax + 1
		}
		a.Entries = append(a.Entries, Entry{Kind: KindBatch, Payload: make([]byte, size)})
		a.bytes += EntryBytes + int64(size)
	}
	g.add(a)
	g.build(7, 0)
	n := int64(0)
	for _, v := range g.vec {
		n += int64(len(v))
	}
	if len(g.vec) > 1024 || n != padded(g.bytes) {
		t.Fatalf("%d vectors with %d bytes, want %d bytes in at most 1024", len(g.vec), n, padded(g.bytes))
	}
	if allocs := testing.AllocsPerRun(20, func() { g.head, g.vec = g.head[:0], g.vec[:0]; g.build(7, 0) }); allocs != 0 {
		t.Fatalf("%v allocations to lay out a group again", allocs)
	}
}

// A group with a good checksum and an unknown version or flag stops the start: it is not a torn
// tail.
func TestNewerFormatRefuses(t *testing.T) {
	p := sampleGroup(8192)
	p[6] |= 8 // an unknown flag
	copy(p[headerCRCAt:], crcBytes(headerCRC(p, 2)))
	if err := decodeAll(p, 8192, nil); !errors.Is(err, ErrVersion) {
		t.Fatalf("unknown flag: %v", err)
	}
	h := (&segmentHeader{incarnation: 7, segmentBytes: 1 << 20, capacity: 1 << 20}).encode()
	h[4] = 2
	copy(h[headerCRCAt:], crcBytes(checksum(h[:headerCRCAt])))
	if _, err := decodeSegmentHeader(h); !errors.Is(err, ErrVersion) {
		t.Fatalf("version 2: %v", err)
	}
}

func crcBytes(crc uint32) []byte {
	return []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)}
}

// A good group of another position or incarnation is refused: recycled files still hold groups of
// their former life.
func TestGroupOfAnotherLifeIsRefused(t *testing.T) {
	p := sampleGroup(8192)
	if err := decodeAll(p, 8192, nil); err != nil {
		t.Fatal(err)
	}
	if err := decodeAll(p, 8192+1<<20, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("at another position: %v", err)
	}
	if _, err := peekGroup(p, 8, 8192, int64(len(p))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("of another incarnation: %v", err)
	}
}

// The flags of a group tell that it holds a carried batch. So a release that does not know the kind
// refuses the log instead of taking the batch for a gap or a duplicate.
func TestCarriedBatchHasAFlag(t *testing.T) {
	for kind, want := range map[Kind]uint16{KindBatch: flagArrival, KindCarried: flagArrival | flagCarried} {
		g := new(Group)
		g.reset()
		g.position = 4096
		g.add(&Append{Entries: []Entry{{Kind: KindBatch, Payload: []byte("a")}, {Kind: kind, Payload: []byte("b")}}, bytes: 2*EntryBytes + 2})
		g.build(7, flagArrival)
		h, err := peekGroup(g.head, 7, 4096, 8192)
		if err == nil {
			err = h.checkHead(g.head)
		}
		if err != nil || h.flags != want {
			t.Errorf("%v: flags %#x, %v; want %#x", kind, h.flags, err, want)
		}
	}
}
