package protocol

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/sluicemq/sluice/internal/crc32c"
)

// combineFromBytes is from which size on nothing is hashed again (BenchmarkWholeCRC).
const combineFromBytes = 2 << 10

// ExtendCRC returns the CRC-32C of what has the checksum crc and then p, whose own is known.
func ExtendCRC(crc uint32, p []byte, known uint32) uint32 {
	if len(p) < combineFromBytes {
		return crc32.Update(crc, Castagnoli, p)
	}
	return crc32c.Combine(crc, known, int64(len(p)))
}

// WholeCRC returns the CRC-32C of a whole batch. The batch must have passed VerifyCRC: of a large one only
// the bytes that its own checksum does not cover are hashed.
func WholeCRC(batch []byte) uint32 {
	if len(batch) < combineFromBytes {
		return crc32.Checksum(batch, Castagnoli)
	}
	own := binary.BigEndian.Uint32(batch[17:])
	return crc32c.Combine(crc32.Checksum(batch[:crcFrom], Castagnoli), own, int64(len(batch)-crcFrom))
}
