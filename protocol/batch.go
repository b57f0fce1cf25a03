package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sluicemq/sluice/internal/crc32c"
)

// Record batch v2, big-endian (KIP-98):
//
//	 0  8  baseOffset       the broker sets it
//	 8  4  batchLength      bytes after this field
//	12  4  leaderEpoch      the broker sets it
//	16  1  magic            2
//	17  4  crc              CRC-32C of byte 21 to the end
//	21  2  attributes       0-2 codec, 3 timestamp type, 4 transactional, 5 control,
//	                        6 delete horizon
//	23  4  lastOffsetDelta
//	27  8  baseTimestamp
//	35  8  maxTimestamp
//	43  8  producerId       -1 none
//	51  2  producerEpoch    -1 none
//	53  4  baseSequence     -1 none
//	57  4  recordCount
//	61     records          one compressed block if the codec is not 0
const (
	BatchHeaderBytes = 61
	crcFrom          = 21
	batchLengthEnd   = 12 // batchLength counts the bytes from here on
)

// Castagnoli is the table for every CRC-32C that Sluice checks.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Attributes are a batch's attribute bits.
type Attributes int16

// Codec returns the compression codec, 0 to 7.
func (a Attributes) Codec() int { return int(a & 7) }

// LogAppendTime reports that maxTimestamp is the broker's time for all records.
func (a Attributes) LogAppendTime() bool { return a&(1<<3) != 0 }

// Transactional reports that the batch belongs to a transaction.
func (a Attributes) Transactional() bool { return a&(1<<4) != 0 }

// Control reports that the batch holds a control record.
func (a Attributes) Control() bool { return a&(1<<5) != 0 }

// BatchHeader is the fixed part of a batch.
type BatchHeader struct {
	BaseOffset      int64
	Bytes           int // of the whole batch, header included
	LeaderEpoch     int32
	Magic           int8
	CRC             uint32
	Attributes      Attributes
	LastOffsetDelta int32
	BaseTimestamp   int64 // milliseconds, -1 none
	MaxTimestamp    int64 // milliseconds, -1 none
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	RecordCount     int32
}

// End returns the offset after the batch's last one.
func (h *BatchHeader) End() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) + 1 }

// ErrCorruptBatch is a batch whose length or checksum is wrong (Kafka's CORRUPT_MESSAGE).
var ErrCorruptBatch = errors.New("corrupt record batch")

// ParseBatchHeader reads the header of the batch at the start of b. b must contain the whole batch,
// and may go on after it. Only the layout is checked: call VerifyCRC for the content.
func ParseBatchHeader(b []byte) (BatchHeader, error) {
	var h BatchHeader
	if len(b) < BatchHeaderBytes {
		return h, fmt.Errorf("%w: %d bytes, want at least %d", ErrCorruptBatch, len(b), BatchHeaderBytes)
	}
	be := binary.BigEndian
	length := int64(int32(be.Uint32(b[8:]))) + batchLengthEnd
	if length < BatchHeaderBytes || length > int64(len(b)) {
		return h, fmt.Errorf("%w: says %d bytes of %d", ErrCorruptBatch, length, len(b))
	}
	h = BatchHeader{
		BaseOffset:      int64(be.Uint64(b)),
		Bytes:           int(length),
		LeaderEpoch:     int32(be.Uint32(b[12:])),
		Magic:           int8(b[16]),
		CRC:             be.Uint32(b[17:]),
		Attributes:      Attributes(be.Uint16(b[21:])),
		LastOffsetDelta: int32(be.Uint32(b[23:])),
		BaseTimestamp:   int64(be.Uint64(b[27:])),
		MaxTimestamp:    int64(be.Uint64(b[35:])),
		ProducerID:      int64(be.Uint64(b[43:])),
		ProducerEpoch:   int16(be.Uint16(b[51:])),
		BaseSequence:    int32(be.Uint32(b[53:])),
		RecordCount:     int32(be.Uint32(b[57:])),
	}
	return h, nil
}

// VerifyCRC checks the checksum of one whole batch.
func VerifyCRC(batch []byte) error {
	if len(batch) < BatchHeaderBytes {
		return fmt.Errorf("%w: %d bytes", ErrCorruptBatch, len(batch))
	}
	want := binary.BigEndian.Uint32(batch[17:])
	if got := crc32c.Checksum(batch[crcFrom:]); got != want {
		return fmt.Errorf("%w: crc %08x, says %08x", ErrCorruptBatch, got, want)
	}
	return nil
}

// SetPlace writes base offset and leader epoch, which the checksum does not cover.
func SetPlace(batch []byte, baseOffset int64, leaderEpoch int32) {
	binary.BigEndian.PutUint64(batch, uint64(baseOffset))
	binary.BigEndian.PutUint32(batch[12:], uint32(leaderEpoch))
}

// SetLogAppendTime stamps a batch with the broker's time in milliseconds and recomputes the
// checksum. Records and baseTimestamp do not change.
func SetLogAppendTime(batch []byte, now int64) {
	batch[22] |= 1 << 3
	SetMaxTimestamp(batch, now)
}

// SetMaxTimestamp writes maxTimestamp and recomputes the checksum.
func SetMaxTimestamp(batch []byte, ms int64) {
	binary.BigEndian.PutUint64(batch[35:], uint64(ms))
	binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[crcFrom:], Castagnoli))
}
