package coordinator

import "unicode/utf16"

// OffsetsTopic holds the state of all groups.
const OffsetsTopic = "__consumer_offsets"

// PartitionOf returns the partition of __consumer_offsets that holds a group. It is Java's
// String.hashCode, which counts UTF-16 units, without its sign. Tools compute the same number.
func PartitionOf(group string, partitions int) int32 {
	var hash uint32
	for _, unit := range utf16.Encode([]rune(group)) {
		hash = 31*hash + uint32(unit)
	}
	return int32(hash&0x7fffffff) % int32(partitions)
}
