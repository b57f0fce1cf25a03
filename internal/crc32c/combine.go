package crc32c

import (
	"hash/crc32"
	"math/bits"
)

// A CRC-32C is the remainder of a polynomial over GF(2) with its bits reflected: 1<<31 is 1, 1<<30
// is x. If n bytes follow a piece, the piece's remainder is multiplied by x^8n. So the checksum of
// two pieces together follows from their checksums, without a look at the bytes.

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

// A shiftTable multiplies by one power of x: the product of a sum is the sum of its nibbles'
// products. With nibbles, all tables together take 12 KiB and stay in the first-level cache. Bytes
// would take 96 KiB for half the steps.
type shiftTable [8][16]uint32

func newShiftTable(power uint32) (t shiftTable) {
	for i := range t {
		for value := range t[i] {
			t[i][value] = timesPolynomial(power, uint32(value)<<(4*i))
		}
	}
	return t
}

func (t *shiftTable) times(crc uint32) uint32 {
	return t[0][crc&15] ^ t[1][crc>>4&15] ^ t[2][crc>>8&15] ^ t[3][crc>>12&15] ^
		t[4][crc>>16&15] ^ t[5][crc>>20&15] ^ t[6][crc>>24&15] ^ t[7][crc>>28]
}

// shiftTables[i] multiplies for 2^i bytes. Longer pieces are rare and are multiplied the slow way.
var shiftTables = func() (tables [24]shiftTable) {
	for i := range tables {
		tables[i] = newShiftTable(xPowers[i+3])
	}
	return tables
}()

// Combine returns the CRC-32C of two pieces that follow each other, from the checksum of each and
// the length of the second in bytes. It takes a few nanoseconds for each bit that is set in the
// length.
func Combine(first, second uint32, secondBytes int64) uint32 {
	for rest := uint64(secondBytes); rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); i < len(shiftTables) {
			first = shiftTables[i].times(first)
		} else {
			first = timesPolynomial(xPowers[i+3], first)
		}
	}
	return first ^ second
}
