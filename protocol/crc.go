package protocol

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/sluicemq/sluice/internal/crc32c"
)

// CombineCRC returns the CRC-32C of two pieces one after another, from that of each and the length of the second in
// bytes. It takes a few nanoseconds for each bit that is set in the length.
func CombineCRC(first, second uint32, secondBytes int64) uint32 {
	return crc32c.Combine(first, second, secondBytes)
}

// combineFromBytes is from which size on nothing is hashed again (BenchmarkWholeCRC).
const combineFromBytes = 2 << 10

// ExtendCRC returns the CRC-32C of what has the checksum crc and then p, whose own is known.
func ExtendCRC(crc uint32, p []byte, known uint32) uint32 {
	if len(p) < combineFromBytes {
		return crc32.Update(crc, Castagnoli, p)
	}
	return CombineCRC(crc, known, int64(len(p)))
}

// WholeCRC returns the CRC-32C of a whole batch. The batch must have passed VerifyCRC: of a large one only
// the bytes that its own checksum does not cover are hashed.
func WholeCRC(batch []byte) uint32 {
	if len(batch) < combineFromBytes {
		return crc32.Checksum(batch, Castagnoli)
	}
	own := binary.BigEndian.Uint32(batch[17:])
	return CombineCRC(crc32.Checksum(batch[:crcFrom], Castagnoli), own, int64(len(batch)-crcFrom))
}
