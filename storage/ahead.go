package storage

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/storage/cache"
	"github.com/sluicemq/sluice/storage/object"
)

const (
	// aheadBytesMax is the most that is read ahead of one reader, enough to keep about ten GETs
	// running at once.
	aheadBytesMax = 8 << 20
	// If the budget leaves less than aheadBytesMin, nothing is read ahead.
	aheadBytesMin = cache.BlockBytes / 4
	// aheadParallel is how many runs of objects are read ahead at once.
	aheadParallel = 16
	// streamsMax bounds how many readers are known. A reader that is idle for streamIdle loses its
	// share.
	streamsMax = 4096
	streamIdle = 5 * time.Second
)

// readAhead brings what sequential readers of the bucket will ask for next into the block cache
// while they process what they have. A reader's window grows as long as the reader goes on where it
// ended. All windows together stay within half of the cache, so that nothing is evicted before it
// was read. Errors are ignored here, since the reader meets them again when it asks for the bytes.
type readAhead struct {
	bytesMax int64 // for all windows together
	now      func() time.Time
	running  chan struct{} // one slot per running read
	work     sync.WaitGroup

	mu      sync.Mutex // guards the fields below; never held during a read
	closed  bool
	bytes   int64 // read ahead and not asked for yet, over all streams
	streams map[streamKey]*list.Element
	order   list.List // of *stream, the most recently used first
}

// streamKey identifies a reader by where it will go on, since readers do not say who they are.
type streamKey struct {
	id   ident.TopicPartition
	next ident.Offset
}

// stream is one sequential reader.
type stream struct {
	key    streamKey
	used   time.Time
	window int64      // how many bytes should be ahead of the reader
	ahead  int64      // how many bytes are ahead of it, those being read included
	runs   []aheadRun // runs that were read, in offset order
	busy   bool       // a read ahead of it is running
	gone   bool       // forgotten during a running read
}

// aheadRun is a run of an object that a reader will ask for.
type aheadRun struct {
	object     cache.Object
	pos, bytes int64
	end        ident.Offset
	// cost is the bytes of the blocks that the run touches: what it takes of the cache and of the
	// window.
	cost int64
}

func newAheadRun(o cache.Object, first, last *object.IndexEntry) aheadRun {
	end := last.Position + int64(last.Bytes)
	blocks := (end-1)/cache.BlockBytes - first.Position/cache.BlockBytes + 1
	return aheadRun{object: o, pos: first.Position, bytes: end - first.Position, end: last.End, cost: min(blocks*cache.BlockBytes, o.Bytes)}
}

func newReadAhead(bytesMax int64, now func() time.Time) *readAhead {
	a := &readAhead{bytesMax: bytesMax, now: now, running: make(chan struct{}, aheadParallel)}
	a.streams = make(map[streamKey]*list.Element)
	return a
}

// close lets no read begin any more and waits for the running ones, whose context has ended.
func (a *readAhead) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.work.Wait()
}

// advance notes that a reader was given [from, next). If something is to be read ahead of the
// reader, advance returns the offset to begin at and the number of bytes, and the caller calls
// landed afterwards.
func (a *readAhead) advance(id ident.TopicPartition, from, next ident.Offset) (s *stream, begin ident.Offset, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s = a.followLocked(streamKey{id, from}, streamKey{id, next})
	if s == nil || s.busy || a.closed || s.ahead > s.window/2 {
		return nil, 0, 0
	}
	bytes = min(s.window-s.ahead, a.roomLocked(s))
	if bytes < aheadBytesMin {
		return nil, 0, 0
	}
	begin = next
	if n := len(s.runs); n > 0 {
		begin = s.runs[n-1].end
	}
	s.busy = true
	s.ahead += bytes
	a.bytes += bytes
	a.work.Add(1)
	return s, begin, bytes
}

// landed notes the outcome of a read ahead for which reserved bytes were set aside.
func (a *readAhead) landed(s *stream, reserved int64, runs []aheadRun) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.work.Done()
	s.busy = false
	if s.gone {
		return
	}
	if len(runs) == 0 {
		s.window = 0 // the log's end, or the bucket is down: begin anew
	}
	change := -reserved
	for _, run := range runs {
		change += run.cost
	}
	s.ahead += change
	a.bytes += change
	s.runs = append(s.runs, runs...)
	a.passLocked(s)
}

// followLocked finds the reader that went on from one place to the next, or nil if the reader is
// new.
func (a *readAhead) followLocked(from, next streamKey) *stream {
	el := a.streams[from]
	if el == nil {
		if a.streams[next] == nil { // otherwise another reader is there already
			a.streams[next] = a.order.PushFront(&stream{key: next, used: a.now()})
		}
		a.dropLocked(func(*stream) bool { return len(a.streams) > streamsMax })
		return nil
	}
	if a.streams[next] != nil { // two readers have met, and one window serves both
		a.forgetLocked(el)
		return nil
	}
	s := el.Value.(*stream)
	delete(a.streams, from)
	a.streams[next] = el
	s.key, s.used = next, a.now()
	s.window = min(max(2*s.window, cache.BlockBytes), aheadBytesMax)
	a.order.MoveToFront(el)
	a.passLocked(s)
	return s
}

// passLocked lets go of the runs that the reader has passed.
func (a *readAhead) passLocked(s *stream) {
	for len(s.runs) > 0 && s.runs[0].end <= s.key.next {
		s.ahead -= s.runs[0].cost
		a.bytes -= s.runs[0].cost
		s.runs = s.runs[1:]
	}
}

// roomLocked returns how much may be read ahead in all. If it must, it takes the room from readers
// that have stopped reading.
func (a *readAhead) roomLocked(s *stream) int64 {
	now := a.now()
	a.dropLocked(func(old *stream) bool {
		return a.bytesMax-a.bytes < s.window-s.ahead && now.Sub(old.used) > streamIdle
	})
	return a.bytesMax - a.bytes
}

// dropLocked forgets the readers that have been idle longest, as long as more returns true.
func (a *readAhead) dropLocked(more func(*stream) bool) {
	for el := a.order.Back(); el != nil && more(el.Value.(*stream)); el = a.order.Back() {
		a.forgetLocked(el)
	}
}

func (a *readAhead) forgetLocked(el *list.Element) {
	s := a.order.Remove(el).(*stream)
	delete(a.streams, s.key)
	a.bytes -= s.ahead
	s.ahead, s.runs, s.gone = 0, nil, true
}

// goAhead notes what a reader got from the bucket, and reads ahead of the reader if it went on
// where it had ended.
func (c *coldReader) goAhead(id ident.TopicPartition, from, next ident.Offset) {
	s, begin, bytes := c.ahead.advance(id, from, next)
	if s == nil {
		return
	}
	go func() {
		runs := c.planAhead(id, begin, bytes)
		c.fetchRuns(runs)
		c.ahead.landed(s, bytes, runs)
	}()
}

// fetchRuns brings runs into the cache, several at once.
func (c *coldReader) fetchRuns(runs []aheadRun) {
	ctx, cancel := context.WithTimeout(c.ctx, bucketWait)
	defer cancel()
	var wg sync.WaitGroup
	for _, run := range runs {
		select {
		case c.ahead.running <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		wg.Go(func() {
			defer func() { <-c.ahead.running }()
			// The reader meets the error again.
			_ = c.blocks.Ahead(ctx, run.object, run.pos, run.bytes)
		})
	}
	wg.Wait()
}

// planAhead finds the runs of objects from offset on that take about the given number of bytes in
// the cache.
func (c *coldReader) planAhead(id ident.TopicPartition, offset ident.Offset, bytes int64) (runs []aheadRun) {
	ctx, cancel := context.WithTimeout(c.ctx, bucketWait)
	defer cancel()
	head, ok := c.catalog.Head(id)
	if !ok {
		return nil
	}
	for bytes > 0 && offset < head.CommittedEnd {
		r, err := c.findRange(ctx, &head, offset)
		if err != nil || r == nil {
			break // the reader that asks for it gets the error
		}
		section, err := c.section(ctx, id, r)
		if err != nil {
			break
		}
		entries := pickEntries(section.Index[min(object.Find(section.Index, offset), len(section.Index)):], r.End, int(bytes), true)
		if len(entries) == 0 {
			break
		}
		run := newAheadRun(c.rangeObject(r), &entries[0], &entries[len(entries)-1])
		runs, bytes, offset = append(runs, run), bytes-run.cost, run.end
	}
	return runs
}
