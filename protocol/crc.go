package protocol

import (
	"encoding/binary"
	"hash/crc32"
)

// A CRC-32C is the remainder of a polynomial over GF(2), bits reflected: 1<<31 is 1, 1<<30 is x.
// Putting n bytes behind others multiplies their remainder by x^8n, so two checksums make the checksum of both pieces
// together without a look at the bytes, in the time that hashing some 16 KiB takes.

const (
	onePolynomial = 1 << 31
	xPolynomial   = 1 << 30
)

// xPowers holds x^(2^i).
var xPowers = func() (powers [64]uint32) {
	powers[0] = xPolynomial
	for i := 1; i < len(powers); i++ {
		powers[i] = timesPolynomial(powers[i-1], powers[i-1])
	}
	return powers
}()

// timesPolynomial multiplies modulo the Castagnoli polynomial.
func timesPolynomial(a, b uint32) (product uint32) {
	for bit := uint32(onePolynomial); bit != 0 && a != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
			a &^= bit
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1) // times x
	}
	return product
}

// CombineCRC returns the CRC-32C of two pieces one after another, from that of each and the length of the second in bytes.
func CombineCRC(first, second uint32, secondBytes int64) uint32 {
	shift := uint32(onePolynomial)
	for i, bits := 0, uint64(secondBytes)*8; bits != 0; i, bits = i+1, bits>>1 {
		if bits&1 != 0 {
			shift = timesPolynomial(xPowers[i], shift)
		}
	}
	return timesPolynomial(shift, first) ^ second
}

// combineFromBytes is from which size on nothing is hashed again (BenchmarkWholeCRC).
const combineFromBytes = 32 << 10

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
