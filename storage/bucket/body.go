package bucket

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// castagnoli is the polynomial of CRC32C, which S3 and our formats share.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Body is what an object shall hold: the parts one after another. Nobody may
// write to them while a Create has the body.
type Body struct {
	Parts  [][]byte
	CRC32C uint32 // of all parts together; the store, or its implementation here, checks it
}

// NewBody computes the checksum. Who has it already fills a Body by hand.
func NewBody(parts ...[]byte) Body {
	b := Body{Parts: parts}
	b.CRC32C = b.sum()
	return b
}

// Size is the number of bytes in all parts.
func (b Body) Size() int64 {
	var bytes int64
	for _, p := range b.Parts {
		bytes += int64(len(p))
	}
	return bytes
}

// Verify answers ErrCorrupt if the parts do not have the checksum that the body claims.
func (b Body) Verify() error {
	if got := b.sum(); got != b.CRC32C {
		return fmt.Errorf("%w: body has crc32c %08x, its maker says %08x", ErrCorrupt, got, b.CRC32C)
	}
	return nil
}

// Slice is the body of bytes [pos, pos+bytes) with its own checksum; it shares the parts' memory.
func (b Body) Slice(pos, bytes int64) Body {
	var parts [][]byte
	for _, p := range b.Parts {
		if bytes == 0 {
			break
		}
		if pos >= int64(len(p)) {
			pos -= int64(len(p))
			continue
		}
		take := min(int64(len(p))-pos, bytes)
		parts = append(parts, p[pos:pos+take])
		pos, bytes = 0, bytes-take
	}
	return NewBody(parts...)
}

func (b Body) sum() uint32 {
	var crc uint32
	for _, p := range b.Parts {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}

// errReleased is what a reader says to a sender that outlived its Create.
var errReleased = errors.New("bucket: body was released")

// BodyReader reads a body's parts without joining them.
//
// An HTTP transport may go on reading after the call that it belongs to has
// returned. Reads happen under a lock and fail after Release: once that returns,
// nobody looks at the parts any more, whatever the transport does.
type BodyReader struct {
	mu       sync.Mutex
	body     Body
	size     int64
	pos      int64
	part     int // the part that holds pos, and where it begins
	partFrom int64
	released bool
}

// NewBodyReader reads from the first byte on.
func NewBodyReader(b Body) *BodyReader { return &BodyReader{body: b, size: b.Size()} }

// Read implements io.Reader.
func (r *BodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.released {
		return 0, errReleased
	}
	n := 0
	for n < len(p) && r.pos < r.size {
		part := r.body.Parts[r.part]
		from := r.pos - r.partFrom
		if from >= int64(len(part)) {
			r.part++
			r.partFrom += int64(len(part))
			continue
		}
		c := copy(p[n:], part[from:])
		n += c
		r.pos += int64(c)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Seek implements io.Seeker, for a sender that begins again.
func (r *BodyReader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 || offset > r.size {
		return 0, fmt.Errorf("bucket: seek to %d in a body of %d bytes", offset, r.size)
	}
	if offset < r.partFrom {
		r.part, r.partFrom = 0, 0
	}
	r.pos = offset
	return offset, nil
}

// Release ends all reading; when it returns the parts are the caller's again.
func (r *BodyReader) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released, r.body = true, Body{}
}
