package load

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// EnvelopeBytes is how many bytes of each value describe the record. Layout, little-endian:
//
//	 0  4  magic      0x534c4231
//	 4  4  crc32c     of bytes 8 to 47 here
//	 8  4  crc32c     of the body after the envelope; made once per buffer, as it never changes
//	12  4  run        a number that tells records of this run from others in the topic
//	16  4  producer
//	20  4  partition  the topic's number × partitions + the partition
//	24  8  sequence   of this producer in this partition, without gaps from 0
//	32  8  intended   ns since the run's start, when the record was due
//	40  8  sent       ns since the run's start, when it was handed to the client
const EnvelopeBytes = 48

const (
	envelopeMagic = 0x534c4231
	unstamped     = ^uint32(0) // partition of a record that the partitioner has not seen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// envelope is the start of a value.
type envelope struct {
	run, producer, partition uint32
	sequence                 int64
	intended, sent           int64
}

// setTimes writes the first half of an envelope, when a record is sent.
func setTimes(value []byte, intended, sent int64) {
	binary.LittleEndian.PutUint32(value[20:], unstamped)
	binary.LittleEndian.PutUint64(value[32:], uint64(intended))
	binary.LittleEndian.PutUint64(value[40:], uint64(sent))
}

// setPlace writes the second half, when the client asks for the record's partition.
func setPlace(value []byte, partition uint32, sequence int64) {
	binary.LittleEndian.PutUint32(value[20:], partition)
	binary.LittleEndian.PutUint64(value[24:], uint64(sequence))
	binary.LittleEndian.PutUint32(value[4:], crc32.Checksum(value[8:EnvelopeBytes], castagnoli))
}

// newValue makes a buffer that is sent again and again.
func newValue(body []byte, run, producer uint32) []byte {
	v := make([]byte, EnvelopeBytes+len(body))
	copy(v[EnvelopeBytes:], body)
	binary.LittleEndian.PutUint32(v[0:], envelopeMagic)
	binary.LittleEndian.PutUint32(v[8:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(v[12:], run)
	binary.LittleEndian.PutUint32(v[16:], producer)
	return v
}

// peek reads an envelope that this process wrote.
func peek(value []byte) envelope {
	return envelope{
		run: binary.LittleEndian.Uint32(value[12:]), producer: binary.LittleEndian.Uint32(value[16:]), partition: binary.LittleEndian.Uint32(value[20:]),
		sequence: int64(binary.LittleEndian.Uint64(value[24:])),
		intended: int64(binary.LittleEndian.Uint64(value[32:])), sent: int64(binary.LittleEndian.Uint64(value[40:])),
	}
}

// open reads an envelope that came from a broker. It returns false if any byte of the value differs
// from what was sent.
func open(value []byte) (envelope, bool) {
	if len(value) < EnvelopeBytes || binary.LittleEndian.Uint32(value) != envelopeMagic ||
		binary.LittleEndian.Uint32(value[4:]) != crc32.Checksum(value[8:EnvelopeBytes], castagnoli) ||
		binary.LittleEndian.Uint32(value[8:]) != crc32.Checksum(value[EnvelopeBytes:], castagnoli) {
		return envelope{}, false
	}
	return peek(value), true
}

// poolCount is how many different payloads there are, as in OMB. If payloads are large, there are
// fewer.
const (
	poolCount = 1000
	poolBytes = 64 * mib
)

// newPool makes payload bodies. A part of each body is random, the rest is zeros.
func newPool(size int, ratio float64, seed uint64) [][]byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	random := min(int(float64(size+EnvelopeBytes)*ratio), size)
	pool := make([][]byte, min(poolCount, max(1, poolBytes/max(1, size))))
	all := make([]byte, len(pool)*size)
	for i := range pool {
		pool[i] = all[i*size : (i+1)*size]
		_, _ = rng.Read(pool[i][:random]) // never fails
	}
	return pool
}
