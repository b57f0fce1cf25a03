package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The codecs, as bits 0 to 2 of a batch's attributes.
const (
	CodecNone   = 0
	CodecGzip   = 1
	CodecSnappy = 2
	CodecLZ4    = 3
	CodecZstd   = 4
)

var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd"} // for errors

// The errors of compression.
var (
	ErrUnknownCodec = errors.New("unknown compression codec")
	ErrTooLarge     = errors.New("decompressed size is over the limit")
)

// xerialMagic is the start of snappy as Java writes it: magic, version and compatible version (4
// bytes each), then blocks, each with a 4-byte big-endian length and raw snappy.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderBytes = 16

// zstdWindowMax is the largest window for which a decoder allocates memory. zstd -19 uses 8 MiB.
const zstdWindowMax = 16 << 20

// Decompress returns the decompressed src, or ErrTooLarge if that is more than limit bytes. So a
// bomb costs no more memory than the limit. For codec 0 it returns src itself.
func Decompress(codec int, src []byte, limit int) ([]byte, error) {
	switch codec {
	case CodecNone:
		if len(src) > limit {
			return nil, ErrTooLarge
		}
		return src, nil
	case CodecSnappy:
		return unsnappy(src, limit)
	}
	r, done, err := openStream(codec, src, limit)
	if err != nil {
		return nil, err
	}
	defer done()
	return readLimited(codecNames[codec], r, len(src), limit)
}

// openStream begins to decompress a stream; all codecs except snappy are streams. done frees it.
func openStream(codec int, src []byte, limit int) (r io.Reader, done func(), err error) {
	done = func() {}
	switch codec {
	case CodecGzip:
		r, err = gzip.NewReader(bytes.NewReader(src))
	case CodecLZ4:
		r = lz4.NewReader(bytes.NewReader(src))
	case CodecZstd:
		var d *zstd.Decoder
		d, err = zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderMaxMemory(uint64(limit)+zstdWindowMax), zstd.WithDecoderLowmem(true))
		if err == nil {
			r, done = d, d.Close
		}
	default:
		return nil, nil, fmt.Errorf("%w: %d", ErrUnknownCodec, codec)
	}
	if err != nil {
		return nil, nil, corrupt(codecNames[codec], err)
	}
	return r, done, nil
}

func corrupt(codec string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrCorruptBatch, codec, err)
}

// readLimited takes no more memory than the limit, and as much again while the buffer grows.
func readLimited(codec string, r io.Reader, hint, limit int) ([]byte, error) {
	out := make([]byte, 0, min(4*hint+bytes.MinRead, limit+1))
	for {
		if len(out) == cap(out) {
			if len(out) > limit {
				return nil, ErrTooLarge
			}
			grown := make([]byte, len(out), min(2*cap(out), limit+1))
			copy(grown, out)
			out = grown
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case err == io.EOF && len(out) > limit:
			return nil, ErrTooLarge
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, corrupt(codec, err)
		}
	}
}

// unsnappy reads the Xerial framing, or a raw block as librdkafka and others send it.
func unsnappy(src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) || len(src) < xerialHeaderBytes {
		return appendSnappyBlock(nil, src, limit)
	}
	var out []byte
	for src = src[xerialHeaderBytes:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, corrupt("snappy", io.ErrUnexpectedEOF)
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return nil, corrupt("snappy", io.ErrUnexpectedEOF)
		}
		var err error
		if out, err = appendSnappyBlock(out, src[:n], limit); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

// appendSnappyBlock checks the length that the block declares before it allocates memory for it.
func appendSnappyBlock(dst, block []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, corrupt("snappy", err)
	}
	if n > limit-len(dst) {
		return nil, ErrTooLarge
	}
	// A snappy element of 3 bytes copies at most 64, so a larger claim is wrong.
	if n > 32*len(block)+64 {
		return nil, corrupt("snappy", fmt.Errorf("%d bytes say that they hold %d", len(block), n))
	}
	out, err := s2.Decode(nil, block)
	if err != nil {
		return nil, corrupt("snappy", err)
	}
	if dst == nil {
		return out, nil
	}
	return append(dst, out...), nil
}

// zstdEncoders are shared per level, since an encoder takes megabytes.
var zstdEncoders sync.Map // int → *zstd.Encoder

func zstdEncoder(level int) (*zstd.Encoder, error) {
	if e, ok := zstdEncoders.Load(level); ok {
		return e.(*zstd.Encoder), nil
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	kept, _ := zstdEncoders.LoadOrStore(level, e)
	return kept.(*zstd.Encoder), nil
}

// Compress appends the compressed src to dst. level is in the codec's own scale: gzip −1 to 9, lz4
// 1 to 17, zstd 1 to 22.
func Compress(dst []byte, codec, level int, src []byte) ([]byte, error) {
	switch codec {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		out := bytes.NewBuffer(dst)
		w, err := gzip.NewWriterLevel(out, level)
		if err != nil {
			return nil, err
		}
		return finish(out, w, src)
	case CodecSnappy:
		return append(dst, s2.EncodeSnappy(nil, src)...), nil
	case CodecLZ4:
		out := bytes.NewBuffer(dst)
		w := lz4.NewWriter(out)
		// Java cannot read frames whose blocks depend on each other. By default pierrec's do not.
		if err := w.Apply(lz4.CompressionLevelOption(lz4Level(level)), lz4.BlockSizeOption(lz4.Block64Kb)); err != nil {
			return nil, err
		}
		return finish(out, w, src)
	case CodecZstd:
		e, err := zstdEncoder(level)
		if err != nil {
			return nil, err
		}
		return e.EncodeAll(src, dst), nil
	default:
		return nil, fmt.Errorf("%w: %d", ErrUnknownCodec, codec)
	}
}

// lz4Level maps liblz4's scale to pierrec's, whose levels are 0 (fast) and 1<<9 to 1<<17.
func lz4Level(level int) lz4.CompressionLevel {
	if level < 1 {
		return lz4.Fast
	}
	return lz4.CompressionLevel(1 << (8 + min(level, 9)))
}

func finish(out *bytes.Buffer, w io.WriteCloser, src []byte) ([]byte, error) {
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
