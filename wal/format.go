package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/sluicemq/sluice/ident"
)

// An incarnation is a folder wal/<incarnation> of segment files <index>.seg, both in 16 hex digits.
// Together they are one stream of bytes: position = index × segmentBytes + place in the file.
// All integers are little-endian. docs/formats/wal.md tells why.
//
// A segment file begins with a block of 4,096 bytes:
//
//	 0  4  magic         "SLWS"
//	 4  2  version       1, of the whole file
//	 6  2  flags         0; readers refuse bits that they do not know
//	 8  8  incarnation
//	16  8  index
//	24  8  segmentBytes  positions from one segment to the next, a multiple of 4,096, at most 1 GiB
//	32  8  capacity      bytes of this file, at most segmentBytes; its last block is kept for a seal
//	40 20  zero
//	60  4  crc32c        of bytes 0 to 59
//
// Groups follow, each at a multiple of 4,096 and padded with zeros to the next one, so
// that writing one group never touches the blocks of another:
//
//	 0  4  magic         "SLWG"
//	 4  2  version       1
//	 6  2  flags         bit 0: seal, the incarnation's end is `previous`; bit 1: entries have a
//	                     time of arrival, else those bytes are zero; bit 2: there are carried batches
//	                     among the entries; no other bit is known
//	 8  8  incarnation
//	16  8  position      of this group in the stream
//	24  8  previous      end (padded) of the group before; for the first group of an incarnation,
//	                     the first position of its first segment
//	32  8  durable       everything below was durable when this was written (E25); at most position
//	40  4  length        of header, table and payloads, without padding
//	44  4  entryCount
//	48 12  zero
//	60  4  crc32c        of bytes 0 to 59 and of the table
//
// then the table, entryCount × 56 bytes, then the payloads in the same order without gaps:
//
//	 0 16  topic id
//	16  4  partition
//	20  4  leader epoch
//	24  8  start         first offset
//	32  8  end           one past the last offset; of a state record, the offset up to which the
//	                     record reflects the partition
//	40  4  length        of the payload
//	44  4  crc32c        of the payload
//	48  1  kind          1 batch, 2 state record, 3 carried batch
//	49  1  zero
//	50  6  arrival       of a batch: when it was placed, milliseconds since 1970; else 0
//
// These values are on disk: changing one makes a new version.
const (
	formatVersion = 1

	blockBytes       = 4096
	headerBytes      = 64
	headerCRCAt      = 60
	segmentBytesMax  = 1 << 30
	segmentBytesMin  = 4 * blockBytes
	segmentSuffix    = ".seg"
	temporarySuffix  = ".tmp"
	rewriteSuffix    = ".rewrite"
	flagSeal         = 1
	flagArrival      = 2
	flagCarried      = 4
	flagsKnown       = flagSeal | flagArrival | flagCarried
	arrivalMax       = 1<<48 - 1
	segmentMagicWord = "SLWS"
	groupMagicWord   = "SLWG"
)

// EntryBytes is what each entry takes in a group beside its payload.
const EntryBytes = 56

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind says what an entry's payload is.
type Kind uint8

// Kinds of entries.
const (
	KindBatch Kind = 1 // a record batch
	KindState Kind = 2 // what opening a partition needs (E13)
	// KindCarried is a record batch that this log or an earlier one has held before. Its place is
	// not in the order of offsets.
	KindCarried Kind = 3
)

func (k Kind) String() string {
	switch k {
	case KindBatch:
		return "batch"
	case KindState:
		return "state"
	case KindCarried:
		return "carried"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// segmentHeader is the first block of a segment file.
type segmentHeader struct {
	incarnation  ident.Incarnation
	index        uint64
	segmentBytes int64
	capacity     int64
}

func (h *segmentHeader) encode() []byte {
	p := make([]byte, blockBytes)
	le := binary.LittleEndian
	copy(p, segmentMagicWord)
	le.PutUint16(p[4:], formatVersion)
	le.PutUint64(p[8:], uint64(h.incarnation))
	le.PutUint64(p[16:], h.index)
	le.PutUint64(p[24:], uint64(h.segmentBytes))
	le.PutUint64(p[32:], uint64(h.capacity))
	le.PutUint32(p[headerCRCAt:], checksum(p[:headerCRCAt]))
	return p
}

// decodeSegmentHeader needs at least headerBytes in p.
func decodeSegmentHeader(p []byte) (segmentHeader, error) {
	le := binary.LittleEndian
	var h segmentHeader
	if string(p[:4]) != segmentMagicWord {
		return h, &CorruptError{What: "no segment header"}
	}
	want, got := le.Uint32(p[headerCRCAt:]), checksum(p[:headerCRCAt])
	if want != got {
		return h, &CorruptError{What: "checksum of the segment header", Want: uint64(want), Got: uint64(got)}
	}
	if v, flags := le.Uint16(p[4:]), le.Uint16(p[6:]); v != formatVersion || flags != 0 {
		return h, fmt.Errorf("%w: format version %d with flags %#x, this release reads version %d", ErrVersion, v, flags, formatVersion)
	}
	h.incarnation = ident.Incarnation(le.Uint64(p[8:]))
	h.index = le.Uint64(p[16:])
	h.segmentBytes = int64(le.Uint64(p[24:]))
	h.capacity = int64(le.Uint64(p[32:]))
	if h.segmentBytes < segmentBytesMin || h.segmentBytes > segmentBytesMax || h.segmentBytes%blockBytes != 0 ||
		h.capacity < 2*blockBytes || h.capacity > h.segmentBytes || h.capacity%blockBytes != 0 || h.index > 1<<62/uint64(h.segmentBytes) {
		return h, &CorruptError{What: "segment header with impossible sizes"}
	}
	return h, nil
}

// groupHeader is the fixed part of a group.
type groupHeader struct {
	flags       uint16
	incarnation ident.Incarnation
	position    ident.Position
	previous    ident.Position
	durable     ident.Position
	length      int64
	entryCount  int
}

func (h *groupHeader) sealed() bool { return h.flags&flagSeal != 0 }

// end returns the position where the next group of the segment begins.
func (h *groupHeader) end() ident.Position { return h.position + ident.Position(padded(h.length)) }

// tableEnd returns how many bytes header and table take together.
func tableEnd(entryCount int) int64 { return headerBytes + int64(entryCount)*EntryBytes }

func padded(n int64) int64 { return (n + blockBytes - 1) &^ (blockBytes - 1) }

// encode fills p[:headerBytes]. The table must already follow it in p, since the checksum covers
// both.
func (h *groupHeader) encode(p []byte) {
	le := binary.LittleEndian
	clear(p[:headerBytes])
	copy(p, groupMagicWord)
	le.PutUint16(p[4:], formatVersion)
	le.PutUint16(p[6:], h.flags)
	le.PutUint64(p[8:], uint64(h.incarnation))
	le.PutUint64(p[16:], uint64(h.position))
	le.PutUint64(p[24:], uint64(h.previous))
	le.PutUint64(p[32:], uint64(h.durable))
	le.PutUint32(p[40:], uint32(h.length))
	le.PutUint32(p[44:], uint32(h.entryCount))
	le.PutUint32(p[headerCRCAt:], headerCRC(p, h.entryCount))
}

func headerCRC(p []byte, entryCount int) uint32 {
	crc := checksum(p[:headerCRCAt])
	return crc32.Update(crc, castagnoli, p[headerBytes:tableEnd(entryCount)])
}

// isGroupAt tells, without checking any checksum, whether a block may be the head of the group at
// pos. It compares incarnation and position because recycled files still hold groups of their
// former life.
func isGroupAt(p []byte, inc ident.Incarnation, pos ident.Position) bool {
	le := binary.LittleEndian
	return string(p[:4]) == groupMagicWord && le.Uint64(p[8:]) == uint64(inc) && le.Uint64(p[16:]) == uint64(pos)
}

// peekGroup reads the fixed part without verifying its checksum. room is the most that the group
// may take, padded; it bounds everything that is read or allocated because of this header.
func peekGroup(p []byte, inc ident.Incarnation, pos ident.Position, room int64) (groupHeader, error) {
	le := binary.LittleEndian
	var h groupHeader
	switch {
	case bytes.Count(p[:headerBytes], []byte{0}) == headerBytes:
		return h, &CorruptError{What: "blank"}
	case string(p[:4]) != groupMagicWord:
		return h, &CorruptError{What: "no group header"}
	case !isGroupAt(p, inc, pos):
		return h, &CorruptError{What: "group of another incarnation or position"}
	}
	h.flags = le.Uint16(p[6:])
	h.incarnation, h.position = inc, pos
	h.previous = ident.Position(le.Uint64(p[24:]))
	h.durable = ident.Position(le.Uint64(p[32:]))
	h.length = int64(le.Uint32(p[40:]))
	count := int64(le.Uint32(p[44:]))
	if padded(h.length) > room || count > (h.length-headerBytes)/EntryBytes || h.length < headerBytes {
		return h, &CorruptError{What: "group with impossible length"}
	}
	h.entryCount = int(count)
	return h, nil
}

// checkHead verifies header and table. p holds both.
func (h *groupHeader) checkHead(p []byte) error {
	le := binary.LittleEndian
	want, got := le.Uint32(p[headerCRCAt:]), headerCRC(p, h.entryCount)
	if want != got {
		return &CorruptError{What: "checksum of a group's header and table", Want: uint64(want), Got: uint64(got)}
	}
	if v := le.Uint16(p[4:]); v != formatVersion || h.flags&^flagsKnown != 0 {
		return fmt.Errorf("%w: group with version %d and flags %#x", ErrVersion, v, h.flags)
	}
	if h.previous < 0 || h.previous > h.position || h.durable < 0 || h.durable > h.position {
		return &CorruptError{What: "group with impossible positions"}
	}
	return nil
}

func encodeEntry(p []byte, e *Entry) {
	le := binary.LittleEndian
	copy(p, e.Partition.Topic[:])
	le.PutUint32(p[16:], uint32(e.Partition.Index))
	le.PutUint32(p[20:], uint32(e.Epoch))
	le.PutUint64(p[24:], uint64(e.Start))
	le.PutUint64(p[32:], uint64(e.End))
	le.PutUint32(p[40:], uint32(len(e.Payload)))
	le.PutUint32(p[44:], e.CRC)
	le.PutUint64(p[48:], uint64(min(max(e.Arrived, 0), arrivalMax))<<16|uint64(e.Kind))
}

// decodeEntry reads a row of the table into e and returns the length of its payload.
func decodeEntry(p []byte, e *Entry) (length int64) {
	le := binary.LittleEndian
	copy(e.Partition.Topic[:], p)
	e.Partition.Index = int32(le.Uint32(p[16:]))
	e.Epoch = ident.Epoch(le.Uint32(p[20:]))
	e.Start = ident.Offset(le.Uint64(p[24:]))
	e.End = ident.Offset(le.Uint64(p[32:]))
	e.CRC = le.Uint32(p[44:])
	e.Kind = Kind(p[48])
	e.Arrived = int64(le.Uint64(p[48:]) >> 16)
	return int64(le.Uint32(p[40:]))
}

// decode calls visit for each entry of the group. p holds the group's bytes without padding. With a
// nil visit, decode verifies the payloads instead; a reader does that first, so that nothing of a
// damaged group is shown.
func (h *groupHeader) decode(p []byte, visit func(*Entry) error) error {
	at := tableEnd(h.entryCount)
	var e Entry
	for i := range h.entryCount {
		length := decodeEntry(p[headerBytes+i*EntryBytes:], &e)
		if length > h.length-at {
			return &CorruptError{What: "payload beyond its group"}
		}
		e.Payload = p[at : at+length : at+length]
		e.Position = h.position + ident.Position(at)
		at += length
		if visit != nil {
			if err := visit(&e); err != nil {
				return err
			}
		} else if got := checksum(e.Payload); got != e.CRC {
			return &CorruptError{Position: e.Position, What: "checksum of a payload", Want: uint64(e.CRC), Got: uint64(got)}
		}
	}
	if at != h.length {
		return &CorruptError{What: "group is longer than its entries"}
	}
	return nil
}

// firstGroup is the distance from a segment's first position to its first group.
const firstGroup = blockBytes

// after returns where the group that follows end begins, in end's segment. A group never ends on a
// segment's border, since the last block is kept for a seal. So an end on a border means a segment
// that holds no group yet.
func after(end ident.Position, segmentBytes int64) ident.Position {
	if int64(end)%segmentBytes == 0 {
		return end + firstGroup
	}
	return end
}

func segmentName(index uint64) string { return fmt.Sprintf("%016x%s", index, segmentSuffix) }

func parseSegmentName(name string) (uint64, bool) { return parseName(name, segmentSuffix) }

func parseName(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	var n uint64
	if _, err := fmt.Sscanf(digits, "%x", &n); err != nil || fmt.Sprintf("%016x", n) != digits {
		return 0, false
	}
	return n, true
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }
