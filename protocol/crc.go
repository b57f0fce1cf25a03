package protocol

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/sluicemq/sluice/internal/crc32c"
)

// From combineFromBytes on, checksums are combined instead of hashing the bytes again
// (BenchmarkWholeCRC).
const combineFromBytes = 2 << 10

// ExtendCRC returns the CRC-32C of bytes with the checksum crc followed by p, whose own checksum is
// known.
func ExtendCRC(crc uint32, p []byte, known uint32) uint32 {
	if len(p) < combineFromBytes {
		return crc32.Update(crc, Castagnoli, p)
	}
	return crc32c.Combine(crc, known, int64(len(p)))
}

// WholeCRC returns the CRC-32C of a whole batch, which must have passed VerifyCRC. Of a large batch
// it hashes only the bytes that the batch's own checksum does not cover.
func WholeCRC(batch []byte) uint32 {
	if len(batch) < combineFromBytes {
		return crc32.Checksum(batch, Castagnoli)
	}
	own := binary.BigEndian.Uint32(batch[17:])
	return crc32c.Combine(crc32.Checksum(batch[:crcFrom], Castagnoli), own, int64(len(batch)-crcFrom))
}
