package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"

	"golang.org/x/sync/semaphore"
)

// DecompressedBytesMax bounds the decompressed records of one batch that Records and Recompress
// hold in memory. A batch on the wire has its own limit.
const DecompressedBytesMax = 128 << 20

// DecompressingBytesMax bounds the memory of decompressed records for all calls of Records and
// Recompress in the process together. It is twice the largest batch, since a growing buffer is
// copied. Later calls wait, in the order in which they came.
const DecompressingBytesMax = 2 * DecompressedBytesMax

var decompressing = semaphore.NewWeighted(DecompressingBytesMax)

// Header is a record header. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a batch. Byte slices alias the batch or its decompressed copy. A nil
// slice is null.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds; the batch's for LogAppendTime
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Records yields the records of one whole batch in order, and decompresses the batch if necessary.
// An error ends the sequence: ErrCorruptBatch, ErrTooLarge or ErrUnknownCodec. The checksum is not
// checked. The loop's body must not decompress another batch, since both count against
// DecompressingBytesMax.
func Records(batch []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		h, body, done, err := openBatch(batch, DecompressedBytesMax)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer done()
		r := recordReader{src: body, header: &h}
		for i := int32(0); i < h.RecordCount; i++ {
			rec, err := r.next()
			if err != nil {
				yield(Record{}, fmt.Errorf("record %d of %d: %w", i, h.RecordCount, err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
		if len(r.src) > 0 {
			yield(Record{}, fmt.Errorf("%w: %d bytes after the last record", ErrCorruptBatch, len(r.src)))
		}
	}
}

// openBatch returns a batch's header and its decompressed records. The caller calls done when it
// does not need the records any more.
func openBatch(batch []byte, limit int) (h BatchHeader, body []byte, done func(), err error) {
	if h, err = ParseBatchHeader(batch); err != nil {
		return h, nil, nil, err
	}
	src := batch[BatchHeaderBytes:h.Bytes]
	if h.Attributes.Codec() == CodecNone {
		body, err = Decompress(CodecNone, src, limit)
		return h, body, func() {}, err
	}
	// Only a bomb waits for as much memory as the limit.
	usual := min(limit, usualRatio*len(src)+usualBytes)
	body, done, err = decompressCounted(h.Attributes.Codec(), src, usual)
	if errors.Is(err, ErrTooLarge) && usual < limit {
		body, done, err = decompressCounted(h.Attributes.Codec(), src, limit)
	}
	return h, body, done, err
}

// How much decompressed records usually take: their compressed size times usualRatio, plus
// usualBytes.
const (
	usualRatio = 16
	usualBytes = 1 << 20
)

func decompressCounted(codec int, src []byte, limit int) (body []byte, done func(), err error) {
	n := min(2*int64(limit), DecompressingBytesMax)
	_ = decompressing.Acquire(context.Background(), n) // fails only with its context
	done = func() { decompressing.Release(n) }
	if body, err = Decompress(codec, src, limit); err != nil {
		done()
		return nil, nil, err
	}
	return body, done, nil
}

// recordReader reads records. In a record all lengths and numbers are zig-zag varints:
//
//	length          bytes after this field
//	attributes      1 byte, unused
//	timestampDelta  to baseTimestamp
//	offsetDelta     to baseOffset
//	keyLength       -1 null, then the key
//	valueLength     -1 null, then the value
//	headerCount     then per header: keyLength, key, valueLength (-1 null), value
type recordReader struct {
	src    []byte
	header *BatchHeader
}

func (r *recordReader) next() (Record, error) {
	length, ok := r.varint()
	if !ok || length < 0 || length > int64(len(r.src)) {
		return Record{}, fmt.Errorf("%w: length %d with %d bytes left", ErrCorruptBatch, length, len(r.src))
	}
	one := recordReader{src: r.src[:length], header: r.header}
	r.src = r.src[length:]
	return one.record()
}

func (r *recordReader) record() (rec Record, err error) {
	if len(r.src) == 0 {
		return rec, fmt.Errorf("%w: empty record", ErrCorruptBatch)
	}
	r.src = r.src[1:]
	timestampDelta, ok1 := r.varint()
	offsetDelta, ok2 := r.varint()
	key, ok3 := r.bytes()
	value, ok4 := r.bytes()
	headers, ok5 := r.headers()
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || len(r.src) > 0 {
		return rec, fmt.Errorf("%w: record does not fit its length", ErrCorruptBatch)
	}
	rec = Record{
		Offset:    r.header.BaseOffset + offsetDelta,
		Timestamp: r.header.BaseTimestamp + timestampDelta,
		Key:       key,
		Value:     value,
		Headers:   headers,
	}
	if r.header.Attributes.LogAppendTime() {
		rec.Timestamp = r.header.MaxTimestamp
	}
	return rec, nil
}

func (r *recordReader) headers() ([]Header, bool) {
	n, ok := r.varint()
	// A header takes at least two bytes, so a claim alone does not cause an allocation.
	if !ok || n < 0 || n > int64(len(r.src)/2) {
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	headers := make([]Header, n)
	for i := range headers {
		key, okKey := r.bytes()
		value, okValue := r.bytes()
		if !okKey || !okValue || key == nil {
			return nil, false
		}
		headers[i] = Header{Key: string(key), Value: value}
	}
	return headers, true
}

func (r *recordReader) bytes() ([]byte, bool) {
	n, ok := r.varint()
	if !ok || n < -1 || n > int64(len(r.src)) {
		return nil, false
	}
	if n == -1 {
		return nil, true
	}
	b := r.src[:n:n]
	r.src = r.src[n:]
	return b, true
}

func (r *recordReader) varint() (int64, bool) {
	v, n := binary.Varint(r.src)
	if n <= 0 {
		return 0, false
	}
	r.src = r.src[n:]
	return v, true
}

// Recompress rebuilds a batch with another codec, as compression.type requires. Producer id, epoch,
// sequence and timestamps do not change. The result is a new slice.
func Recompress(batch []byte, codec, level, limit int) ([]byte, error) {
	h, body, done, err := openBatch(batch, limit)
	if err != nil {
		return nil, err
	}
	defer done()
	out := make([]byte, BatchHeaderBytes, BatchHeaderBytes+len(body)/2)
	copy(out, batch[:BatchHeaderBytes])
	if out, err = Compress(out, codec, level, body); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(out[21:], uint16(h.Attributes)&^7|uint16(codec))
	sealBatch(out)
	return out, nil
}

// sealBatch writes the length and the checksum of a batch that is otherwise complete.
func sealBatch(b []byte) {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchLengthEnd))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcFrom:], Castagnoli))
}

// BatchSpec says what BuildBatch puts into a batch's header, besides what follows from the records.
type BatchSpec struct {
	BaseOffset    int64
	Attributes    Attributes // its codec compresses the records
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
}

// NoProducerSpec is the spec of a plain producer's batch.
var NoProducerSpec = BatchSpec{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}

// BuildBatch makes a batch of at least one record. Offsets follow from the order of the records.
func BuildBatch(spec BatchSpec, records []Record) ([]byte, error) {
	base, newest := records[0].Timestamp, int64(math.MinInt64)
	var body []byte
	for i := range records {
		newest = max(newest, records[i].Timestamp)
		body = appendRecord(body, &records[i], int64(i), base)
	}
	be := binary.BigEndian
	b := make([]byte, BatchHeaderBytes, BatchHeaderBytes+len(body))
	be.PutUint64(b, uint64(spec.BaseOffset))
	be.PutUint32(b[12:], math.MaxUint32) // the leader epoch, which a producer does not know
	b[16] = 2
	be.PutUint16(b[21:], uint16(spec.Attributes))
	be.PutUint32(b[23:], uint32(len(records)-1))
	be.PutUint64(b[27:], uint64(base))
	be.PutUint64(b[35:], uint64(newest))
	be.PutUint64(b[43:], uint64(spec.ProducerID))
	be.PutUint16(b[51:], uint16(spec.ProducerEpoch))
	be.PutUint32(b[53:], uint32(spec.BaseSequence))
	be.PutUint32(b[57:], uint32(len(records)))
	codec := spec.Attributes.Codec()
	b, err := Compress(b, codec, defaultLevel(codec), body)
	if err != nil {
		return nil, err
	}
	sealBatch(b)
	return b, nil
}

func defaultLevel(codec int) int {
	switch codec {
	case CodecGzip:
		return -1
	case CodecZstd:
		return 3
	default:
		return 0
	}
}

func appendRecord(dst []byte, r *Record, offsetDelta, baseTimestamp int64) []byte {
	one := []byte{0}
	one = binary.AppendVarint(one, r.Timestamp-baseTimestamp)
	one = binary.AppendVarint(one, offsetDelta)
	one = appendVarBytes(one, r.Key)
	one = appendVarBytes(one, r.Value)
	one = binary.AppendVarint(one, int64(len(r.Headers)))
	for _, h := range r.Headers {
		one = appendVarBytes(one, append([]byte{}, h.Key...))
		one = appendVarBytes(one, h.Value)
	}
	return append(binary.AppendVarint(dst, int64(len(one))), one...)
}

func appendVarBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}
