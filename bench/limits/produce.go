package limits

import (
	"encoding/binary"

	"github.com/sluicemq/sluice/protocol"
)

// produceFlexible is the first version with compact lengths and tags.
const produceFlexible = 9

// The Kafka codes that a limit may have to answer.
const (
	codeCorrupt  = 2
	codeUnknown  = 3
	codeExists   = 36
	codeVersions = 35
)

// produce walks a request (versions 3 to 12) and writes the answer at the same time. It does so
// without an allocation, since for small requests the allocations of a decoder would be a large
// part of what the null broker does.
func (c *conn) produce(h header, q *cursor, p *pending) error {
	flexible := h.version >= produceFlexible
	q.nullableString(flexible) // transactional id
	acks := q.int16()
	q.int32() // timeout
	begin := len(p.answer)
	a := answer{b: append(p.answer, 0, 0, 0, 0), flexible: flexible}
	a.int32(int32(h.correlation))
	a.tags()
	topicCount := q.count(flexible)
	a.count(topicCount)
	for range topicCount {
		name := q.string(flexible)
		a.string(name)
		c.produceTopic(h, q, &a, c.srv.topics.find(name), p)
	}
	a.int32(0) // throttle
	a.tags()
	binary.BigEndian.PutUint32(a.b[begin:], uint32(len(a.b)-begin-4))
	if acks == 0 {
		a.b = a.b[:begin]
	}
	p.answer = a.b
	if q.bad {
		return errMalformed
	}
	return nil
}

func (c *conn) produceTopic(h header, q *cursor, a *answer, t *topic, p *pending) {
	partitionCount := q.count(a.flexible)
	a.count(partitionCount)
	for range partitionCount {
		index := q.int32()
		records := q.nullableBytes(a.flexible)
		if a.flexible {
			q.tags()
		}
		base, code := c.srv.place(t, index, records, p)
		a.int32(index)
		a.int16(code)
		a.int64(base)
		a.int64(-1) // log append time
		if h.version >= 5 {
			a.int64(0) // log start
		}
		if h.version >= 8 {
			a.count(0) // record errors
			a.null()   // message
		}
		a.tags()
	}
	if a.flexible {
		q.tags()
	}
	a.tags()
}

// place gives a partition's batches their offsets, and keeps what the kind keeps of them.
func (s *server) place(t *topic, index int32, records []byte, p *pending) (base int64, code int16) {
	if t == nil || index < 0 || int(index) >= len(t.partitions) {
		return -1, codeUnknown
	}
	count, ok := s.inspect(records)
	if !ok {
		return -1, codeCorrupt
	}
	part := t.partitions[index]
	if s.kind == Fetch {
		return part.append(s, records, count), 0
	}
	base = part.next.Add(count) - count
	next := base
	for len(records) > 0 {
		n := batchBytes(records)
		protocol.SetPlace(records, next, 0)
		next += offsets(records)
		if s.wal != nil {
			p.vec = append(p.vec, records[:n:n])
			p.bytes += int64(n)
		}
		records = records[n:]
	}
	return base, 0
}

// inspect counts offsets. With a WAL it also checks each batch against its CRC.
func (s *server) inspect(records []byte) (count int64, ok bool) {
	if len(records) == 0 {
		return 0, false
	}
	for len(records) > 0 {
		if len(records) < protocol.BatchHeaderBytes {
			return 0, false
		}
		n := batchBytes(records)
		if n < protocol.BatchHeaderBytes || n > len(records) || records[16] != 2 {
			return 0, false
		}
		if s.wal != nil && protocol.VerifyCRC(records[:n]) != nil {
			return 0, false
		}
		count += offsets(records)
		records = records[n:]
	}
	return count, true
}

// batchBytes returns the size of the batch at the start of b.
func batchBytes(b []byte) int { return int(int32(binary.BigEndian.Uint32(b[8:]))) + 12 }

// offsets returns how many offsets the batch at the start of b takes: its last offset delta plus
// one.
func offsets(b []byte) int64 { return int64(int32(binary.BigEndian.Uint32(b[23:]))) + 1 }
