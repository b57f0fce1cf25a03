package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
)

// Stamp is what a record says about its place and its time.
type Stamp struct {
	OffsetDelta int64
	Timestamp   int64 // milliseconds; the record's own, even if the batch has LogAppendTime
}

// stampBytesMax is the most that attributes, timestampDelta and offsetDelta take.
const stampBytesMax = 1 + 2*binary.MaxVarintLen64

// Stamps yields the stamps of a batch's records in order. It takes little memory, whatever size the
// records decompress to, since all codecs except snappy are read as streams. An error ends the
// sequence, as in Records; it is ErrCorruptBatch if the header counts a different number of records
// than there are. Stamps does not read keys, values and the checksum. The loop's body must not
// decompress another batch.
func Stamps(batch []byte) iter.Seq2[Stamp, error] {
	return stampsWithin(batch, DecompressedBytesMax)
}

func stampsWithin(batch []byte, limit int) iter.Seq2[Stamp, error] {
	return func(yield func(Stamp, error) bool) {
		h, err := ParseBatchHeader(batch)
		if err != nil {
			yield(Stamp{}, err)
			return
		}
		body, done, err := decompressor(h.Attributes.Codec(), batch[BatchHeaderBytes:h.Bytes], limit)
		if err != nil {
			yield(Stamp{}, err)
			return
		}
		defer done()
		r := bufio.NewReader(body)
		for i := int32(0); i < h.RecordCount; i++ {
			s, err := nextStamp(r, h.BaseTimestamp)
			if err != nil {
				yield(Stamp{}, fmt.Errorf("record %d of %d: %w", i, h.RecordCount, err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
		if _, err := r.ReadByte(); err == nil {
			yield(Stamp{}, fmt.Errorf("%w: bytes after the last of %d records", ErrCorruptBatch, h.RecordCount))
		} else if !errors.Is(err, io.EOF) {
			yield(Stamp{}, unreadable(err))
		}
	}
}

// nextStamp reads one record and skips what follows its stamp.
func nextStamp(r *bufio.Reader, baseTimestamp int64) (s Stamp, err error) {
	length, err := binary.ReadVarint(r)
	if err != nil {
		return s, unreadable(err)
	}
	if length < 0 || length > math.MaxInt32 {
		return s, fmt.Errorf("%w: length %d", ErrCorruptBatch, length)
	}
	head, err := r.Peek(int(min(length, stampBytesMax)))
	if err != nil {
		return s, unreadable(err)
	}
	one := recordReader{src: head[min(1, len(head)):]}
	delta, ok1 := one.varint()
	offset, ok2 := one.varint()
	if !ok1 || !ok2 {
		return s, fmt.Errorf("%w: record does not fit its length", ErrCorruptBatch)
	}
	if _, err := r.Discard(int(length)); err != nil {
		return s, unreadable(err)
	}
	return Stamp{OffsetDelta: offset, Timestamp: baseTimestamp + delta}, nil
}

// unreadable returns ErrCorruptBatch, except if the records are larger than the limit.
func unreadable(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorruptBatch, err)
}

// LargestTimestamp returns the largest time of a batch's records, as Stamps reads them, or -1 if no
// record has a time.
func LargestTimestamp(batch []byte) (int64, error) {
	largest := int64(-1)
	for s, err := range Stamps(batch) {
		if err != nil {
			return -1, err
		}
		largest = max(largest, s.Timestamp)
	}
	return largest, nil
}

// decompressor reads the decompressed src, at most limit bytes, and then fails with ErrTooLarge.
// done frees its memory, which counts against DecompressingBytesMax.
func decompressor(codec int, src []byte, limit int) (r io.Reader, done func(), err error) {
	if codec == CodecNone {
		return bytes.NewReader(src), func() {}, nil
	}
	taken := streamBytes(codec, len(src), limit)
	_ = decompressing.Acquire(context.Background(), taken) // fails only with its context
	closed := func() {}
	if codec == CodecSnappy {
		var whole []byte
		whole, err = Decompress(codec, src, limit)
		r = bytes.NewReader(whole)
	} else if r, closed, err = openStream(codec, src, limit); err == nil {
		r = &limitedReader{r: r, left: limit}
	}
	if err != nil {
		decompressing.Release(taken)
		return nil, nil, err
	}
	return r, func() { closed(); decompressing.Release(taken) }, nil
}

// streamBytes is the most memory that reading srcBytes takes. Snappy has no streams, and cannot
// decompress to more than 32 times its length; that counts twice, since it may be copied as it
// grows.
func streamBytes(codec, srcBytes, limit int) int64 {
	switch codec {
	case CodecGzip:
		return 128 << 10
	case CodecSnappy:
		return min(2*int64(min(limit, 32*srcBytes+64)), DecompressingBytesMax)
	}
	return zstdWindowMax // a block of lz4 has at most 4 MiB
}

// limitedReader is an io.LimitedReader that distinguishes its limit from the end.
type limitedReader struct {
	r    io.Reader
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left < len(p) {
		p = p[:l.left+1] // reads one byte more, to find out
	}
	n, err := l.r.Read(p)
	if l.left -= n; l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
