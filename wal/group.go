package wal

import (
	"slices"
	"sync/atomic"

	"github.com/sluicemq/sluice/ident"
)

// Limits of one group's write vector. A payload of at most copyBytesMax is copied behind the table,
// where it costs less than a buffer of its own in the vector (BenchmarkCopyOrReference). Payloads
// after the first referencesMax large ones are copied too. That keeps the vector within the 1,024
// buffers of one write call: the head, then references and copied runs in turn, then the padding.
const (
	copyBytesMax  = 4 << 10
	referencesMax = 510
)

var zeroBlock [blockBytes]byte

// Entry is one payload with what a reader needs to know about it.
type Entry struct {
	Kind      Kind
	Partition ident.TopicPartition
	Epoch     ident.Epoch
	// Start and End are half-open. For a state record, End is the offset up to which the record
	// reflects the partition.
	Start, End ident.Offset
	// Arrived is when a batch was placed, in milliseconds since 1970. It is 0 for a state record
	// and for what earlier releases wrote.
	Arrived int64
	// Payload is referenced until its group is reported. Nobody may write to it after Append.
	Payload []byte
	// CRC is the CRC32C of the payload. If it is 0, Append computes it.
	CRC uint32
	// Position is where the payload stands in the incarnation's stream. It is set before Durable is
	// called.
	Position ident.Position
}

// Append is what one call hands to the writer. It lands whole in one group.
type Append struct {
	Entries []Entry
	Owner   any // Owner belongs to the caller; the writer does not look at it.

	bytes int64 // payloads and table rows
}

// Group is what one write and one sync make durable. Its bytes and appends stay unchanged as long
// as there is a reference to the group. The writer holds one until Durable has returned.
type Group struct {
	writer *Writer
	refs   atomic.Int32

	appends  []*Append
	segment  *segment
	position ident.Position
	previous ident.Position
	durable  ident.Position // the durable position that its header names
	bytes    int64          // headerBytes and the bytes of its appends
	entries  int

	head []byte   // header, table and copied payloads
	vec  [][]byte // what is written
}

func (g *Group) end() ident.Position { return g.position + ident.Position(padded(g.bytes)) }

// Appends returns what the group makes durable, in WAL order.
func (g *Group) Appends() []*Append { return g.appends }

// Position returns where the group begins in the incarnation's stream.
func (g *Group) Position() ident.Position { return g.position }

// End returns where the next group may begin.
func (g *Group) End() ident.Position { return g.end() }

// Bytes returns what was written at Position, byte for byte, as a vector of buffers.
func (g *Group) Bytes() [][]byte { return g.vec }

// Retain adds a reference. The caller must hold one.
func (g *Group) Retain() { g.refs.Add(1) }

// Release gives a reference up. After the last one the writer uses the group again.
func (g *Group) Release() {
	if g.refs.Add(-1) == 0 {
		g.writer.recycle(g)
	}
}

// reset lets go of everything that the group referenced.
func (g *Group) reset() {
	clear(g.appends)
	clear(g.vec)
	g.segment, g.position, g.previous, g.durable = nil, 0, 0, 0
	g.appends, g.vec, g.head = g.appends[:0], g.vec[:0], g.head[:0]
	g.bytes, g.entries = headerBytes, 0
}

func (g *Group) add(a *Append) {
	g.appends = append(g.appends, a)
	g.bytes += a.bytes
	g.entries += len(a.Entries)
}

// build lays the group out: it sets the entries' positions and fills head and vec, which are then
// ready to be written.
func (g *Group) build(inc ident.Incarnation, flags uint16) {
	table := tableEnd(g.entries)
	g.head = slices.Grow(g.head[:0], int(table+g.copiedBytes()))[:table]
	at, row, run, refs := table, int64(headerBytes), int64(0), 0
	for _, a := range g.appends {
		for i := range a.Entries {
			e := &a.Entries[i]
			e.Position = g.position + ident.Position(at)
			encodeEntry(g.head[row:], e)
			if e.Kind == KindCarried {
				flags |= flagCarried
			}
			row += EntryBytes
			at += int64(len(e.Payload))
			if len(e.Payload) <= copyBytesMax || refs == referencesMax {
				g.head = append(g.head, e.Payload...)
				continue
			}
			refs++
			if run < int64(len(g.head)) {
				g.vec = append(g.vec, g.head[run:])
			}
			run = int64(len(g.head))
			g.vec = append(g.vec, e.Payload)
		}
	}
	if run < int64(len(g.head)) {
		g.vec = append(g.vec, g.head[run:])
	}
	if pad := padded(g.bytes) - g.bytes; pad > 0 {
		g.vec = append(g.vec, zeroBlock[:pad])
	}
	h := groupHeader{
		flags: flags, incarnation: inc, position: g.position, previous: g.previous, durable: g.durable,
		length: g.bytes, entryCount: g.entries,
	}
	h.encode(g.head)
}

// copiedBytes returns how many payload bytes build will copy.
func (g *Group) copiedBytes() int64 {
	n, refs := 0, 0
	for _, a := range g.appends {
		for i := range a.Entries {
			if size := len(a.Entries[i].Payload); size <= copyBytesMax || refs == referencesMax {
				n += size
			} else {
				refs++
			}
		}
	}
	return int64(n)
}
