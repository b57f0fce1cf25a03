package harness

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicemq/sluice/compat-tests/history"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Positions in a record batch, version 2, big-endian:
//
//	 0 8 base offset · 8 4 length of what follows · 12 4 leader epoch · 16 1 magic
//	17 4 crc32c of all from 21 · 21 2 attributes · 23 4 last offset delta
//	27 8 first timestamp · 35 8 max timestamp
//	43 8 producer id · 51 2 producer epoch · 53 4 base sequence · 57 4 record count · 61 records
const batchHeaderBytes = 61

// numbered says which idempotent producer sends a batch, and where in its sequence. id -1 is a
// producer without idempotence.
type numbered struct {
	id       int64
	epoch    int16
	sequence int32
}

// encodeBatch makes a batch without compression. It is written here so that the harness does not
// depend on the encoder of any client.
func encodeBatch(values [][]byte, who numbered, now int64) []byte {
	b := make([]byte, batchHeaderBytes)
	for i, v := range values {
		b = appendRecord(b, int64(i), v)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 0xffffffff)
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(len(values)-1))
	binary.BigEndian.PutUint64(b[27:], uint64(now))
	binary.BigEndian.PutUint64(b[35:], uint64(now))
	binary.BigEndian.PutUint64(b[43:], uint64(who.id))
	binary.BigEndian.PutUint16(b[51:], uint16(who.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(who.sequence))
	binary.BigEndian.PutUint32(b[57:], uint32(len(values)))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// appendRecord adds a record without key and headers. Varints are zigzag.
func appendRecord(b []byte, delta int64, value []byte) []byte {
	r := []byte{0}                    // attributes
	r = binary.AppendVarint(r, 0)     // timestamp delta
	r = binary.AppendVarint(r, delta) // offset delta
	r = binary.AppendVarint(r, -1)    // no key
	r = binary.AppendVarint(r, int64(len(value)))
	r = append(r, value...)
	r = binary.AppendVarint(r, 0) // headers
	return append(binary.AppendVarint(b, int64(len(r))), r...)
}

// rawRecord is a record as it is in a batch.
type rawRecord struct {
	Offset     int64
	Key, Value []byte
}

// decodeBatches cuts the bytes of an answer into batches. It leaves out an incomplete last one, as
// any client does.
func decodeBatches(raw []byte) ([]history.Batch, [][]rawRecord, error) {
	var batches []history.Batch
	var contents [][]rawRecord
	for len(raw) >= batchHeaderBytes {
		length := int64(int32(binary.BigEndian.Uint32(raw[8:])))
		if length < batchHeaderBytes-12 {
			return nil, nil, fmt.Errorf("batch of length %d", length)
		}
		if 12+length > int64(len(raw)) {
			break
		}
		b, records, err := decodeBatch(raw[:12+length])
		if err != nil {
			return nil, nil, err
		}
		batches, contents = append(batches, b), append(contents, records)
		raw = raw[12+length:]
	}
	return batches, contents, nil
}

func decodeBatch(raw []byte) (history.Batch, []rawRecord, error) {
	attributes := binary.BigEndian.Uint16(raw[21:])
	b := history.Batch{
		Base:          int64(binary.BigEndian.Uint64(raw)),
		LeaderEpoch:   int32(binary.BigEndian.Uint32(raw[12:])),
		ProducerID:    int64(binary.BigEndian.Uint64(raw[43:])),
		ProducerEpoch: int16(binary.BigEndian.Uint16(raw[51:])),
		BaseSequence:  int32(binary.BigEndian.Uint32(raw[53:])),
		Control:       attributes&0x20 != 0,
		CRCOK:         binary.BigEndian.Uint32(raw[17:]) == crc32.Checksum(raw[21:], castagnoli),
	}
	b.Last = b.Base + int64(int32(binary.BigEndian.Uint32(raw[23:])))
	if raw[16] != 2 {
		return b, nil, fmt.Errorf("batch at %d has magic %d", b.Base, raw[16])
	}
	if !b.CRCOK {
		return b, nil, nil // the content has no meaning
	}
	body, err := kgo.DefaultDecompressor().Decompress(raw[batchHeaderBytes:], kgo.CompressionCodecType(attributes&7))
	if err != nil {
		return b, nil, fmt.Errorf("batch at %d: %w", b.Base, err)
	}
	records, err := decodeRecords(body, b.Base, int(binary.BigEndian.Uint32(raw[57:])))
	if err != nil {
		return b, nil, fmt.Errorf("batch at %d: %w", b.Base, err)
	}
	return b, records, nil
}

var errRecord = errors.New("malformed record")

func decodeRecords(body []byte, base int64, count int) ([]rawRecord, error) {
	var list []rawRecord
	for range count {
		length, n := binary.Varint(body)
		if n <= 0 || length < 1 || length > int64(len(body)-n) {
			return nil, errRecord
		}
		r, err := decodeRecord(body[n:n+int(length)], base)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
		body = body[n+int(length):]
	}
	if len(body) != 0 {
		return nil, fmt.Errorf("%d bytes after the last record", len(body))
	}
	return list, nil
}

func decodeRecord(r []byte, base int64) (rawRecord, error) {
	r = r[1:] // attributes
	_, n := binary.Varint(r)
	if n <= 0 {
		return rawRecord{}, errRecord
	}
	delta, m := binary.Varint(r[n:])
	if m <= 0 {
		return rawRecord{}, errRecord
	}
	r = r[n+m:]
	key, r, err := field(r)
	if err != nil {
		return rawRecord{}, err
	}
	value, _, err := field(r)
	return rawRecord{base + delta, key, value}, err
}

// field cuts off a length and that many bytes. Length -1 is null.
func field(r []byte) (content, rest []byte, err error) {
	length, n := binary.Varint(r)
	if n <= 0 || length > int64(len(r)-n) {
		return nil, nil, errRecord
	}
	if length < 0 {
		return nil, r[n:], nil
	}
	return r[n : n+int(length)], r[n+int(length):], nil
}

// valueHeaderBytes is the size of the id at the start of every value that the harness makes.
const valueHeaderBytes = 16

// Value makes a value of the given size that carries its id. The rest of the value follows from the
// id.
func Value(id history.ID, size int) []byte {
	v := make([]byte, max(size, valueHeaderBytes))
	binary.BigEndian.PutUint64(v, id.Client)
	binary.BigEndian.PutUint64(v[8:], id.Counter)
	x := id.Client*0x9e3779b97f4a7c15 + id.Counter
	for i := valueHeaderBytes; i < len(v); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		v[i] = 'a' + byte(x>>59)
	}
	return v
}

// idOf reads the id in a value. If there is none, it returns the zero id, which nobody sends.
func idOf(value []byte) history.ID {
	if len(value) < valueHeaderBytes {
		return history.ID{}
	}
	return history.ID{Client: binary.BigEndian.Uint64(value), Counter: binary.BigEndian.Uint64(value[8:])}
}

// Hash is a hash of key and value.
func Hash(key, value []byte) uint64 {
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(key))
	h.Write(key)
	h.Write(value)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
