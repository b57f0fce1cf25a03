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
	// aheadBytesMax is the most that is read ahead of one reader: some ten GETs of a store at once.
	aheadBytesMax = 8 << 20
	// aheadBytesMin is not worth a read ahead where the budget leaves no more.
	aheadBytesMin = cache.BlockBytes / 4
	// aheadParallel is how many runs of objects are on their way for readers that have not asked yet.
	aheadParallel = 16
	// streamsMax bounds how many readers are known, streamIdle for how long one that reads no more holds its share.
	streamsMax = 4096
	streamIdle = 5 * time.Second
)

// readAhead brings what sequential readers of the bucket will ask for next into the block cache
// while they are busy with what they have: the window grows as long as a reader goes on where it ended, and all
// windows together stay within half of the cache, so that nothing is evicted before it was read.
// Errors are nobody's here: who asks for the bytes meets them again.
type readAhead struct {
	bytesMax int64 // of all windows together
	now      func() time.Time
	running  chan struct{} // a slot per run on its way
	work     sync.WaitGroup

	mu      sync.Mutex // guards what follows; never held during a read
	closed  bool
	bytes   int64 // read ahead and not asked for yet, of all streams
	streams map[streamKey]*list.Element
	order   list.List // of *stream, the last used first
}

// streamKey knows a reader by where it will go on; readers do not say who they are.
type streamKey struct {
	id   ident.TopicPartition
	next ident.Offset
}

// stream is one sequential reader.
type stream struct {
	key    streamKey
	used   time.Time
	window int64      // how much is to be ahead of it
	ahead  int64      // how much is, with what is on its way
	runs   []aheadRun // what landed, in offset order
	busy   bool       // more is on its way
	gone   bool       // forgotten while something was on its way
}

// aheadRun is a run of an object that will be asked for.
type aheadRun struct {
	object     cache.Object
	pos, bytes int64
	end        ident.Offset
	cost       int64 // bytes of the blocks that it touches: what it takes of the cache, and of the window
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

// close lets nothing begin any more and waits for what is on its way; its context has ended.
func (a *readAhead) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.work.Wait()
}

// advance notes that a reader was given [from, next). If something is to be read ahead of it, it says from
// which offset on and how much, and the caller calls landed afterwards.
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

// landed notes what became of a read ahead for which so many bytes were reserved.
func (a *readAhead) landed(s *stream, reserved int64, runs []aheadRun) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.work.Done()
	s.busy = false
	if s.gone {
		return
	}
	if len(runs) == 0 {
		s.window = 0 // the log's end, or the bucket is away: begin anew
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

// followLocked finds the reader that went on from one place to the next; nil if this is the first that is seen of it.
func (a *readAhead) followLocked(from, next streamKey) *stream {
	el := a.streams[from]
	if el == nil {
		if a.streams[next] == nil { // else somebody else is there already
			a.streams[next] = a.order.PushFront(&stream{key: next, used: a.now()})
		}
		a.dropLocked(func(*stream) bool { return len(a.streams) > streamsMax })
		return nil
	}
	if a.streams[next] != nil { // two readers have met: one window does for both
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

// roomLocked returns how much may be read ahead in all, and takes it from those who have stopped reading if it must.
func (a *readAhead) roomLocked(s *stream) int64 {
	now := a.now()
	a.dropLocked(func(old *stream) bool {
		return a.bytesMax-a.bytes < s.window-s.ahead && now.Sub(old.used) > streamIdle
	})
	return a.bytesMax - a.bytes
}

// dropLocked forgets the readers that were quiet for the longest time as long as more says so.
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

// goAhead is told what a reader got from the bucket and reads ahead of it, if it goes on where it ended.
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
			_ = c.blocks.Ahead(ctx, run.object, run.pos, run.bytes) // the reader meets the error again
		})
	}
	wg.Wait()
}

// planAhead finds the runs of objects from offset on that take about so many bytes of the cache.
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
			break // who asks for it is told
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
