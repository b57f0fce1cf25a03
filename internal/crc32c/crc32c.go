package crc32c

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// runBytes is the length of each of the three runs that Update hashes side by side. The processor's
// own prefetcher follows a run to the end of its page. So runs of a page read memory well, and
// those of hash/crc32, a third of that, do not. Of 1, 2, 4 and 8 KiB this was the best length for
// whole batches (350 KiB), and the longest one that gains something at 16 KiB.
const (
	runLog   = 12
	runBytes = 1 << runLog
)

// Checksum returns the CRC-32C of p.
func Checksum(p []byte) uint32 { return Update(0, p) }

// Update returns the CRC-32C of bytes with the checksum crc followed by p.
func Update(crc uint32, p []byte) uint32 {
	if hasTriple && len(p) >= 3*runBytes {
		state := ^crc // checksums are inverted before and after
		shift := &shiftTables[runLog]
		for len(p) >= 3*runBytes {
			first, second, third := triple(state, (*[3 * runBytes]byte)(p))
			state = shift.times(shift.times(first)^second) ^ third
			p = p[3*runBytes:]
		}
		crc = ^state
	}
	return crc32.Update(crc, castagnoli, p)
}
