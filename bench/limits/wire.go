package limits

import "encoding/binary"

// cursor reads a request from its front. After a read beyond the end, bad is set and everything
// that is read is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (q *cursor) take(n int) []byte {
	if n < 0 || n > len(q.b) {
		q.bad = true
		q.b = nil
		return nil
	}
	b := q.b[:n:n]
	q.b = q.b[n:]
	return b
}

func (q *cursor) int16() int16 {
	if b := q.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (q *cursor) int32() int32 {
	if b := q.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (q *cursor) uvarint() int {
	v, n := binary.Uvarint(q.b)
	if n <= 0 || v > 1<<31 {
		q.take(-1)
		return 0
	}
	q.b = q.b[n:]
	return int(v)
}

// length reads a length. -1 is null.
func (q *cursor) length(flexible bool, fixed func() int) int {
	if flexible {
		return q.uvarint() - 1
	}
	return fixed()
}

func (q *cursor) fixed16() int { return int(q.int16()) }
func (q *cursor) fixed32() int { return int(q.int32()) }

func (q *cursor) nullableString(flexible bool) []byte {
	if n := q.length(flexible, q.fixed16); n >= 0 {
		return q.take(n)
	}
	return nil
}

func (q *cursor) string(flexible bool) []byte { return q.nullableString(flexible) }

func (q *cursor) nullableBytes(flexible bool) []byte {
	if n := q.length(flexible, q.fixed32); n >= 0 {
		return q.take(n)
	}
	return nil
}

// count reads the count of an array. Each element takes at least one byte.
func (q *cursor) count(flexible bool) int {
	n := q.length(flexible, q.fixed32)
	if n > len(q.b) {
		q.take(-1)
	}
	if q.bad {
		return 0
	}
	return max(n, 0)
}

func (q *cursor) tags() {
	for range q.uvarint() {
		q.uvarint()
		q.take(q.uvarint())
		if q.bad {
			return
		}
	}
}

// answer is written behind b.
type answer struct {
	b        []byte
	flexible bool
}

func (a *answer) int16(v int16) { a.b = binary.BigEndian.AppendUint16(a.b, uint16(v)) }
func (a *answer) int32(v int32) { a.b = binary.BigEndian.AppendUint32(a.b, uint32(v)) }
func (a *answer) int64(v int64) { a.b = binary.BigEndian.AppendUint64(a.b, uint64(v)) }

func (a *answer) count(n int) {
	if a.flexible {
		a.b = binary.AppendUvarint(a.b, uint64(n)+1)
	} else {
		a.int32(int32(n))
	}
}

func (a *answer) string(s []byte) {
	if a.flexible {
		a.b = binary.AppendUvarint(a.b, uint64(len(s))+1)
	} else {
		a.int16(int16(len(s)))
	}
	a.b = append(a.b, s...)
}

// null writes a null string.
func (a *answer) null() {
	if a.flexible {
		a.b = append(a.b, 0)
	} else {
		a.int16(-1)
	}
}

// tags writes an empty section of tags if the version has one.
func (a *answer) tags() {
	if a.flexible {
		a.b = append(a.b, 0)
	}
}
