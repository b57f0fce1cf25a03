package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryInterval is the time between two looks at the heap.
	memoryInterval = 10 * time.Second
	// idleBytesMax is how much a broker may allocate between two looks and still count as idle.
	idleBytesMax = 1 << 20
	// spareBytesMin is how much memory must be spare to be given back, and spareOfLive how large a
	// part of the memory in use that must be, since a collection has its price.
	spareBytesMin = 8 << 20
	spareOfLive   = 4
)

// programBytes is what a node takes beside what it is configured to: the program itself, the
// metadata of some thousand partitions, buffers of the bucket and of the log.
const programBytes = 128 << 20

// MemoryBytes is the most memory that a node of this configuration takes: the sum of all budgets,
// and an eighth more for the collector. docs/operations.md ("Memory") explains the formula to
// operators.
func (c Config) MemoryBytes() int64 {
	sum := programBytes + c.Storage.MemoryBytes() + c.Broker.MemoryBytes()
	return sum + sum/8
}

// heapFigures is what is known about the heap without stopping any goroutine.
type heapFigures struct {
	allocated uint64 // since the process began
	live      uint64 // after the last collection
	spare     uint64 // garbage since then, and free memory that was not given back to the system
}

func readHeap() heapFigures {
	s := [...]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s[:])
	f := heapFigures{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), spare: s[3].Value.Uint64()}
	if objects := s[2].Value.Uint64(); objects > f.live {
		f.spare += objects - f.live
	}
	return f
}

// returns reports whether it is time to give memory back. before is the last look.
func (f heapFigures) returns(before heapFigures) bool {
	return f.allocated-before.allocated <= idleBytesMax && f.spare >= max(spareBytesMin, f.live/spareOfLive)
}

// memoryWatch gives memory back to the system when the broker has become idle. The collector lets
// as much garbage gather as there is memory in use, and without further allocations the garbage
// stays. 10,000 partitions that were written to once held 60 MB in addition to the 30 in use.
type memoryWatch struct {
	read    func() heapFigures
	release func()
}

func newMemoryWatch() *memoryWatch { return &memoryWatch{readHeap, debug.FreeOSMemory} }

// run looks until ctx ends.
func (w *memoryWatch) run(ctx context.Context) {
	before := w.read()
	for pause(ctx, memoryInterval) {
		now := w.read()
		if now.returns(before) {
			w.release()
			now = w.read()
		}
		before = now
	}
}
